// Where the experts of models larger than a GPU lie, on the tensor tables of published shapes.
#include "engine/placement/expert_placement.h"

#include <catch2/catch.hpp>
#include <numeric>
#include <string>

#include "tools/synth_model.h"

namespace conclave::engine {
namespace {

constexpr int64_t kGib = int64_t{1} << 30;

SynthSpec Published(const std::string& name, DType type, DType head) {
  SynthSpec spec = *ShapeByName(name);
  spec.weights = spec.experts = type;
  spec.embedding = spec.head = head;
  return spec;
}

ModelBytes Measure(const SynthSpec& spec) {
  const absl::StatusOr<GgufWriter> writer = MakeSynthModel(spec);
  REQUIRE(writer.ok());
  return MeasureModel(writer->tensors(), spec.num_layers);
}

int64_t FileBytes(const SynthSpec& spec) {
  int64_t bytes = 0;
  for (const TensorEntry& tensor : MakeSynthModel(spec)->tensors()) bytes += tensor.view.bytes();
  return bytes;
}

// Four experts of 100 bytes in each of three layers, the first of which is no mixture.
ExpertDemand Small(int64_t device_bytes) {
  ModelBytes model{.dense = 1000, .tables = 500, .layers = {{}, {4, 100}, {4, 100}}};
  return {.model = model, .kv_bytes = 200, .scratch_bytes = 300, .device_bytes = device_bytes};
}

size_t Count(const ExpertPlan& plan) {
  size_t count = 0;
  for (const auto& layer : plan.device) count += layer.size();
  return count;
}

}  // namespace

TEST_CASE("all is the device's when it fits, and all but the experts comes first") {
  const ExpertPlan all = *PlanExperts(Small(2800));
  CHECK(all.device.empty());
  CHECK(all.used_bytes() == 2800);
  CHECK(all.host_bytes() == 0);
  const ExpertPlan none = *PlanExperts(Small(2000));
  CHECK(Count(none) == 0);
  CHECK(none.device.size() == 3);
  CHECK(none.host_bytes() == 800);
}

TEST_CASE("experts that neither the GPU nor the machine has room for are refused with both sizes") {
  ExpertDemand demand = Small(2400);  // 400 of 800 bytes of experts
  demand.pinned_bytes = 50;
  demand.host_bytes = 450;
  const ExpertPlan plan = *PlanExperts(demand);
  CHECK(plan.host_bytes() == 400);
  CHECK(plan.ToString().find("pinned") != std::string::npos);
  demand.host_bytes = 449;
  const absl::Status status = PlanExperts(demand).status();
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
  CHECK(std::string(status.message()) ==
        "memory: 450 bytes wanted for the experts that the GPU has no room for (weights 400, "
        "pinned 50), 449 available");
  // All on the GPU wants nothing of the machine.
  demand.device_bytes = 2800;
  demand.host_bytes = 0;
  CHECK(PlanExperts(demand).ok());
}

TEST_CASE("layers get as many experts as the others, the first one more") {
  const ExpertPlan plan = *PlanExperts(Small(2399));
  CHECK(plan.device == DeviceExperts{{}, {0, 1}, {0}});
  CHECK(plan.device_expert_bytes == 300);
  CHECK(plan.used_bytes() == 2300);
}

TEST_CASE("the experts chosen most often come first when that is known") {
  ExpertDemand demand = Small(2300);
  demand.hotness = {{}, {5, 1, 9, 1}, {1, 1, 1, 7}};
  CHECK(PlanExperts(demand)->device == DeviceExperts{{}, {0, 2}, {3}});
}

TEST_CASE("what does not fit is refused with the bytes wanted and those there are") {
  const absl::Status little = PlanExperts(Small(1999)).status();
  CHECK(little.code() == absl::StatusCode::kResourceExhausted);
  CHECK(std::string(little.message()).find("2000 bytes wanted") != std::string::npos);
  CHECK(std::string(little.message()).find("1999 free") != std::string::npos);
  ExpertDemand demand = Small(2300);
  demand.experts_per_layer = 1;
  CHECK(PlanExperts(demand)->device == DeviceExperts{{}, {0}, {0}});
  demand.experts_per_layer = 2;
  const absl::Status asked = PlanExperts(demand).status();
  CHECK(asked.code() == absl::StatusCode::kResourceExhausted);
  CHECK(std::string(asked.message()).find("gpu_experts: 2") == 0);
  CHECK(std::string(asked.message()).find("2400 bytes wanted") != std::string::npos);
}

TEST_CASE("a file's bytes are told apart into experts and all else, however experts lie") {
  const SynthSpec stacks = *TinySpec("deepseek2");
  const ModelBytes model = Measure(stacks);
  CHECK(model.layers[0].experts == 0);
  CHECK(model.layers[1].experts == 16);
  // gate and up [32][64], down [64][32], fp32.
  CHECK(model.layers[1].expert_bytes == 3 * 32 * 64 * 4);
  CHECK(model.experts() == 2 * 16 * 3 * 32 * 64 * 4);
  CHECK(Measure(*TinySpec("deepseek2_gate_up")).experts() == model.experts());
  const ModelBytes apart = Measure(*TinySpec("mixtral_apart"));
  CHECK(apart.layers[1].experts == 8);
  CHECK(apart.experts() == Measure(*TinySpec("mixtral")).experts());
  // Blocks that predict further tokens are not loaded.
  CHECK(Measure(*TinySpec("glm4moe")).layers.size() == 3);
  // Biases go with their experts.
  CHECK(Measure(*TinySpec("gpt-oss")).layers[0].expert_bytes == (3 * 96 * 64 + 2 * 96 + 64) * 4);
}

// docs/operations.md has these.
TEST_CASE("published shapes on GPUs of 6, 24 and 80 GB") {
  const struct {
    const char* shape;
    DType type, head;
    int64_t kv_bytes;  // 32768 tokens
    int64_t budgets[3];
    int32_t experts[3];  // of each layer on the GPU; -1: refused
  } rows[] = {
      {"qwen3moe-30b-a3b", DType::kQ4_K, DType::kQ6_K, 3 * kGib, {6, 24, 80}, {8, 128, 128}},
      {"gpt-oss-120b", DType::kMXFP4, DType::kQ8_0, kGib * 9 / 4, {6, 24, 80}, {2, 40, 128}},
      {"deepseek-v3", DType::kQ4_K, DType::kQ6_K, kGib * 9 / 4, {6, 24, 80}, {-1, 6, 44}},
  };
  for (const auto& row : rows) {
    const SynthSpec spec = Published(row.shape, row.type, row.head);
    const ModelBytes model = Measure(spec);
    // Packed sizes are the file's, but for heads of latent attention and padding.
    const auto file = static_cast<double>(FileBytes(spec));
    CHECK(static_cast<double>(model.dense + model.tables + model.experts()) ==
          Approx(file).epsilon(0.03));
    for (int i = 0; i < 3; ++i) {
      const auto plan = PlanExperts({.model = model,
                                     .kv_bytes = row.kv_bytes,
                                     .scratch_bytes = kGib / 2,
                                     .device_bytes = row.budgets[i] * 1'000'000'000});
      CAPTURE(row.shape, row.budgets[i]);
      INFO((plan.ok() ? plan->ToString() : plan.status().ToString()));
      REQUIRE(plan.ok() == (row.experts[i] >= 0));
      if (!plan.ok()) continue;
      CHECK(plan->used_bytes() <= plan->device_bytes);
      const auto on_device =
          plan->device.empty() ? static_cast<size_t>(spec.num_experts) : plan->device.back().size();
      CHECK(static_cast<int32_t>(on_device) == row.experts[i]);
    }
  }
}

}  // namespace conclave::engine
