// The operation table of a GPU that shares the experts of a model with the machine's processors.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/kernels/cuda/cuda_kernels.h"
#include "engine/kernels/hybrid/expert_stream.h"
#include "engine/kernels/hybrid/hybrid_expert_mover.h"

namespace conclave::engine {

class HybridKernels final : public CudaKernels {
 public:
  // `device_experts` and `stream_rows` as in KernelOptions.
  HybridKernels(OpenedCuda device, std::unique_ptr<Kernels> processors,
                DeviceExperts device_experts, int64_t stream_rows);
  ~HybridKernels() override;

  std::string_view name() const override { return name_; }
  int num_threads() const override { return processors_->num_threads(); }
  ThreadPool& pool() override { return processors_->pool(); }
  absl::Status status() const override;
  Kernels* processors() override { return processors_.get(); }
  const std::vector<int32_t>* DeviceExpertsOf(int32_t layer) const override;
  ExpertMover* mover() override { return &mover_; }
  absl::Status Reserve(const StepLimits& limits) override;

  void PrepareMoe(const FfnWeights& weights, const ExpertRouting& routing, const float* x,
                  int64_t x_stride, int64_t rows) override;
  void Moe(const FfnWeights& weights, const ExpertRouting& routing, const float* x,
           int64_t x_stride, int64_t rows, float* y, int64_t y_stride) override;

 private:
  // Host memory that the device reads and writes.
  struct Pinned {
    void* data = nullptr;
    int64_t bytes = 0;
  };
  absl::Status Take(Pinned& pinned, int64_t bytes);
  absl::Status Take(Buffer& buffer, int64_t bytes);
  // For steps beyond what was reserved: false, and the device counts as failed, without memory.
  template <typename Piece>
  bool Grow(Piece& piece, int64_t bytes);
  // What each of the two takes, measured once with the weights of a layer.
  struct Rates {
    double processors_row = 0;  // seconds, all of a row's experts being theirs
    double stream_expert = 0;   // seconds, to lay one out and send it
  };
  absl::StatusOr<Rates> Measure(const FfnWeights& weights, const ExpertRouting& routing);
  bool Streams(const FfnWeights& weights, const ExpertRouting& routing, int64_t rows);
  void StreamMoe(const FfnWeights& weights, const ExpertRouting& routing, const float* x,
                 int64_t x_stride, int64_t rows, float* y, int64_t y_stride);

  const std::unique_ptr<Kernels> processors_;
  const DeviceExperts device_experts_;
  const std::string name_;
  absl::Status failure_;  // the first time there was no memory for a step

  const int32_t* prepared_ = nullptr;     // the ids that are on their way to the host
  Pinned x_, ids_, order_, weights_, y_;  // what processors read and write
  Buffer here_;                           // [rows][top_k]: numbers in the device's stacks

  Buffer sum_;  // [rows][hidden]: of both, where experts are streamed
  const int64_t stream_rows_;
  std::optional<Rates> rates_;
  ExpertStream stream_;
  HybridExpertMover mover_;
};

// As CreateCudaKernels.
absl::StatusOr<std::unique_ptr<Kernels>> CreateHybridKernels(const KernelOptions& options);

}  // namespace conclave::engine
