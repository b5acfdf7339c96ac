// Reads a GPU's rows of logits in part, over the module's C door.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "engine/kernels/cuda/module.h"
#include "engine/kernels/row_reader.h"

namespace conclave::engine {

class CudaMemory;
class Kernels;

class CudaRowReader final : public RowReader {
 public:
  // Of these kernels, whose status tells of failures; both outlive it. `whole_floats` as the
  // function says.
  CudaRowReader(const Kernels& kernels, const CudaMemory& memory, int64_t whole_floats);

  void Start() override;
  absl::StatusOr<float*> Read(const Rows& rows) override;
  RowDigest digest(int64_t row) const override;
  absl::StatusOr<float*> Fetch(std::span<const RowBlock> blocks) override;
  int64_t whole_floats() const override { return whole_floats_; }
  int64_t changes_max() const override { return changes_max_; }

  // For steps of so many sequences at most.
  void Reserve(int64_t sequences);

 private:
  void ListRequests(const Rows& rows);
  absl::Status Wait();

  const Kernels& kernels_;
  const CudaMemory& memory_;
  const int64_t whole_floats_;
  int64_t changes_max_ = 0;
  float* x_ = nullptr;
  size_t blocks_of_row_ = 0;
  const float* digests_ = nullptr;

  // Of the rows last read; members so that steps do not allocate them anew.
  std::vector<ConclaveCudaRowRequest> requests_;
  std::vector<uint64_t> allowed_;
  std::array<std::vector<ConclaveCudaRowChange>, kChangeLists> changes_;
  std::vector<ConclaveCudaRowBlock> wanted_;
};

}  // namespace conclave::engine
