#include "mesh/inference_client.h"

#include "mesh/generate_session.h"
#include "mesh/retrying_call.h"
#include "mesh/worker_link.h"

namespace conclave::mesh {
namespace {

namespace pb = conclave::v1;

// A unary call of the Inference service on whichever worker serves the model.
template <typename Request, typename Reply>
class InferenceUnary final : public RetryingCall {
 public:
  using Method = void (pb::Inference::Stub::async::*)(grpc::ClientContext*, const Request*, Reply*,
                                                      std::function<void(grpc::Status)>);
  InferenceUnary(std::shared_ptr<CallCore> core, Request request, int64_t tokens,
                 const CallOptions& options, Method method, ReplyCallback<Reply> done)
      : RetryingCall(std::move(core), request.model(), tokens, options.deadline),
        request_(std::move(request)),
        method_(method),
        done_(std::move(done)) {}

 private:
  std::shared_ptr<InferenceUnary> Self() {
    return std::static_pointer_cast<InferenceUnary>(shared_from_this());
  }
  void Begin(const WorkerInfo& worker, grpc::ClientContext* context) override {
    reply_.Clear();
    link_ = worker.link;
    (link_->inference().async()->*method_)(
        context, &request_, &reply_,
        [self = Self()](const grpc::Status& status) { self->AttemptDone(status); });
  }
  void End(const absl::Status& status) override {
    ReplyCallback<Reply> done = std::move(done_);
    if (status.ok()) {
      done(std::move(reply_));
    } else {
      done(status);
    }
  }

  const Request request_;
  const Method method_;
  Reply reply_;
  ReplyCallback<Reply> done_;
  std::shared_ptr<WorkerLink> link_;
};

template <typename Request, typename Reply>
std::shared_ptr<CallHandle> StartUnary(std::shared_ptr<CallCore> core, Request request,
                                       int64_t tokens, const CallOptions& options,
                                       typename InferenceUnary<Request, Reply>::Method method,
                                       ReplyCallback<Reply> done) {
  auto call = std::make_shared<InferenceUnary<Request, Reply>>(
      std::move(core), std::move(request), tokens, options, method, std::move(done));
  call->Start();
  return call;
}

}  // namespace

struct InferenceClient::Impl {
  std::shared_ptr<CallCore> core;
  InferenceClientOptions options;
};

InferenceClient::InferenceClient(Discovery* discovery, const InferenceClientOptions& options,
                                 base::Metrics* metrics)
    : impl_(std::make_unique<Impl>(Impl{std::make_shared<CallCore>(discovery, metrics), options})) {
  impl_->core->Start();
}

InferenceClient::~InferenceClient() { impl_->core->Stop(); }

std::shared_ptr<GenerateCall> InferenceClient::Generate(
    pb::GenerateRequest request, const CallOptions& options,
    std::shared_ptr<GenerateObserver> observer) {
  auto session = std::make_shared<GenerateSession>(impl_->core, impl_->options, std::move(request),
                                                   options.deadline, std::move(observer));
  session->Start();
  return session;
}

std::shared_ptr<CallHandle> InferenceClient::Tokenize(pb::TokenizeRequest request,
                                                      const CallOptions& options,
                                                      ReplyCallback<pb::TokenizeReply> done) {
  return StartUnary<pb::TokenizeRequest, pb::TokenizeReply>(
      impl_->core, std::move(request), 0, options, &pb::Inference::Stub::async::Tokenize,
      std::move(done));
}

std::shared_ptr<CallHandle> InferenceClient::Detokenize(pb::DetokenizeRequest request,
                                                        const CallOptions& options,
                                                        ReplyCallback<pb::DetokenizeReply> done) {
  return StartUnary<pb::DetokenizeRequest, pb::DetokenizeReply>(
      impl_->core, std::move(request), 0, options, &pb::Inference::Stub::async::Detokenize,
      std::move(done));
}

std::shared_ptr<CallHandle> InferenceClient::Predict(pb::PredictRequest request,
                                                     const CallOptions& options,
                                                     ReplyCallback<pb::PredictReply> done) {
  return StartUnary<pb::PredictRequest, pb::PredictReply>(
      impl_->core, std::move(request), 0, options, &pb::Inference::Stub::async::Predict,
      std::move(done));
}

Discovery& InferenceClient::discovery() { return impl_->core->discovery(); }

}  // namespace conclave::mesh
