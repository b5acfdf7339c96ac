#include "mesh/embedding_client.h"

#include <grpcpp/support/client_callback.h>

#include <future>

#include "mesh/grpc_status.h"
#include "mesh/retrying_unary.h"

namespace conclave::mesh {
namespace {

namespace pb = conclave::v1;

constexpr int64_t kBytesPerToken = 4;

// Collects the batches of one stream. Ends itself: everything is read as it comes, because the
// whole answer has to be there anyway.
class EmbedStream final : public grpc::ClientReadReactor<pb::EmbedBatch> {
 public:
  using DoneFn = std::function<void(grpc::Status)>;
  EmbedStream(std::shared_ptr<WorkerLink> link, size_t inputs, EmbedResult* result, DoneFn done)
      : link_(std::move(link)), inputs_(inputs), result_(result), done_(std::move(done)) {}

  void Start(grpc::ClientContext* context, const pb::EmbedRequest* request) {
    link_->embedding().async()->Embed(context, request, this);
    context_ = context;
    StartRead(&batch_);
    StartCall();
  }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (!Take()) {
      broken_ = true;
      context_->TryCancel();
    }
    StartRead(&batch_);
  }

  // False when the batch does not continue where the last one ended.
  bool Take() {
    if (broken_) return false;
    const size_t have = result_->vectors.size();
    if (static_cast<size_t>(batch_.first_index()) != have ||
        have + static_cast<size_t>(batch_.vectors_size()) > inputs_) {
      return false;
    }
    for (pb::EmbeddingVector& vector : *batch_.mutable_vectors()) {
      result_->vectors.push_back(std::move(vector));
    }
    if (batch_.has_usage()) result_->usage = batch_.usage();
    if (batch_.has_timings()) result_->timings = batch_.timings();
    return true;
  }

  void OnDone(const grpc::Status& status) override {
    const DoneFn done = std::move(done_);
    const bool short_of = status.ok() && result_->vectors.size() != inputs_;
    const bool broken = broken_ || short_of;
    delete this;
    done(broken ? grpc::Status(grpc::StatusCode::INTERNAL,
                               "the embedding worker did not answer with one vector per input")
                : status);
  }

  const std::shared_ptr<WorkerLink> link_;
  const size_t inputs_;
  EmbedResult* const result_;  // of the call, which `done_` keeps
  DoneFn done_;
  grpc::ClientContext* context_ = nullptr;
  pb::EmbedBatch batch_;
  bool broken_ = false;
};

int64_t EstimateTokens(const pb::EmbedRequest& request) {
  return static_cast<int64_t>(request.ByteSizeLong()) / kBytesPerToken;
}

class EmbedCall final : public RetryingCall {
 public:
  EmbedCall(std::shared_ptr<CallCore> core, pb::EmbedRequest request, const CallOptions& options,
            ReplyCallback<EmbedResult> done)
      : RetryingCall(std::move(core), request.model(), EstimateTokens(request), options.deadline),
        request_(std::move(request)),
        done_(std::move(done)) {}

 private:
  void Begin(const WorkerInfo& worker, grpc::ClientContext* context) override {
    result_ = EmbedResult();
    auto self = std::static_pointer_cast<EmbedCall>(shared_from_this());
    // Deletes itself in OnDone.
    auto* stream =
        new EmbedStream(worker.link, static_cast<size_t>(request_.inputs_size()), &result_,
                        [self](const grpc::Status& status) { self->AttemptDone(status); });
    stream->Start(context, &request_);
  }
  void End(const absl::Status& status) override {
    ReplyCallback<EmbedResult> done = std::move(done_);
    if (status.ok()) {
      done(std::move(result_));
    } else {
      done(status);
    }
  }

  const pb::EmbedRequest request_;
  EmbedResult result_;
  ReplyCallback<EmbedResult> done_;
};

}  // namespace

struct EmbeddingClient::Impl {
  std::shared_ptr<CallCore> core;
};

EmbeddingClient::EmbeddingClient(Discovery* discovery, base::Metrics* metrics)
    : impl_(std::make_unique<Impl>(Impl{std::make_shared<CallCore>(discovery, metrics)})) {
  impl_->core->Start();
}

EmbeddingClient::~EmbeddingClient() { impl_->core->Stop(); }

std::shared_ptr<CallHandle> EmbeddingClient::Embed(pb::EmbedRequest request,
                                                   const CallOptions& options,
                                                   ReplyCallback<EmbedResult> done) {
  auto call =
      std::make_shared<EmbedCall>(impl_->core, std::move(request), options, std::move(done));
  call->Start();
  return call;
}

std::shared_ptr<CallHandle> EmbeddingClient::Rerank(pb::RerankRequest request,
                                                    const CallOptions& options,
                                                    ReplyCallback<pb::RerankReply> done) {
  const int64_t tokens = static_cast<int64_t>(request.ByteSizeLong()) / kBytesPerToken;
  return StartRetryingUnary<class pb::Embedding::Stub::async, pb::RerankRequest, pb::RerankReply>(
      impl_->core, std::move(request), tokens, options,
      [](WorkerLink& link) { return link.embedding().async(); },
      &pb::Embedding::Stub::async::Rerank, std::move(done));
}

absl::StatusOr<EmbedResult> EmbeddingClient::EmbedAndWait(pb::EmbedRequest request,
                                                          const CallOptions& options) {
  // Shared with the callback, which always comes: at the latest when the deadline has passed.
  auto answer = std::make_shared<std::promise<absl::StatusOr<EmbedResult>>>();
  std::future<absl::StatusOr<EmbedResult>> future = answer->get_future();
  Embed(std::move(request), options,
        [answer](absl::StatusOr<EmbedResult> result) { answer->set_value(std::move(result)); });
  return future.get();
}

Discovery& EmbeddingClient::discovery() { return impl_->core->discovery(); }

}  // namespace conclave::mesh
