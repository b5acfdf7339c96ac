#include "embed/worker_service.h"

#include "absl/strings/str_format.h"

namespace conclave::embed {

namespace pb = conclave::v1;

WorkerService::WorkerService(ServedModel* model, std::string worker_id, uint64_t epoch)
    : model_(model),
      worker_id_(std::move(worker_id)),
      epoch_(epoch),
      hub_([this](pb::WorkerState* state) { FillState(state); }) {}

void WorkerService::SetState(bool serving, bool draining) {
  serving_ = serving;
  draining_ = draining;
}

void WorkerService::Describe(pb::ModelStatus* to) const {
  const EncoderInfo& info = model_->encoder().info();
  to->set_name(model_->name());
  for (const std::string& alias : model_->aliases()) to->add_aliases(alias);
  to->set_revision(model_->revision());
  to->set_state(pb::ModelStatus::STATE_READY);
  to->set_progress(1);
  to->add_capabilities(info.ranks() ? "rerank" : "embedding");
  to->set_context_length(info.tokens_max);
  to->set_created_unix(model_->created_unix());
  pb::ModelDetails* details = to->mutable_details();
  details->set_format(info.format);
  details->set_family(info.family);
  details->set_parameter_size(absl::StrFormat("%.1fM", static_cast<double>(info.parameters) / 1e6));
  details->set_quantization(info.quantization);
  details->set_parameters(info.parameters);
  details->set_size_bytes(info.weight_bytes);
  if (!info.ranks()) details->set_embedding_length(info.dimensions);
  details->set_vocab_size(model_->encoder().tokenizer().vocab_size());
  details->set_memory_bytes(info.weight_bytes);
  details->set_backend("native");
}

void WorkerService::FillState(pb::WorkerState* state) const {
  state->set_worker_id(worker_id_);
  state->set_epoch(epoch_);
  state->set_serving(serving_);
  state->set_draining(draining_);
  Describe(state->add_models());
  const BatcherStats stats = model_->batcher().stats();
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

}  // namespace conclave::embed
