// Computes the processors' experts on the device instead: their weights go there a few experts at a
// time, laid out anew by the processors into one pinned buffer while the other is on its way.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/status.h"
#include "engine/kernels/cuda/cuda_kernels.h"
#include "engine/kernels/expert_mover.h"

namespace conclave::engine {

class ExpertStream final {
 public:
  explicit ExpertStream(std::shared_ptr<CudaMemory> memory, ThreadPool& pool);
  ~ExpertStream();

  // What Moe would make of the processors' experts, in y, rows of down->out() without gaps: a sum
  // for each piece, by ascending id. `add`: to what is there. x and the routing are the device's,
  // `split.processors` the host's. UNAVAILABLE without memory or when the device has failed.
  absl::Status Run(const ExpertSplit& split, const ExpertRouting& routing, const float* x,
                   int64_t x_stride, int64_t rows, bool add, float* y);

  // Takes what Run of these layers needs, for so many floats of rows and chosen experts.
  // RESOURCE_EXHAUSTED without memory.
  absl::Status Reserve(const std::vector<const SharedExperts*>& layers, int64_t floats,
                       int64_t slots);

  // Waits until nothing is on its way.
  void AwaitCopies();

  // Of the buffers on the device, for experts of so many bytes each.
  static int64_t DeviceBytes(int64_t expert_bytes);

 private:
  static constexpr int kSlots = 2;  // one is filled while the other is copied and used

  absl::Status Take(int64_t bytes, int64_t floats, int64_t slots);
  // Lays some experts out in a slot's pinned buffer and has them copied.
  absl::Status Stage(const FfnWeights& theirs, int64_t first, int64_t experts, int slot);

  const std::shared_ptr<CudaMemory> memory_;
  const ConclaveCudaApi& api_;
  ConclaveCudaContext* const context_;
  ThreadPool& pool_;
  std::array<void*, kSlots> pinned_ = {};
  std::array<Buffer, kSlots> staged_;
  int64_t bytes_ = 0;  // of a slot
  int next_slot_ = 0;
  Buffer ids_;  // [rows][top_k]: numbers within a piece
  Buffer sum_;  // [rows][hidden] of a piece
};

}  // namespace conclave::engine
