#include "engine/kernels/hybrid/hybrid_kernels.h"

#include <utility>

#include "base/check.h"

namespace conclave::engine {
namespace {

// A stretch of a step takes milliseconds; far beyond that something is broken.
constexpr double kHostTurnSeconds = 30;

constexpr auto kFloatBytes = static_cast<int64_t>(sizeof(float));

}  // namespace

HybridKernels::HybridKernels(OpenedCuda device, std::unique_ptr<Kernels> processors,
                             DeviceExperts device_experts)
    : CudaKernels(std::move(device.memory), device.device_name, processors->num_threads()),
      processors_(std::move(processors)),
      device_experts_(std::move(device_experts)),
      name_("cuda/" + device.device_name + " + " + std::string(processors_->name())) {}

HybridKernels::~HybridKernels() {
  for (const Pinned* pinned : {&x_, &ids_, &weights_, &y_}) {
    if (pinned->data != nullptr) api_.unpin(context_, pinned->data);
  }
}

absl::Status HybridKernels::status() const {
  return failure_.ok() ? CudaKernels::status() : failure_;
}

const std::vector<int32_t>* HybridKernels::DeviceExpertsOf(int32_t layer) const {
  const auto index = static_cast<size_t>(layer);
  return index < device_experts_.size() ? &device_experts_[index] : nullptr;
}

bool HybridKernels::Grow(Pinned& pinned, int64_t bytes) {
  if (bytes <= pinned.bytes) return true;
  if (pinned.data != nullptr) api_.unpin(context_, pinned.data);
  pinned = {};
  const int64_t wanted = bytes + bytes / 2;
  void* const data = api_.pin(context_, wanted);
  if (data == nullptr) {
    failure_ =
        base::Unavailable("pinned memory of a step: " + std::to_string(wanted) + " bytes wanted");
    return false;
  }
  pinned = {.data = data, .bytes = wanted};
  return true;
}

bool HybridKernels::Grow(Buffer& buffer, int64_t bytes) {
  if (bytes <= buffer.size()) return true;
  absl::StatusOr<Buffer> grown = memory_->Allocate(bytes + bytes / 2);
  if (!grown.ok()) {
    failure_ =
        base::Unavailable("what a step hands over: " + std::string(grown.status().message()));
    return false;
  }
  buffer = *std::move(grown);
  return true;
}

void HybridKernels::PrepareMoe(const FfnWeights& weights, const ExpertRouting& routing,
                               const float* x, int64_t x_stride, int64_t rows) {
  if (weights.split == nullptr || rows <= 0 || !failure_.ok()) return;
  const int64_t hidden = weights.split->processors.up->in();
  const int64_t slots = rows * routing.top_k;
  const int64_t x_bytes = rows * hidden * kFloatBytes;
  const int64_t id_bytes = slots * static_cast<int64_t>(sizeof(int32_t));
  if (!Grow(x_, x_bytes) || !Grow(y_, x_bytes) || !Grow(ids_, id_bytes) ||
      !Grow(weights_, slots * kFloatBytes) || !Grow(here_, id_bytes)) {
    return;
  }
  const ConclaveCudaHandOver hand_over = {.x = x,
                                          .x_stride = x_stride,
                                          .rows = rows,
                                          .cols = hidden,
                                          .ids = routing.ids,
                                          .weights = routing.weights,
                                          .top_k = routing.top_k,
                                          .places = weights.split->places,
                                          .here = here_.as<int32_t>(),
                                          .their_x = static_cast<float*>(x_.data),
                                          .there = static_cast<int32_t*>(ids_.data),
                                          .their_weights = static_cast<float*>(weights_.data)};
  api_.hand_over(context_, &hand_over);
  prepared_ = routing.ids;
}

void HybridKernels::Moe(const FfnWeights& weights, const ExpertRouting& routing, const float* x,
                        int64_t x_stride, int64_t rows, float* y, int64_t y_stride) {
  if (weights.split == nullptr) {
    CudaKernels::Moe(weights, routing, x, x_stride, rows, y, y_stride);
    return;
  }
  if (rows <= 0) return;
  if (prepared_ == nullptr) PrepareMoe(weights, routing, x, x_stride, rows);
  if (!failure_.ok()) return;
  CHECK(prepared_ == routing.ids);
  prepared_ = nullptr;
  const FfnWeights& theirs = weights.split->processors;
  const int64_t hidden = theirs.down->out();
  CHECK(y_stride == hidden);
  const bool here = !weights.up->empty();
  if (here) {
    CudaKernels::Moe(
        weights, {.ids = here_.as<int32_t>(), .weights = routing.weights, .top_k = routing.top_k},
        x, x_stride, rows, y, y_stride);
  }
  if (api_.await_host_turn(context_, kHostTurnSeconds) == 0) return;
  float* const sum = static_cast<float*>(y_.data);
  processors_->Moe(theirs,
                   {.ids = static_cast<const int32_t*>(ids_.data),
                    .weights = static_cast<const float*>(weights_.data),
                    .top_k = routing.top_k},
                   static_cast<const float*>(x_.data), hidden, rows, sum, hidden);
  // The device reads it where it is. It stays as it is until the device hands over again, or is
  // waited for.
  if (here) {
    Add(sum, rows * hidden, y);
  } else {
    CopyRows(sum, hidden, rows, hidden, y, hidden);
  }
}

absl::StatusOr<std::unique_ptr<Kernels>> CreateHybridKernels(const KernelOptions& options) {
  ASSIGN_OR_RETURN(OpenedCuda device, OpenCuda(options));
  ASSIGN_OR_RETURN(std::unique_ptr<Kernels> processors, CreateCpuKernels(options));
  return std::make_unique<HybridKernels>(std::move(device), std::move(processors),
                                         options.device_experts);
}

}  // namespace conclave::engine
