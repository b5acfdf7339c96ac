#include "engine/open_model.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/strings.h"
#include "engine/kernels/cuda/expanded_bytes.h"
#include "engine/kernels/expert_mover.h"
#include "engine/kernels/hybrid/expert_stream.h"
#include "engine/kernels/hybrid/hybrid_expert_mover.h"
#include "engine/kernels/kernels.h"
#include "engine/kv/kv_store.h"
#include "engine/models/architecture.h"
#include "engine/models/blocks/decoder.h"
#include "engine/placement/expert_placement.h"
#include "engine/run/warmup.h"

namespace conclave::engine {
namespace {

constexpr int kAttempts = 4;
constexpr int64_t kFloatBytes = static_cast<int64_t>(sizeof(float));

KvType KvTypeOf(const EngineOptions& options) {
  return options.kv_type == "f32" ? KvType::kF32 : KvType::kF16;
}

// Of experts on their way at a time, and so between two steps: a millisecond's work.
int64_t MoveBytes(const ModelBytes& model) {
  return std::min<int64_t>(16 << 20, model.experts() / 64);
}

// What the device needs for a step: the forward pass's own, logits, and what its operations keep
// between two launches, grown by half when it grows (kernels/cuda/module.cu).
int64_t ScratchBytes(const HParams& h, const EngineOptions& options, int64_t device_bytes) {
  const StepSize step = StepSizeOf(h, options);
  const int64_t rows = step.rows;
  const int64_t logits = int64_t{step.logit_rows} * h.vocab_size * kFloatBytes;
  const int64_t slots = rows * std::max(h.num_experts_used, 1);
  const int64_t middle = std::max(h.num_experts > 0 ? slots * h.expert_ffn : 0, rows * h.ffn);
  // Rows are kept in fp32, and as int8 or in fp16 as products take them.
  const int64_t rounded = options.numerics == "fast" ? 4 : 2;
  const int64_t operations =
      middle * (2 * kFloatBytes + rounded) + (slots + 3 * rows) * h.hidden * kFloatBytes;
  // Inputs, lists, attention's partial sums.
  const int64_t rest = (2 << 20) + std::min<int64_t>(256 << 20, device_bytes / 32);
  return Decoder::ScratchBytesOf(h, rows) + logits + operations * 3 / 2 + rest;
}

// What expanding the latents of long prompts takes: W_UK once more, and room for what is made.
int64_t ExpandingBytes(const HParams& h, const EngineOptions& options) {
  if (options.numerics != "fast" || h.kv_lora == 0) return 0;
  const ExpandedShape shape = {.heads = h.num_heads,
                               .nope = h.head_dim - h.rope.dim,
                               .rope = h.rope.dim,
                               .value = h.value_dim,
                               .latent = h.kv_lora,
                               .element_bytes = KvTypeOf(options) == KvType::kF16 ? 2 : 4};
  constexpr int64_t kHalfBytes = 2;
  return h.num_layers * shape.heads * shape.nope * shape.latent * kHalfBytes +
         ExpandedParts::BytesMax(shape, h.context_length, StepSizeOf(h, options).rows);
}

// What the cache is given before experts are: what it wants, but no more than a quarter of what all
// else leaves.
absl::StatusOr<int64_t> KvBytes(const HParams& h, const EngineOptions& options, int64_t room) {
  const KvLayout layout = Decoder::LayoutOf(h, KvTypeOf(options));
  const KvDemand demand = {.model_context = h.context_length,
                           .bytes_per_block = KvStore::BytesPerBlock(layout, h.num_layers),
                           .block_tokens = KvLayout::kBlockTokens,
                           .available_bytes = options.kv_bytes > 0
                                                  ? std::numeric_limits<int64_t>::max()
                                                  : std::max<int64_t>(room, 0) / 2};
  ASSIGN_OR_RETURN(const KvPlan plan, PlanKv(options, demand));
  return plan.kv_bytes;
}

// Of the machine's memory, that both the GPU and the processors use: rows that are handed over, and
// experts on their way.
int64_t PinnedBytes(const HParams& h, const EngineOptions& options, const ModelBytes& model) {
  const StepSize step = StepSizeOf(h, options);
  const int64_t expert_bytes = model.layers.back().expert_bytes;
  int64_t bytes = int64_t{step.rows} * (2 * h.hidden + 3 * h.num_experts_used) * kFloatBytes +
                  int64_t{step.logit_rows} * h.vocab_size * kFloatBytes;
  if (options.numerics == "fast") bytes += ExpertStream::DeviceBytes(expert_bytes);
  if (options.moves_experts()) {
    bytes += 2 * HybridExpertMover::DeviceBytes(MoveBytes(model), expert_bytes);
  }
  return bytes;
}

}  // namespace

absl::StatusOr<std::optional<ExpertPlan>> PlanForDevice(const ModelSource& source,
                                                        const EngineOptions& options,
                                                        int64_t device_bytes, int64_t host_bytes) {
  const absl::StatusOr<std::string_view> architecture = source.Architecture();
  if (!architecture.ok()) return std::nullopt;
  const absl::StatusOr<HParams> h = ReadHParams(source, *architecture);
  if (!h.ok() || h->num_experts == 0) return std::nullopt;
  ExpertDemand demand = {.model = MeasureModel(source.tensors(), h->num_layers),
                         .device_bytes = device_bytes,
                         .host_bytes = host_bytes,
                         .experts_per_layer = options.gpu_experts};
  demand.pinned_bytes = PinnedBytes(*h, options, demand.model);
  demand.scratch_bytes = ScratchBytes(*h, options, device_bytes) + ExpandingBytes(*h, options);
  if (options.numerics == "fast") {
    demand.scratch_bytes += ExpertStream::DeviceBytes(demand.model.layers.back().expert_bytes);
  }
  if (options.moves_experts()) {
    demand.scratch_bytes += HybridExpertMover::DeviceBytes(MoveBytes(demand.model),
                                                           demand.model.layers.back().expert_bytes);
  }
  const int64_t room =
      device_bytes - demand.model.dense - demand.model.tables - demand.scratch_bytes;
  const absl::StatusOr<int64_t> kv_bytes = KvBytes(*h, options, room);
  // Too little room is told by the plan, with all there is to it.
  if (kv_bytes.ok()) demand.kv_bytes = *kv_bytes;
  ASSIGN_OR_RETURN(ExpertPlan plan, PlanExperts(demand));
  RETURN_IF_ERROR(kv_bytes.status());
  return plan;
}

namespace {

// Whether experts can move: without memory for it they stay, and the model serves all the same.
bool ReserveMoves(const EngineOptions& options, const std::optional<ExpertPlan>& plan,
                  Kernels& kernels) {
  ExpertMover* const mover = kernels.mover();
  if (!options.moves_experts() || mover == nullptr || !plan.has_value()) return false;
  const absl::Status status = mover->Reserve(MoveBytes(plan->model));
  if (!status.ok()) {
    base::LogWarning("experts stay where they are", {{"error", status.ToString()}});
  }
  return status.ok();
}

absl::StatusOr<OpenedModel> Load(const ModelSource& source, EngineOptions options,
                                 const std::optional<ExpertPlan>& plan,
                                 std::unique_ptr<Kernels> kernels) {
  ASSIGN_OR_RETURN(std::unique_ptr<Model> model,
                   OpenModel(source, *kernels,
                             options.numerics == "fast" && kernels->Has(Feature::kExpandedAttention)
                                 ? Numerics::kFast
                                 : Numerics::kExact));
  OpenedModel opened;
  opened.moves_experts = ReserveMoves(options, plan, *kernels);
  const HParams& h = model->hparams();
  const KvLayout layout = model->kv_layout(KvTypeOf(options));
  RETURN_IF_ERROR(kernels->CheckAttention(layout, h.num_heads));
  ASSIGN_OR_RETURN(opened.kv,
                   PlanKv(options, {.model_context = h.context_length,
                                    .bytes_per_block = KvStore::BytesPerBlock(layout, h.num_layers),
                                    .block_tokens = KvLayout::kBlockTokens,
                                    .available_bytes = kernels->memory().available_bytes().value_or(
                                        AvailableMemoryBytes())}));
  ASSIGN_OR_RETURN(KvStore kv,
                   KvStore::Create(layout, h.num_layers, opened.kv.num_blocks, kernels->memory()));
  opened.step = StepSizeOf(h, options);
  opened.device = std::string(kernels->name());
  opened.active_bytes_per_token = model->active_bytes_per_token();
  opened.kv_bytes_per_token = KvStore::BytesPerToken(layout, h.num_layers);
  opened.memory_bytes = model->packed_bytes() + opened.kv.kv_bytes +
                        model->ScratchBytes(opened.step.rows) +
                        int64_t{opened.step.logit_rows} * h.vocab_size * kFloatBytes;
  if (kernels->memory().available_bytes().has_value()) opened.device_bytes = opened.memory_bytes;
  ASSIGN_OR_RETURN(opened.executor,
                   Executor::Create(std::move(kernels), std::move(model), std::move(kv),
                                    {.rows = opened.step.rows,
                                     .logit_rows = opened.step.logit_rows,
                                     .sequences = options.max_sequences,
                                     .context = opened.kv.context_length,
                                     .expands = options.numerics == "fast"}));
  RETURN_IF_ERROR(base::Annotate(WarmUp(*opened.executor), "the first step"));
  return opened;
}

}  // namespace

absl::StatusOr<OpenedModel> OpenOnDevice(const ModelSource& source, const EngineOptions& options) {
  KernelOptions wanted = {.device = options.device,
                          .num_threads = options.num_threads,
                          .isa = options.isa,
                          .device_bytes_max = options.vram_budget,
                          .device_experts = {},
                          .fast = options.numerics == "fast",
                          .stream_rows = options.numerics == "fast" ? 0 : -1};
  ASSIGN_OR_RETURN(std::unique_ptr<Kernels> kernels, CreateKernels(wanted));
  const std::optional<int64_t> available = kernels->memory().available_bytes();
  if (!available.has_value()) {
    if (options.vram_budget > 0 || options.gpu_experts >= 0) {
      return base::InvalidArgument(absl::StrCat(
          options.vram_budget > 0 ? "vram_budget" : "gpu_experts", ": the model is computed on ",
          base::Abs(kernels->name()), ", which has no memory of its own"));
    }
    return Load(source, options, std::nullopt, std::move(kernels));
  }
  // Others take of the same memory, drivers round, and what was measured is not all: when it runs
  // out a smaller plan follows.
  int64_t device_bytes = *available;
  const int64_t host_bytes = AvailableMemoryBytes();
  for (int attempt = 1;; ++attempt) {
    ASSIGN_OR_RETURN(const std::optional<ExpertPlan> plan,
                     PlanForDevice(source, options, device_bytes, host_bytes));
    EngineOptions planned = options;
    if (plan.has_value() && !plan->device.empty()) {
      planned.kv_bytes = plan->kv_bytes;
      wanted.device_experts = plan->device;
      kernels = nullptr;  // gives the device back first
      ASSIGN_OR_RETURN(kernels, CreateKernels(wanted));
    }
    absl::StatusOr<OpenedModel> opened = Load(source, planned, plan, std::move(kernels));
    if (opened.ok() && plan.has_value()) {
      opened->placement = plan->ToString();
      opened->device_bytes = plan->used_bytes();
    }
    const bool smaller = !opened.ok() && absl::IsResourceExhausted(opened.status()) &&
                         plan.has_value() && plan->device_expert_bytes > 0 &&
                         options.gpu_experts < 0 && attempt < kAttempts;
    if (!smaller) return opened;
    base::LogWarning("the device's memory ran out, planning with less",
                     {{"error", opened.status().ToString()}, {"plan", plan->ToString()}});
    device_bytes = std::min(device_bytes, plan->used_bytes()) -
                   std::max(device_bytes / 10, plan->device_expert_bytes / 4);
    if (device_bytes <= 0) return opened;
  }
}

}  // namespace conclave::engine
