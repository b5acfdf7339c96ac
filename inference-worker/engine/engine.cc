#include "engine/engine.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "engine/open_model.h"
#include "engine/run/executor.h"
#include "engine/run/step_loop.h"
#include "engine/run/weigh_model.h"
#include "engine/tokenizer/load.h"
#include "engine/weights/source.h"

namespace conclave::engine {
namespace {

// The step loop with the facts of its model.
class LoopEngine final : public Engine {
 public:
  LoopEngine(ModelInfo info, StepLoopConfig config, std::unique_ptr<Executor> executor,
             std::shared_ptr<const ModelSource> source)
      : info_(std::move(info)), loop_(std::move(config), std::move(executor), std::move(source)) {}

  absl::Status Submit(GenerateRequest request, std::shared_ptr<EventSink> sink) override {
    return loop_.Submit(std::move(request), std::move(sink));
  }
  void Cancel(std::string_view id) override { loop_.Cancel(id); }
  void Resume(std::string_view id) override { loop_.Resume(id); }
  EngineStats Stats() const override { return loop_.Stats(); }
  ExpertTable Experts() const override { return loop_.Experts(); }
  const ModelInfo& info() const override { return info_; }
  absl::Status Health() const override { return loop_.Health(); }
  void Drain(std::chrono::milliseconds timeout) override { loop_.Drain(timeout); }

 private:
  const ModelInfo info_;
  StepLoop loop_;
};

ModelInfo DescribeModel(const ModelSource& source, const HParams& hparams) {
  ModelInfo info{.architecture = hparams.architecture,
                 .vocab_size = hparams.vocab_size,
                 .embedding_length = hparams.hidden,
                 .num_layers = hparams.num_layers,
                 .num_experts = hparams.num_experts,
                 .num_experts_used = hparams.num_experts_used};
  std::map<std::string_view, int64_t> bytes_by_type;
  for (const TensorEntry& tensor : source.tensors()) {
    info.parameters += tensor.view.shape.elements();
    info.weight_bytes += tensor.view.bytes();
    bytes_by_type[NameOf(tensor.view.dtype)] += tensor.view.bytes();
  }
  const auto most =
      std::max_element(bytes_by_type.begin(), bytes_by_type.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  if (most != bytes_by_type.end()) info.quantization = std::string(most->first);
  return info;
}

// What ends a generation, as the model's tokenizer sees it. A file without vocabulary (synthetic
// ones, for benchmarks) has nothing that ends one.
absl::StatusOr<std::vector<TokenId>> ModelStopIds(const ModelSource& source) {
  std::vector<TokenId> ids;
  ASSIGN_OR_RETURN(const std::string_view kind,
                   source.GetString("tokenizer.ggml.model", "no_vocab"));
  if (kind == "no_vocab" || kind == "none") return ids;
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, LoadTokenizer(source));
  for (TokenId id = 0; id < tokenizer->vocab_size(); ++id) {
    if (tokenizer->IsEndOfGeneration(id)) ids.push_back(id);
  }
  return ids;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Engine>> Engine::Open(std::shared_ptr<const ModelSource> source,
                                                     const EngineOptions& options) {
  RETURN_IF_ERROR(options.Validate());
  StepLoopConfig config{.options = options};
  ASSIGN_OR_RETURN(config.model_stop_ids, ModelStopIds(*source));
  ASSIGN_OR_RETURN(OpenedModel opened, OpenOnDevice(*source, options));
  ModelInfo info = DescribeModel(*source, opened.executor->hparams());
  info.device = std::move(opened.device);
  info.placement = std::move(opened.placement);
  info.context_length = opened.kv.context_length;
  info.active_bytes_per_token = opened.active_bytes_per_token;
  info.kv_bytes_per_token = opened.kv_bytes_per_token;
  config.context_length = opened.kv.context_length;
  config.num_blocks = opened.kv.num_blocks;
  config.score_rows_max = opened.step.score_rows;
  config.balancer = {.moves = opened.moves_experts, .half_life = options.expert_half_life};
  info.memory_bytes = opened.memory_bytes;
  info.device_bytes = opened.device_bytes;
  RETURN_IF_ERROR(source->Health());  // what was packed is what the file held
  return std::make_unique<LoopEngine>(std::move(info), std::move(config),
                                      std::move(opened.executor), std::move(source));
}

absl::StatusOr<PlannedModel> PlanModel(std::shared_ptr<const ModelSource> source,
                                       const EngineOptions& options, const MemoryRoom& room) {
  ASSIGN_OR_RETURN(const WeighedModel weighed, WeighModel(source, options));
  PlannedModel planned{.info = DescribeModel(*source, weighed.hparams),
                       .plan = PlanMemory(weighed.needs, options, room)};
  planned.info.device = weighed.needs.device;
  planned.info.context_length = planned.plan.context_length;
  planned.info.kv_bytes_per_token = planned.plan.kv_bytes_per_token;
  planned.info.memory_bytes = planned.plan.total_bytes;
  if (weighed.needs.device != "cpu") planned.info.device_bytes = planned.info.memory_bytes;
  return planned;
}

}  // namespace conclave::engine
