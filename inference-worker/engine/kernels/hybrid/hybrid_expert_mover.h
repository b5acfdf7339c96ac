// How experts change places between a GPU and the processors. What goes up is laid out for the GPU
// in pinned memory and copied beside the steps into a buffer there; what comes down is copied into
// pinned memory. Between two steps, when both are done, the GPU copies from its buffer over the
// expert that leaves, the processors lay that one out over the expert that came, and the layer's
// table of places is written anew. No address changes, so recorded graphs stay as they are.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "engine/kernels/cuda/cuda_kernels.h"
#include "engine/kernels/expert_mover.h"

namespace conclave::engine {

class HybridExpertMover final : public ExpertMover {
 public:
  HybridExpertMover(std::shared_ptr<CudaMemory> memory, ThreadPool& pool);
  ~HybridExpertMover() override;

  void Share(SharedExperts experts) override;
  absl::Status Reserve(int64_t bytes) override;
  std::vector<std::vector<int32_t>> DeviceExperts() const override;
  int64_t ExpertBytes(int32_t layer) const override;
  absl::StatusOr<ExpertCounts> TakeCounts() override;
  bool ready() const override;
  bool idle() const override { return under_way_.empty(); }
  absl::StatusOr<int64_t> Start(std::span<const ExpertExchange> exchanges) override;
  absl::StatusOr<int64_t> Finish() override;

  // Rows have chosen these experts: ids on the host, or on the device, which counts them there.
  void Count(int32_t layer, std::span<const int32_t> ids);
  void CountOnDevice(int32_t layer, const int32_t* ids, int64_t slots);

  // What CountOnDevice needs.
  absl::Status ReserveCounts();
  std::vector<const SharedExperts*> shared() const;

  // Of the buffers on the device that Reserve takes, for experts of so many bytes.
  static int64_t DeviceBytes(int64_t bytes, int64_t expert_bytes);

 private:
  struct Layer {
    SharedExperts experts;
    std::vector<int32_t> places;  // as on the device
    std::vector<int64_t> chosen;
    int64_t bytes = 0;  // of an expert on its way
  };
  struct Move {
    Layer* layer = nullptr;
    int64_t device_matrix = 0;
    int64_t processors_matrix = 0;
    int64_t at = 0;  // in the slot's buffers
  };
  struct Slot {
    std::byte* up = nullptr;    // pinned
    std::byte* down = nullptr;  // pinned
    Buffer staged;              // of the device
    std::vector<Move> moves;
    bool counts = false;  // false: what arrives is left alone
  };

  void LayOut(const Move& move, std::byte* up);
  void CopiesDown(const Move& move, std::byte* down, std::vector<ConclaveCudaCopy>& copies) const;
  void Commit(Slot& slot);
  absl::Status WritePlaces(Layer& layer);

  const std::shared_ptr<CudaMemory> memory_;
  const ConclaveCudaApi& api_;
  ConclaveCudaContext* const context_;
  ThreadPool& pool_;
  std::vector<Layer> layers_;  // by number; those that are not shared have no matrices
  std::array<Slot, CONCLAVE_CUDA_MOVE_SLOTS> slots_;
  int64_t slot_bytes_ = 0;
  std::deque<int32_t> under_way_;  // slots, the oldest first
  Buffer chosen_;                  // device: [layers][most experts], what it counted itself
  int64_t chosen_stride_ = 0;
  bool counted_on_device_ = false;  // since TakeCounts
};

}  // namespace conclave::engine
