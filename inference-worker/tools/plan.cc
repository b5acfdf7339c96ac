// conclave-plan: what a model would take in memory, from the header of its file alone.
//
//   conclave-plan --model m.gguf --memory-budget 32G --context-length 16384
#include <cstdio>
#include <optional>
#include <string>

#include "base/options.h"
#include "base/status.h"
#include "engine/engine.h"
#include "engine/open_model.h"
#include "engine/placement/plan.h"
#include "engine/weights/model_file.h"
#include "tools/command_line.h"

namespace conclave::engine {
namespace {

struct Settings {
  std::string model;
  int64_t budget = 0;
  EngineOptions engine;
};

// 0 when it fits, 3 when it does not.
absl::StatusOr<int> Plan(const Settings& settings) {
  if (settings.model.empty()) return base::InvalidArgument("--model is missing");
  ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSource> source, OpenModelFile(settings.model));
  const MemoryRoom room{.budget = settings.budget > 0 ? settings.budget : AvailableMemoryBytes()};
  ASSIGN_OR_RETURN(const PlannedModel planned, PlanModel(source, settings.engine, room));
  std::fputs(planned.plan.ToString().c_str(), stdout);
  if (settings.engine.vram_budget > 0) {
    ASSIGN_OR_RETURN(
        const std::optional<ExpertPlan> plan,
        PlanForDevice(*source, settings.engine, settings.engine.vram_budget, room.budget));
    std::printf("  shared    %s\n",
                plan.has_value() ? plan->ToString().c_str() : "nothing: the model has no experts");
    return 0;
  }
  return planned.plan.fits ? 0 : 3;
}

int Main(int argc, char** argv) {
  Settings s;
  EngineOptions& e = s.engine;
  base::OptionSet options("conclave-plan", "Says what a model would take in memory.");
  options.Add("model", &s.model, "the GGUF file or Hugging Face folder");
  options.AddBytes("memory-budget", &s.budget, "what there is; 0 = what this machine has free");
  options.Add("context-length", &e.context_length, "longest prompt and answer; 0 = the model's own",
              0, 1 << 24);
  options.Add("max-sequences", &e.max_sequences, "requests that run at once", 1, 4096);
  options.Add("step-token-budget", &e.step_token_budget, "tokens of one step", 16, 1 << 16);
  options.AddBytes("kv-bytes", &e.kv_bytes, "memory of the KV cache; 0 = chosen");
  options.AddChoice("kv-type", &e.kv_type, {"f16", "f32"}, "how keys and values are stored");
  options.AddBytes("vram-budget", &e.vram_budget,
                   "of a GPU's memory: also says what would lie there and what in DRAM");
  options.Add("gpu-experts", &e.gpu_experts,
              "experts of each layer to keep on the GPU; -1 = as many as fit", -1, 1 << 20);
  options.AddChoice("numerics", &e.numerics, {"exact", "fast"}, "as the worker's");
  if (const auto code = ParseCommandLine(options, argc, argv)) return *code;
  const absl::StatusOr<int> code = Plan(s);
  return code.ok() ? *code : Fail(code.status());
}

}  // namespace
}  // namespace conclave::engine

int main(int argc, char** argv) { return conclave::engine::Main(argc, argv); }
