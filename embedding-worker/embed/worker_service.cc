#include "embed/worker_service.h"

#include "absl/strings/str_format.h"
#include "mesh/grpc_status.h"

namespace conclave::embed {

namespace pb = conclave::v1;

namespace {

constexpr size_t kSlowQueueMax = 16;
constexpr std::chrono::milliseconds kLetGoWait{10'000};

pb::ModelStatus::State StateOf(ModelSlot::State state) {
  switch (state) {
    case ModelSlot::State::kReady:
      return pb::ModelStatus::STATE_READY;
    case ModelSlot::State::kUnloading:
      return pb::ModelStatus::STATE_UNLOADING;
    case ModelSlot::State::kUnloaded:
      return pb::ModelStatus::STATE_UNLOADED;
    case ModelSlot::State::kLoading:
      return pb::ModelStatus::STATE_LOADING;
  }
  return pb::ModelStatus::STATE_UNSPECIFIED;
}

}  // namespace

WorkerService::WorkerService(ModelSlot* slot, std::string worker_id, uint64_t epoch)
    : slot_(slot),
      worker_id_(std::move(worker_id)),
      epoch_(epoch),
      hub_([this](pb::WorkerState* state) { FillState(state); }),
      slow_(1, kSlowQueueMax) {}

void WorkerService::SetState(bool serving, bool draining) {
  serving_ = serving;
  draining_ = draining;
}

void WorkerService::SetDigest(std::string digest) {
  const std::lock_guard lock(mutex_);
  digest_ = std::move(digest);
}

void WorkerService::Describe(pb::ModelStatus* to) const {
  const ModelFacts& facts = slot_->facts();
  const EncoderInfo& info = facts.info;
  const ModelSlot::Status status = slot_->status();
  to->set_name(facts.name);
  for (const std::string& alias : facts.aliases) to->add_aliases(alias);
  to->set_revision(facts.revision);
  to->set_state(StateOf(status.state));
  to->set_progress(status.state == ModelSlot::State::kReady ? 1 : 0);
  if (status.expires_unix_ms > 0) to->set_expires_unix_ms(status.expires_unix_ms);
  to->add_capabilities(info.ranks() ? "rerank" : "embedding");
  to->set_context_length(info.tokens_max);
  to->set_created_unix(facts.created_unix);
  pb::ModelDetails* details = to->mutable_details();
  details->set_format(info.format);
  details->set_family(info.family);
  details->set_parameter_size(absl::StrFormat("%.1fM", static_cast<double>(info.parameters) / 1e6));
  details->set_quantization(info.quantization);
  details->set_parameters(info.parameters);
  details->set_size_bytes(info.weight_bytes);
  if (!info.ranks()) details->set_embedding_length(info.dimensions);
  details->set_vocab_size(facts.vocab_size);
  details->set_memory_bytes(info.weight_bytes);
  details->set_backend("native");
  const std::lock_guard lock(mutex_);
  details->set_digest(digest_);
}

void WorkerService::FillState(pb::WorkerState* state) const {
  state->set_worker_id(worker_id_);
  state->set_epoch(epoch_);
  state->set_serving(serving_);
  state->set_draining(draining_);
  Describe(state->add_models());
  const BatcherStats stats = slot_->stats();
  pb::WorkerLoad* load = state->mutable_load();
  load->set_running(stats.running);
  load->set_waiting(stats.waiting);
  load->set_waiting_tokens(stats.waiting_tokens);
  load->set_prefill_tps(stats.tokens_per_s);
}

grpc::ServerWriteReactor<pb::WorkerState>* WorkerService::Watch(
    grpc::CallbackServerContext* context, const pb::WatchRequest*) {
  return hub_.Watch(context);
}

grpc::ServerUnaryReactor* WorkerService::ListModels(grpc::CallbackServerContext* context,
                                                    const pb::ListModelsRequest*,
                                                    pb::ListModelsReply* reply) {
  Describe(reply->add_models());
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* WorkerService::KeepModel(grpc::CallbackServerContext* context,
                                                   const pb::KeepModelRequest* request,
                                                   pb::KeepModelReply* reply) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const bool posted = slow_.Post([this, context, reactor, request, reply] {
    reactor->Finish(mesh::ToGrpc(Keep(*request, reply), context));
  });
  if (!posted) {
    reactor->Finish(mesh::ToGrpc(
        base::WithRetryAfter(base::ResourceExhausted("too many callers load and unload"),
                             std::chrono::seconds(1)),
        context));
  }
  return reactor;
}

absl::Status WorkerService::Keep(const pb::KeepModelRequest& request, pb::KeepModelReply* reply) {
  RETURN_IF_ERROR(slot_->facts().CheckAsked(request.name(), slot_->facts().info.ranks()));
  std::optional<std::chrono::milliseconds> keep_alive;
  if (request.has_keep_alive_ms()) keep_alive = base::KeepAliveOfMillis(request.keep_alive_ms());
  if (keep_alive == std::chrono::milliseconds(0)) {
    ASSIGN_OR_RETURN(const bool in_use, slot_->LetGo(kLetGoWait));
    reply->set_in_use(in_use);
  } else {
    RETURN_IF_ERROR(slot_->Use(keep_alive).status());
  }
  Describe(reply->mutable_model());
  return absl::OkStatus();
}

}  // namespace conclave::embed
