#include "embed/embedding_service.h"

#include <atomic>
#include <mutex>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "embed/rerank_call.h"
#include "mesh/grpc_status.h"
#include "mesh/server.h"

namespace conclave::embed {
namespace {

namespace pb = conclave::v1;
using base::Clock;
using base::MillisBetween;

constexpr int kInputsMax = 2'048;
// Vectors of one message: 384 floats each make about 100 KB.
constexpr size_t kVectorsPerMessage = 64;

absl::Status Bad(const std::string& param, std::string_view what) {
  return base::WithParam(base::InvalidArgument(absl::StrCat(param, ": ", std::string(what))),
                         param);
}

absl::Status Check(const pb::EmbedRequest& request, const ModelFacts& model) {
  RETURN_IF_ERROR(model.CheckAsked(request.model(), false));
  if (request.inputs_size() == 0) return Bad("input", "must not be empty");
  if (request.inputs_size() > kInputsMax) {
    return Bad("input",
               absl::StrCat("has ", request.inputs_size(), " entries, the limit is ", kInputsMax));
  }
  const int32_t most = model.info.dimensions;
  if (request.dimensions() < 0 || request.dimensions() > most) {
    return Bad("dimensions", absl::StrCat("must be between 1 and ", most));
  }
  return absl::OkStatus();
}

// One Embed call. gRPC holds one reference to OnDone, the batcher another until it has answered.
class EmbedCall final : public grpc::ServerWriteReactor<pb::EmbedBatch>,
                        public std::enable_shared_from_this<EmbedCall> {
 public:
  EmbedCall(grpc::CallbackServerContext* context, const EmbedMetrics& metrics,
            std::optional<base::Gate::Pass> pass)
      : context_(context),
        metrics_(metrics),
        pass_(std::move(pass)),
        arrived_(Clock::System().Now()) {}

  // Keeps itself alive until OnDone.
  void Hold() { self_ = shared_from_this(); }

  // Tokenises and queues; not for a thread of gRPC's. gRPC keeps the request until OnDone.
  void Prepare(ModelSlot& slot, const pb::EmbedRequest& request) {
    const absl::Status status = Submit(slot, request);
    if (!status.ok()) Refuse(status);
  }

  void Refuse(const absl::Status& status) {
    metrics_.refused.Add();
    Finish(mesh::ToGrpc(status, context_));
  }

 private:
  absl::Status Submit(ModelSlot& slot, const pb::EmbedRequest& request) {
    RETURN_IF_ERROR(Check(request, slot.facts()));
    ASSIGN_OR_RETURN(use_, slot.Use(KeepAliveOf(request.meta())));
    load_ms_ = MillisBetween(arrived_, Clock::System().Now());
    ServedModel& model = use_.model();
    dimensions_ = request.dimensions();
    normalize_ = request.has_normalize() ? request.normalize() : true;
    BatchRequest batch;
    for (int i = 0; i < request.inputs_size(); ++i) {
      const pb::EmbedInput& from = request.inputs(i);
      const std::string param = absl::StrCat("input[", i, "]");
      const Truncate truncate = ToTruncate(request.truncate());
      auto input = from.has_token_ids()
                       ? model.Prepare(std::vector<TokenId>(from.token_ids().ids().begin(),
                                                            from.token_ids().ids().end()),
                                       truncate, param)
                       : model.Prepare(from.text(), truncate, param);
      RETURN_IF_ERROR(input.status());
      truncated_.push_back(input->truncated);
      tokens_.push_back(static_cast<int32_t>(input->tokens.ids.size()));
      prompt_tokens_ += tokens_.back();
      batch.inputs.push_back(std::move(input->tokens));
    }
    tokenize_ms_ = MillisBetween(arrived_, Clock::System().Now()) - load_ms_;
    batch.abandoned = [self = shared_from_this()] { return self->cancelled_.load(); };
    batch.done = [self = shared_from_this()](absl::StatusOr<BatchResult> result) {
      self->OnResult(std::move(result));
    };
    return model.batcher().Submit(std::move(batch));
  }

  void OnResult(absl::StatusOr<BatchResult> result) {
    if (!result.ok()) {
      metrics_.cancelled.Add();
      return Finish(mesh::ToGrpc(result.status(), context_));
    }
    result_ = *std::move(result);
    WriteNext();
  }

  void WriteNext() {
    if (next_ >= result_.vectors.size() || cancelled_) {
      (cancelled_ ? metrics_.cancelled : metrics_.ok).Add();
      metrics_.tokens.Add(prompt_tokens_);
      metrics_.request_seconds.Observe(MillisBetween(arrived_, Clock::System().Now()) / 1e3);
      return Finish(cancelled_ ? grpc::Status::CANCELLED : grpc::Status::OK);
    }
    message_.Clear();
    message_.set_first_index(static_cast<int32_t>(next_));
    const size_t end = std::min(next_ + kVectorsPerMessage, result_.vectors.size());
    for (; next_ < end; ++next_) {
      const std::vector<float> vector =
          embed::Finish(std::move(result_.vectors[next_]), dimensions_, normalize_);
      pb::EmbeddingVector* to = message_.add_vectors();
      to->mutable_values()->Add(vector.begin(), vector.end());
      to->set_truncated(truncated_[next_]);
      to->set_tokens(tokens_[next_]);
    }
    if (next_ == result_.vectors.size()) {
      message_.mutable_usage()->set_prompt_tokens(prompt_tokens_);
      pb::Timings* timings = message_.mutable_timings();
      timings->set_queue_ms(result_.queue_ms);
      timings->set_load_ms(load_ms_);
      timings->set_tokenize_ms(tokenize_ms_);
      timings->set_prefill_ms(result_.compute_ms);
      timings->set_total_ms(MillisBetween(arrived_, Clock::System().Now()));
    }
    StartWrite(&message_);
  }

  void OnWriteDone(bool ok) override {
    if (!ok) cancelled_ = true;
    WriteNext();
  }
  // The batcher sees it before the next batch, and answers.
  void OnCancel() override { cancelled_ = true; }
  void OnDone() override {
    use_.Release();
    pass_.reset();
    const std::shared_ptr<EmbedCall> self = std::move(self_);
  }

  grpc::CallbackServerContext* const context_;
  const EmbedMetrics metrics_;
  std::optional<base::Gate::Pass> pass_;
  const base::SteadyTime arrived_;
  std::shared_ptr<EmbedCall> self_;
  std::atomic<bool> cancelled_{false};
  int32_t dimensions_ = 0;
  bool normalize_ = true;
  int32_t prompt_tokens_ = 0;
  ModelUse use_;
  double load_ms_ = 0;
  double tokenize_ms_ = 0;
  std::vector<bool> truncated_;
  std::vector<int32_t> tokens_;
  // Owned by whoever writes: the batcher's thread first, then gRPC's, one at a time.
  BatchResult result_;
  size_t next_ = 0;
  pb::EmbedBatch message_;
};

}  // namespace

// Where a call begins: it is let in and read on a thread of the pool, or refused.
template <typename Call, typename Request>
void EmbeddingService::Begin(const std::shared_ptr<Call>& call, const Request& request, bool open) {
  call->Hold();
  if (!open) {
    call->Refuse(mesh::DrainingError());
  } else if (!pool_.Post([this, call, &request] { call->Prepare(*slot_, request); })) {
    call->Refuse(base::WithRetryAfter(base::ResourceExhausted("too many requests are being read"),
                                      std::chrono::seconds(1)));
  }
}

grpc::ServerWriteReactor<pb::EmbedBatch>* EmbeddingService::Embed(
    grpc::CallbackServerContext* context, const pb::EmbedRequest* request) {
  std::optional<base::Gate::Pass> pass = gate_->Enter();
  const bool open = pass.has_value();
  const auto call = std::make_shared<EmbedCall>(context, metrics_, std::move(pass));
  Begin(call, *request, open);
  return call.get();
}

grpc::ServerUnaryReactor* EmbeddingService::Rerank(grpc::CallbackServerContext* context,
                                                   const pb::RerankRequest* request,
                                                   pb::RerankReply* reply) {
  std::optional<base::Gate::Pass> pass = gate_->Enter();
  const bool open = pass.has_value();
  const auto call = std::make_shared<RerankCall>(context, reply, metrics_, std::move(pass));
  Begin(call, *request, open);
  return call.get();
}

}  // namespace conclave::embed
