#include "engine/kernels/cuda/cuda_kernels.h"

#include <algorithm>
#include <cstdlib>
#include <string_view>
#include <utility>

#include "base/check.h"
#include "engine/kernels/cuda/expanded_bytes.h"
#include "engine/kernels/cuda/loader.h"
#include "engine/kernels/cuda/panels.h"

namespace conclave::engine {
namespace {

// What is copied in about the time that asking twice takes.
constexpr int64_t kWholeFloats = 1 << 16;

ConclaveCudaMatrix MatrixOf(const PackedMatrix& weight) {
  return {.panels = weight.data(),
          .kind = static_cast<int32_t>(weight.kind()),
          .matrices = weight.num_matrices(),
          .out = weight.out(),
          .in = weight.in()};
}

ConclaveCudaFfn FfnOf(const FfnWeights& weights) {
  return {.gate = weights.gate == nullptr ? ConclaveCudaMatrix{} : MatrixOf(*weights.gate),
          .up = MatrixOf(*weights.up),
          .down = MatrixOf(*weights.down),
          .activation = static_cast<int32_t>(weights.activation),
          .gate_bias = weights.gate_bias,
          .up_bias = weights.up_bias,
          .down_bias = weights.down_bias};
}

ConclaveCudaKv KvOf(const KvLayout& layout, const void* kv) {
  return {.kv = const_cast<void*>(kv),
          .num_kv_heads = layout.num_kv_heads,
          .head_dim = layout.head_dim,
          .value_dim = layout.value_dim,
          .half = layout.type == KvType::kF16 ? 1 : 0,
          .values_in_keys = layout.values_in_keys ? 1 : 0};
}

}  // namespace

absl::StatusOr<Buffer> CudaMemory::Allocate(int64_t bytes) {
  if (bytes == 0) return Buffer();
  if (bytes < 0) return base::InvalidArgument("device memory: negative size");
  RETURN_IF_ERROR(status());
  const bool allowed = bytes_max_ == 0 || bytes <= bytes_max_ - used_bytes_;
  void* const data = allowed ? api_.allocate(context_, bytes) : nullptr;
  if (data == nullptr) {
    RETURN_IF_ERROR(status());
    return base::ResourceExhausted("device memory: " + std::to_string(bytes) + " bytes wanted, " +
                                   std::to_string(available_bytes().value_or(0)) + " free");
  }
  used_bytes_ += bytes;
  return Buffer(static_cast<std::byte*>(data), bytes, shared_from_this());
}

absl::Status CudaMemory::Upload(const void* host, int64_t bytes, void* target) {
  return api_.upload(context_, host, bytes, target) != 0 ? absl::OkStatus() : status();
}

std::optional<int64_t> CudaMemory::available_bytes() const {
  int64_t free_bytes = 0;
  int64_t total_bytes = 0;
  if (api_.memory_info(context_, &free_bytes, &total_bytes) == 0) return 0;
  return bytes_max_ == 0 ? free_bytes : std::min(free_bytes, bytes_max_ - used_bytes_);
}

int64_t CudaMemory::total_bytes() const {
  int64_t free_bytes = 0;
  int64_t total_bytes = 0;
  if (api_.memory_info(context_, &free_bytes, &total_bytes) == 0) return 0;
  return bytes_max_ == 0 ? total_bytes : std::min(total_bytes, bytes_max_);
}

absl::Status CudaMemory::status() const {
  const char* const error = api_.error(context_);
  if (error == nullptr) return absl::OkStatus();
  return base::WithReason(base::Unavailable(std::string("the CUDA device failed: ") + error),
                          kDeviceFailed);
}

void CudaMemory::Free(std::byte* data, int64_t bytes) {
  used_bytes_ -= bytes;
  api_.release(context_, data);
}

CudaKernels::CudaKernels(std::shared_ptr<CudaMemory> memory, std::string device_name,
                         int num_threads)
    : memory_(std::move(memory)),
      api_(memory_->api()),
      context_(memory_->context()),
      name_("cuda/" + device_name),
      pool_(num_threads) {
  const char* const rows = std::getenv("CONCLAVE_CUDA_DIGESTS");
  if (rows != nullptr && std::string_view(rows) == "0") return;
  const bool always = rows != nullptr && std::string_view(rows) == "always";
  row_reader_.emplace(*this, *memory_, always ? 0 : kWholeFloats);
}

absl::Status CudaKernels::status() const {
  if (!unimplemented_.empty()) {
    return base::Unimplemented("the CUDA device has no " + unimplemented_);
  }
  return memory_->status();
}

absl::StatusOr<PackedMatrix> CudaKernels::Pack(const TensorView& weight) {
  ASSIGN_OR_RETURN(const CudaPanels panels, PackCudaPanels(weight, pool_));
  ASSIGN_OR_RETURN(Buffer data, memory_->Allocate(panels.data.size()));
  RETURN_IF_ERROR(memory_->Upload(panels.data.data(), panels.data.size(), data.data()));
  return PackedMatrix(weight.dtype, panels.kind, panels.matrices, panels.out, panels.in,
                      std::move(data));
}

absl::StatusOr<RowTable> CudaKernels::PackRows(const TensorView& table) {
  if (!HasCudaKernels(table.dtype)) {
    return base::Unimplemented("no CUDA kernels for " + std::string(NameOf(table.dtype)));
  }
  RowTable rows{.view = table, .memory = {}};
  ASSIGN_OR_RETURN(rows.memory, memory_->Allocate(table.bytes()));
  RETURN_IF_ERROR(memory_->Upload(table.data, table.bytes(), rows.memory.data()));
  rows.view.data = rows.memory.data();
  return rows;
}

namespace {

int64_t ExpandedBytes(const StepLimits& limits) {
  if (limits.expanded_key == 0) return 0;
  const KvLayout& latents = limits.layout;
  const int64_t rope = latents.head_dim - latents.value_dim;
  return ExpandedParts::BytesMax({.heads = limits.num_heads,
                                  .nope = limits.expanded_key - rope,
                                  .rope = rope,
                                  .value = limits.expanded_value,
                                  .latent = latents.value_dim,
                                  .element_bytes = latents.type == KvType::kF16 ? 2 : 4},
                                 limits.context, limits.rows);
}

}  // namespace

absl::Status CudaKernels::Reserve(const StepLimits& limits) {
  if (row_reader_.has_value()) row_reader_->Reserve(limits.sequences);
  const ConclaveCudaLimits all = {
      .rows = limits.rows,
      .sequences = limits.sequences,
      .context = limits.context,
      .read_floats = limits.read_floats,
      .read_rows = row_reader_.has_value() ? limits.read_rows : 0,
      .row_changes = row_reader_.has_value() ? row_reader_->changes_max() : 0,
      .widest = limits.widest,
      .hidden = limits.hidden,
      .middle = limits.middle,
      .slots = limits.slots,
      .experts = limits.experts,
      .num_heads = limits.num_heads,
      .num_kv_heads = limits.layout.num_kv_heads,
      .value_dim = limits.layout.value_dim,
      // What is beyond a small part of the memory is not worth it.
      .attention_bytes = std::min<int64_t>(256 << 20, memory_->total_bytes() / 32),
      .expanded_bytes = ExpandedBytes(limits)};
  if (api_.reserve(context_, &all) != 0) return absl::OkStatus();
  RETURN_IF_ERROR(status());
  return base::ResourceExhausted("device or pinned memory: no room for what a step of " +
                                 std::to_string(limits.rows) + " rows needs");
}

absl::Status CudaKernels::CheckAttention(const KvLayout& layout, int32_t) const {
  if (layout.values_in_keys) {
    if (layout.head_dim <= CONCLAVE_CUDA_LATENT_KEY_MAX &&
        layout.value_dim <= CONCLAVE_CUDA_LATENT_MAX) {
      return absl::OkStatus();
    }
    return base::Unimplemented("latent attention on CUDA: latents of " +
                               std::to_string(layout.value_dim) + " elements, at most " +
                               std::to_string(CONCLAVE_CUDA_LATENT_MAX));
  }
  const int32_t widest = std::max(layout.head_dim, layout.value_dim);
  if (widest <= CONCLAVE_CUDA_HEAD_DIM_MAX) return absl::OkStatus();
  return base::Unimplemented("attention on CUDA: heads of " + std::to_string(widest) +
                             " elements, at most " + std::to_string(CONCLAVE_CUDA_HEAD_DIM_MAX));
}

void CudaKernels::Matmul(std::span<const MatmulOutput> outputs, const float* x, int64_t x_stride,
                         int64_t rows) {
  if (rows <= 0 || outputs.empty()) return;
  outputs_.clear();
  for (const MatmulOutput& output : outputs) {
    CHECK(output.weight->in() == outputs[0].weight->in() && output.weight->num_matrices() == 1);
    outputs_.push_back({.weight = MatrixOf(*output.weight),
                        .bias = output.bias,
                        .y = output.y,
                        .y_stride = output.y_stride});
  }
  api_.matmul(context_, outputs_.data(), static_cast<int32_t>(outputs_.size()), x, x_stride, rows);
}

void CudaKernels::MatmulHeads(const PackedMatrix& weight, const float* x, int64_t x_stride,
                              int64_t x_head, int64_t rows, float* y, int64_t y_stride,
                              int64_t y_head) {
  if (rows <= 0) return;
  CHECK(x_stride == weight.num_matrices() * x_head && y_stride == weight.num_matrices() * y_head);
  const ConclaveCudaMatrix matrix = MatrixOf(weight);
  api_.matmul_heads(context_, &matrix, x, x_head, rows, y, y_head);
}

void CudaKernels::CopyRows(const float* x, int64_t x_stride, int64_t rows, int64_t n, float* y,
                           int64_t y_stride) {
  if (rows > 0) api_.copy_rows(context_, x, x_stride, rows, n, y, y_stride);
}

void CudaKernels::Ffn(const FfnWeights& weights, const float* x, int64_t x_stride, int64_t rows,
                      float* y, int64_t y_stride) {
  if (rows <= 0) return;
  const ConclaveCudaFfn ffn = FfnOf(weights);
  api_.ffn(context_, &ffn, x, x_stride, rows, y, y_stride);
}

void CudaKernels::Moe(const FfnWeights& weights, const ExpertRouting& routing, const float* x,
                      int64_t x_stride, int64_t rows, float* y, int64_t y_stride) {
  if (rows <= 0) return;
  if (routing.top_k > CONCLAVE_CUDA_TOP_K_MAX ||
      weights.up->num_matrices() > CONCLAVE_CUDA_EXPERTS_MAX) {
    unimplemented_ = "mixture of more than 1024 experts or 64 of them per token";
    return;
  }
  const ConclaveCudaFfn ffn = FfnOf(weights);
  const ConclaveCudaRouting routed = {.ids = routing.ids,
                                      .weights = routing.weights,
                                      .top_k = routing.top_k,
                                      .order = routing.order};
  api_.moe(context_, &ffn, &routed, x, x_stride, rows, y, y_stride);
}

void CudaKernels::RmsNorm(const float* x, int64_t x_stride, int64_t rows, int64_t n,
                          const float* weight, float eps, float* y, int64_t y_stride) {
  if (rows > 0) api_.rms_norm(context_, x, x_stride, rows, n, weight, eps, y, y_stride);
}

void CudaKernels::LayerNorm(const float* x, int64_t x_stride, int64_t rows, int64_t n,
                            const float* weight, const float* bias, float eps, float* y,
                            int64_t y_stride) {
  if (rows > 0) api_.layer_norm(context_, x, x_stride, rows, n, weight, bias, eps, y, y_stride);
}

void CudaKernels::Scale(float factor, int64_t n, float* x) {
  if (n > 0) api_.scale(context_, factor, n, x);
}

void CudaKernels::AddGated(const float* x, const float* gate, int64_t rows, int64_t n, float* y) {
  if (rows > 0) api_.add_gated(context_, x, gate, rows, n, y);
}

void CudaKernels::Add(const float* x, int64_t n, float* y) {
  if (n > 0) api_.add(context_, x, n, y);
}

void CudaKernels::Activate(Activation activation, const float* x, int64_t n, float* y) {
  if (n > 0) api_.activate(context_, static_cast<int32_t>(activation), x, nullptr, n, y);
}

void CudaKernels::ActivateMul(Activation activation, const float* gate, const float* up, int64_t n,
                              float* y) {
  if (n > 0) api_.activate(context_, static_cast<int32_t>(activation), gate, up, n, y);
}

void CudaKernels::RopeAngles(const RopeTable& table, std::span<const int32_t> positions,
                             float magnitude, float* cos_sin) {
  if (positions.empty()) return;
  api_.rope_angles(context_, table.inverse_frequency().data(), table.rope_dim() / 2,
                   positions.data(), static_cast<int64_t>(positions.size()), magnitude, cos_sin);
}

void CudaKernels::Rope(RopeStyle style, float* x, int64_t stride, int64_t rows, int32_t num_heads,
                       int32_t head_dim, int32_t rope_dim, const float* cos_sin) {
  if (rows <= 0) return;
  api_.rope(context_, static_cast<int32_t>(style), x, stride, rows, num_heads, head_dim, rope_dim,
            cos_sin);
}

void CudaKernels::BeginStep(std::span<const AttentionSpan> spans) {
  spans_.clear();
  blocks_.clear();
  slots_.clear();
  for (const AttentionSpan& span : spans) {
    if (span.rows <= 0) continue;
    constexpr int32_t kBlock = KvLayout::kBlockTokens;
    CHECK(span.first_row == static_cast<int32_t>(slots_.size()));
    spans_.push_back({.first_row = span.first_row,
                      .rows = span.rows,
                      .position = span.position,
                      .first_block = static_cast<int32_t>(blocks_.size())});
    const int32_t tokens = span.position + span.rows;
    blocks_.insert(blocks_.end(), span.blocks, span.blocks + (tokens + kBlock - 1) / kBlock);
    for (int32_t token = span.position; token < tokens; ++token) {
      slots_.push_back(span.blocks[token / kBlock] * kBlock + token % kBlock);
    }
  }
  api_.begin_step(context_, spans_.data(), static_cast<int32_t>(spans_.size()), blocks_.data(),
                  static_cast<int64_t>(blocks_.size()), slots_.data(),
                  static_cast<int64_t>(slots_.size()));
}

void CudaKernels::StoreKv(const KvLayout& layout, void* kv, const float* k, int64_t k_stride,
                          const float* v, int64_t v_stride) {
  const ConclaveCudaKv target = KvOf(layout, kv);
  api_.store_kv(context_, &target, k, k_stride, v, v_stride);
}

void CudaKernels::Attention(const AttentionArgs& args) {
  CHECK(args.layout.num_kv_heads > 0 && args.num_heads % args.layout.num_kv_heads == 0);
  const ConclaveCudaKv source = KvOf(args.layout, args.kv);
  const ConclaveCudaAttention attention = {.num_heads = args.num_heads,
                                           .scale = args.scale,
                                           .q = args.q,
                                           .q_stride = args.q_stride,
                                           .out = args.out,
                                           .out_stride = args.out_stride,
                                           .window = args.window,
                                           .sinks = args.sinks,
                                           .alibi_slopes = args.alibi_slopes,
                                           .max_span_rows = args.max_span_rows};
  api_.attention(context_, &source, &attention);
}

void CudaKernels::ExpandedAttention(const ExpandedAttentionArgs& args, int32_t span) {
  CHECK(args.layout.values_in_keys && args.layout.num_kv_heads == 1);
  CHECK(span >= 0 && static_cast<size_t>(span) < spans_.size());
  const ConclaveCudaKv latents = KvOf(args.layout, args.kv);
  const ConclaveCudaExpanded expanded = {.keys = MatrixOf(*args.keys),
                                         .values = MatrixOf(*args.values),
                                         .scale = args.scale,
                                         .q = args.q,
                                         .q_stride = args.q_stride,
                                         .out = args.out,
                                         .out_stride = args.out_stride,
                                         .span = span};
  api_.expanded_attention(context_, &latents, &expanded);
}

void CudaKernels::EmbedRows(const RowTable& table, std::span<const int32_t> ids, float* out,
                            int64_t out_stride) {
  if (ids.empty()) return;
  for (const int32_t id : ids) CHECK(id >= 0 && id < table.view.rows());
  api_.embed_rows(context_, table.view.data, static_cast<int32_t>(table.view.dtype),
                  table.view.cols(), table.view.row_bytes(), ids.data(),
                  static_cast<int64_t>(ids.size()), out, out_stride);
}

void CudaKernels::GatherRows(const float* x, int64_t x_stride, std::span<const int32_t> rows,
                             int64_t n, float* y, int64_t y_stride) {
  if (rows.empty()) return;
  api_.gather_rows(context_, x, x_stride, rows.data(), static_cast<int64_t>(rows.size()), n, y,
                   y_stride);
}

void CudaKernels::Route(const RouterArgs& router, const float* logits, int64_t stride, int64_t rows,
                        int32_t* ids, float* weights) {
  if (rows <= 0) return;
  CHECK(router.top_k >= 1 && router.top_k <= router.num_experts);
  if (router.num_experts > CONCLAVE_CUDA_EXPERTS_MAX) {
    unimplemented_ = "routing among more than 1024 experts";
    return;
  }
  if (router.num_groups > CONCLAVE_CUDA_GROUPS_MAX || router.top_k > CONCLAVE_CUDA_TOP_K_MAX) {
    unimplemented_ = "routing among more than 64 groups or to more than 64 experts";
    return;
  }
  const ConclaveCudaRouter args = {.num_experts = router.num_experts,
                                   .top_k = router.top_k,
                                   .score = static_cast<int32_t>(router.score),
                                   .num_groups = router.num_groups,
                                   .selection_bias = router.selection_bias,
                                   .num_groups_used = router.num_groups_used,
                                   .group_best = router.group_best,
                                   .renormalize = router.renormalize ? 1 : 0,
                                   .scale = router.scale};
  api_.route(context_, &args, logits, stride, rows, ids, weights);
}

absl::StatusOr<float*> CudaKernels::HostView(float* x, int64_t n) {
  float* const view = api_.read_back(context_, x, n);
  RETURN_IF_ERROR(status());
  return view;
}

void CudaKernels::Softmax(float*, int64_t, int64_t, int64_t) { unimplemented_ = "Softmax"; }
void CudaKernels::DenseAttention(const DenseAttentionArgs&) { unimplemented_ = "DenseAttention"; }

absl::StatusOr<OpenedCuda> OpenCuda(const KernelOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<CudaDevice> devices, CudaDevices());
  if (devices.empty()) return base::FailedPrecondition("CUDA: no device");
  ASSIGN_OR_RETURN(const ConclaveCudaApi* const api, LoadCudaApi());
  constexpr int32_t kFirst = 0;
  char error[256] = "";
  ConclaveCudaContext* const context = api->open(kFirst, options.fast ? 1 : 0, error, sizeof error);
  if (context == nullptr) return base::FailedPrecondition(std::string("CUDA: ") + error);
  return OpenedCuda{.memory = std::make_shared<CudaMemory>(*api, context, options.device_bytes_max),
                    .device_name = devices[kFirst].name};
}

absl::StatusOr<std::unique_ptr<Kernels>> CreateCudaKernels(const KernelOptions& options) {
  ASSIGN_OR_RETURN(OpenedCuda opened, OpenCuda(options));
  return std::make_unique<CudaKernels>(std::move(opened.memory), std::move(opened.device_name),
                                       options.num_threads);
}

}  // namespace conclave::engine
