// Plans against what engines truly take.
#include "engine/run/weigh_model.h"

#include <catch2/catch.hpp>

#include "engine/engine.h"
#include "engine/weights/forwarding_source.h"
#include "support/tiny_model.h"

namespace conclave::engine {
namespace {

// Matrices of it must not be touched.
class Guarded final : public ForwardingSource {
 public:
  using ForwardingSource::ForwardingSource;
  void Prepare(const TensorEntry& entry) const override {
    CHECK(entry.view.shape.rank() <= 1);
    ForwardingSource::Prepare(entry);
  }
};

}  // namespace

TEST_CASE("what is planned of the weights is what the kernels of a CPU hold, for every model") {
  for (const std::string& name : TinyNames()) {
    INFO(name);
    const std::shared_ptr<const ModelSource> source = MakeTinySource(name);
    const absl::StatusOr<WeighedModel> weighed =
        WeighModel(std::make_shared<Guarded>(source), {.device = "cpu"});
    REQUIRE(weighed.ok());
    const auto kernels = CreateCpuKernels({.num_threads = 1});
    REQUIRE(kernels.ok());
    const auto model = OpenModel(*source, **kernels);
    REQUIRE(model.ok());
    // Norms and biases are counted as well: at most a hundredth, but for models as small as these.
    const int64_t packed = (*model)->packed_bytes();
    int64_t vectors = 0;
    for (const TensorEntry& tensor : source->tensors()) {
      if (tensor.view.shape.rank() <= 1 || tensor.name.ends_with(".bias")) {
        vectors += tensor.view.shape.elements() * static_cast<int64_t>(sizeof(float));
      }
    }
    CHECK(weighed->needs.weight_bytes >= packed);
    CHECK(weighed->needs.weight_bytes <= packed + 2 * vectors + 1'024);
    CHECK(weighed->needs.model_context == (*model)->hparams().context_length);
    CHECK(weighed->needs.scratch_bytes >= (*model)->ScratchBytes(256));
  }
}

TEST_CASE("an engine opened as planned takes what was planned") {
  const std::shared_ptr<const ModelSource> source = MakeTinySource("qwen3moe");
  EngineOptions options{
      .num_threads = 1, .max_sequences = 4, .step_token_budget = 64, .device = "cpu"};
  const absl::StatusOr<PlannedModel> planned = PlanModel(source, options, {.budget = 64 << 20});
  REQUIRE(planned.ok());
  REQUIRE(planned->plan.fits);
  options.kv_bytes = planned->plan.kv_bytes;
  const auto engine = Engine::Open(source, options);
  REQUIRE(engine.ok());
  const ModelInfo& info = (*engine)->info();
  const EngineStats stats = (*engine)->Stats();
  CHECK(stats.kv_blocks_total * stats.block_tokens == planned->plan.kv_tokens);
  CHECK(info.context_length == planned->plan.context_length);
  CHECK(info.kv_bytes_per_token == planned->plan.kv_bytes_per_token);
  CHECK(info.memory_bytes <= planned->plan.total_bytes);
  CHECK(static_cast<double>(info.memory_bytes) >
        0.98 * static_cast<double>(planned->plan.total_bytes));
  CHECK(planned->info.architecture == info.architecture);
  CHECK(planned->info.parameters == info.parameters);
}

}  // namespace conclave::engine
