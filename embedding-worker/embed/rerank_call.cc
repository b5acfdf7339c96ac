#include "embed/rerank_call.h"

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "mesh/grpc_status.h"

namespace conclave::embed {
namespace {

namespace pb = conclave::v1;
using base::Clock;
using base::MillisBetween;

constexpr int kDocumentsMax = 1'024;
constexpr int64_t kTokensMax = 1 << 19;  // of one request, its query counted with each document

absl::Status Bad(const std::string& param, const std::string& what) {
  return base::WithParam(base::InvalidArgument(absl::StrCat(param, ": ", what)), param);
}

float Sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

}  // namespace

void RerankCall::Prepare(ModelSlot& slot, const pb::RerankRequest& request) {
  const absl::Status status = Submit(slot, request);
  if (!status.ok()) Refuse(status);
}

void RerankCall::Refuse(const absl::Status& status) {
  metrics_.refused.Add();
  Finish(mesh::ToGrpc(status, context_));
}

absl::Status RerankCall::Submit(ModelSlot& slot, const pb::RerankRequest& request) {
  RETURN_IF_ERROR(slot.facts().CheckAsked(request.model(), true));
  if (request.documents_size() == 0) return Bad("documents", "must not be empty");
  if (request.documents_size() > kDocumentsMax) {
    return Bad("documents", absl::StrCat("has ", request.documents_size(),
                                         " entries, the limit is ", kDocumentsMax));
  }
  raw_scores_ = request.raw_scores();
  ASSIGN_OR_RETURN(use_, slot.Use(KeepAliveOf(request.meta())));
  ServedModel& model = use_.model();
  const double load_ms = MillisBetween(arrived_, Clock::System().Now());
  reply_->mutable_timings()->set_load_ms(load_ms);
  ASSIGN_OR_RETURN(const Query query, model.PrepareQuery(request.query()));
  BatchRequest batch;
  int64_t tokens = 0;
  for (int i = 0; i < request.documents_size(); ++i) {
    ASSIGN_OR_RETURN(Input pair,
                     model.PreparePair(query, request.documents(i), ToTruncate(request.truncate()),
                                       absl::StrCat("documents[", i, "]")));
    const auto size = static_cast<int32_t>(pair.tokens.ids.size());
    tokens += size;
    if (tokens > kTokensMax) {
      return Bad("documents", absl::StrCat("more than ", kTokensMax, " tokens with the query"));
    }
    pb::RerankScore* score = reply_->add_scores();
    score->set_truncated(pair.truncated);
    score->set_tokens(size);
    batch.inputs.push_back(std::move(pair.tokens));
  }
  reply_->mutable_usage()->set_prompt_tokens(static_cast<int32_t>(tokens));
  reply_->mutable_timings()->set_tokenize_ms(MillisBetween(arrived_, Clock::System().Now()) -
                                             load_ms);
  batch.abandoned = [self = shared_from_this()] { return self->cancelled_.load(); };
  batch.done = [self = shared_from_this()](const absl::StatusOr<BatchResult>& result) {
    self->OnResult(result);
  };
  return model.batcher().Submit(std::move(batch));
}

void RerankCall::OnResult(const absl::StatusOr<BatchResult>& result) {
  if (!result.ok()) {
    metrics_.cancelled.Add();
    return Finish(mesh::ToGrpc(result.status(), context_));
  }
  for (int i = 0; i < reply_->scores_size(); ++i) {
    const float score = result->vectors[static_cast<size_t>(i)][0];
    reply_->mutable_scores(i)->set_score(raw_scores_ ? score : Sigmoid(score));
  }
  const double total_ms = MillisBetween(arrived_, Clock::System().Now());
  pb::Timings* timings = reply_->mutable_timings();
  timings->set_queue_ms(result->queue_ms);
  timings->set_prefill_ms(result->compute_ms);
  timings->set_total_ms(total_ms);
  metrics_.ok.Add();
  metrics_.tokens.Add(reply_->usage().prompt_tokens());
  metrics_.request_seconds.Observe(total_ms / 1e3);
  Finish(grpc::Status::OK);
}

void RerankCall::OnDone() {
  use_.Release();
  pass_.reset();
  const std::shared_ptr<RerankCall> self = std::move(self_);
}

}  // namespace conclave::embed
