#include "engine/kernels/hybrid/hybrid_kernels.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/log.h"

namespace conclave::engine {
namespace {

// Steps of fewer rows are graphs, which cannot wait for another stream.
constexpr int64_t kStreamRowsMin = 65;

constexpr auto kFloatBytes = static_cast<int64_t>(sizeof(float));

}  // namespace

HybridKernels::HybridKernels(OpenedCuda device, std::unique_ptr<Kernels> processors,
                             DeviceExperts device_experts, int64_t stream_rows)
    : CudaKernels(std::move(device.memory), device.device_name, processors->num_threads()),
      processors_(std::move(processors)),
      device_experts_(std::move(device_experts)),
      name_("cuda/" + device.device_name + " + " + std::string(processors_->name())),
      stream_rows_(stream_rows),
      stream_(memory_, processors_->pool()),
      mover_(memory_, processors_->pool()) {}

HybridKernels::~HybridKernels() {
  for (const Pinned* pinned : {&x_, &ids_, &order_, &weights_, &y_}) {
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

absl::Status HybridKernels::Take(Pinned& pinned, int64_t bytes) {
  if (bytes <= pinned.bytes) return absl::OkStatus();
  RETURN_IF_ERROR(status());
  if (pinned.data != nullptr) api_.unpin(context_, pinned.data);
  pinned = {};
  void* const data = api_.pin(context_, bytes);
  if (data == nullptr) {
    return base::ResourceExhausted("pinned memory of a step: " + std::to_string(bytes) +
                                   " bytes wanted");
  }
  pinned = {.data = data, .bytes = bytes};
  return absl::OkStatus();
}

absl::Status HybridKernels::Take(Buffer& buffer, int64_t bytes) {
  if (bytes <= buffer.size()) return absl::OkStatus();
  ASSIGN_OR_RETURN(buffer, memory_->Allocate(bytes));
  return absl::OkStatus();
}

template <typename Piece>
bool HybridKernels::Grow(Piece& piece, int64_t bytes) {
  const absl::Status taken = Take(piece, bytes);
  if (!taken.ok()) {
    failure_ = base::Unavailable("what a step hands over: " + std::string(taken.message()));
  }
  return taken.ok();
}

absl::Status HybridKernels::Reserve(const StepLimits& limits) {
  RETURN_IF_ERROR(CudaKernels::Reserve(limits));
  RETURN_IF_ERROR(processors_->Reserve(limits));
  const int64_t x_bytes = limits.rows * limits.hidden * kFloatBytes;
  const int64_t id_bytes = limits.slots * static_cast<int64_t>(sizeof(int32_t));
  RETURN_IF_ERROR(Take(x_, x_bytes));
  RETURN_IF_ERROR(Take(y_, x_bytes));
  RETURN_IF_ERROR(Take(ids_, id_bytes));
  RETURN_IF_ERROR(Take(order_, id_bytes));
  RETURN_IF_ERROR(Take(weights_, limits.slots * kFloatBytes));
  RETURN_IF_ERROR(Take(here_, id_bytes));
  if (stream_rows_ < 0) return absl::OkStatus();
  RETURN_IF_ERROR(Take(sum_, x_bytes));
  RETURN_IF_ERROR(mover_.ReserveCounts());
  return stream_.Reserve(mover_.shared(), limits.rows * limits.hidden, limits.slots);
}

void HybridKernels::PrepareMoe(const FfnWeights& weights, const ExpertRouting& routing,
                               const float* x, int64_t x_stride, int64_t rows) {
  if (weights.split == nullptr || rows <= 0 || !failure_.ok()) return;
  if (Streams(weights, routing, rows)) return;
  const int64_t hidden = weights.split->processors.up->in();
  const int64_t slots = rows * routing.top_k;
  const int64_t x_bytes = rows * hidden * kFloatBytes;
  const int64_t id_bytes = slots * static_cast<int64_t>(sizeof(int32_t));
  if (!Grow(x_, x_bytes) || !Grow(y_, x_bytes) || !Grow(ids_, id_bytes) ||
      !Grow(order_, id_bytes) || !Grow(weights_, slots * kFloatBytes) || !Grow(here_, id_bytes)) {
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
                                          .their_ids = static_cast<int32_t*>(order_.data),
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
  if (rows <= 0 || !failure_.ok()) return;
  if (prepared_ == nullptr && Streams(weights, routing, rows)) {
    StreamMoe(weights, routing, x, x_stride, rows, y, y_stride);
    return;
  }
  if (prepared_ == nullptr) PrepareMoe(weights, routing, x, x_stride, rows);
  if (!failure_.ok()) return;
  CHECK(prepared_ == routing.ids);
  prepared_ = nullptr;
  const FfnWeights& theirs = weights.split->processors;
  const int64_t hidden = theirs.down->out();
  CHECK(y_stride == hidden);
  const bool here = !weights.up->empty();
  if (here) {
    CudaKernels::Moe(weights,
                     {.ids = here_.as<int32_t>(),
                      .weights = routing.weights,
                      .top_k = routing.top_k,
                      .order = routing.ids},
                     x, x_stride, rows, y, y_stride);
  }
  if (api_.await_host_turn(context_) == 0) return;
  float* const sum = static_cast<float*>(y_.data);
  const auto* const chosen = static_cast<const int32_t*>(order_.data);
  mover_.Count(weights.split->layer, {chosen, static_cast<size_t>(rows * routing.top_k)});
  processors_->Moe(theirs,
                   {.ids = static_cast<const int32_t*>(ids_.data),
                    .weights = static_cast<const float*>(weights_.data),
                    .top_k = routing.top_k,
                    .order = chosen},
                   static_cast<const float*>(x_.data), hidden, rows, sum, hidden);
  // The device reads it where it is. It stays as it is until the device hands over again, or is
  // waited for.
  if (here) {
    Add(sum, rows * hidden, y);
  } else {
    CopyRows(sum, hidden, rows, hidden, y, hidden);
  }
}

absl::StatusOr<HybridKernels::Rates> HybridKernels::Measure(const FfnWeights& weights,
                                                            const ExpertRouting& routing) {
  constexpr int64_t kRows = 64;
  constexpr int kRuns = 3;
  const FfnWeights& theirs = weights.split->processors;
  const int64_t hidden = theirs.up->in();
  const int64_t experts = theirs.up->num_matrices();
  const int64_t slots = kRows * std::min<int64_t>(routing.top_k, experts);
  std::vector<float> x(static_cast<size_t>(kRows * hidden), 0.5f);
  std::vector<float> y(x.size());
  std::vector<float> shares(static_cast<size_t>(slots), 0.125f);
  std::vector<int32_t> ids(static_cast<size_t>(slots));
  for (size_t i = 0; i < ids.size(); ++i)
    ids[i] = static_cast<int32_t>(i % static_cast<size_t>(experts));
  const ExpertRouting spread = {
      .ids = ids.data(), .weights = shares.data(), .top_k = static_cast<int32_t>(slots / kRows)};
  // What the device is asked for costs as much whichever it is: of nothing, zeros.
  ASSIGN_OR_RETURN(Buffer zeros, memory_->Allocate((2 * hidden + 2 * routing.top_k) * kFloatBytes));
  float* const device_x = zeros.as<float>();
  const ExpertRouting first = {.ids = zeros.as<int32_t>() + 2 * hidden,
                               .weights = device_x + 2 * hidden + routing.top_k,
                               .top_k = routing.top_k};
  Rates rates = {.processors_row = INFINITY, .stream_expert = INFINITY};
  const auto seconds = [](const auto& work) {
    const auto start = std::chrono::steady_clock::now();
    work();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  for (int run = 0; run < kRuns; ++run) {
    const double took = seconds(
        [&] { processors_->Moe(theirs, spread, x.data(), hidden, kRows, y.data(), hidden); });
    rates.processors_row = std::min(
        rates.processors_row, took / kRows * routing.top_k / static_cast<double>(spread.top_k));
    absl::Status status;
    const double sent = seconds([&] {
      status = stream_.Run(*weights.split, first, device_x, hidden, 1, false, device_x + hidden);
      stream_.AwaitCopies();
    });
    RETURN_IF_ERROR(status);
    rates.stream_expert = std::min(rates.stream_expert, sent / static_cast<double>(experts));
  }
  base::LogInfo(
      "experts in DRAM measured",
      {{"processors_ms_per_row", rates.processors_row * 1e3},
       {"stream_ms_per_layer", rates.stream_expert * 1e3 * static_cast<double>(experts)}});
  return rates;
}

bool HybridKernels::Streams(const FfnWeights& weights, const ExpertRouting& routing, int64_t rows) {
  if (stream_rows_ < 0 || !failure_.ok()) return false;
  if (stream_rows_ > 0) return rows >= stream_rows_;
  if (!rates_.has_value()) {
    absl::StatusOr<Rates> rates = Measure(weights, routing);
    if (!rates.ok()) {
      failure_ = base::Unavailable("measuring experts: " + std::string(rates.status().message()));
      return false;
    }
    rates_ = *rates;
  }
  const auto theirs = static_cast<double>(weights.split->processors.up->num_matrices());
  const double all = theirs + static_cast<double>(weights.up->num_matrices());
  return rows >= kStreamRowsMin &&
         static_cast<double>(rows) * rates_->processors_row * theirs / all >
             theirs * rates_->stream_expert;
}

void HybridKernels::StreamMoe(const FfnWeights& weights, const ExpertRouting& routing,
                              const float* x, int64_t x_stride, int64_t rows, float* y,
                              int64_t y_stride) {
  const int64_t hidden = weights.split->processors.down->out();
  const int64_t slots = rows * routing.top_k;
  CHECK(y_stride == hidden);
  // y may be x, which is read until the last piece.
  if (!Grow(here_, slots * static_cast<int64_t>(sizeof(int32_t))) ||
      !Grow(sum_, rows * hidden * kFloatBytes)) {
    return;
  }
  mover_.CountOnDevice(weights.split->layer, routing.ids, slots);
  auto* const sum = sum_.as<float>();
  const auto here = static_cast<int32_t>(weights.up->num_matrices());
  if (here > 0) {
    api_.choose_experts(context_, routing.ids, weights.split->places, slots, 0, 0, here,
                        here_.as<int32_t>());
    CudaKernels::Moe(weights,
                     {.ids = here_.as<int32_t>(),
                      .weights = routing.weights,
                      .top_k = routing.top_k,
                      .order = routing.ids},
                     x, x_stride, rows, sum, hidden);
  }
  if (const absl::Status status =
          stream_.Run(*weights.split, routing, x, x_stride, rows, here > 0, sum);
      !status.ok()) {
    failure_ = status;
    return;
  }
  CopyRows(sum, hidden, rows, hidden, y, hidden);
}

absl::StatusOr<std::unique_ptr<Kernels>> CreateHybridKernels(const KernelOptions& options) {
  ASSIGN_OR_RETURN(OpenedCuda device, OpenCuda(options));
  ASSIGN_OR_RETURN(std::unique_ptr<Kernels> processors, CreateCpuKernels(options));
  return std::make_unique<HybridKernels>(std::move(device), std::move(processors),
                                         options.device_experts, options.stream_rows);
}

}  // namespace conclave::engine
