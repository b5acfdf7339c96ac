// Tensors that do not lie in a checkpoint as the engine wants them: rows in another order, experts
// apart, weights in a quantisation of another kind. They are made when they are asked for and given
// back when they are packed, one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>

#include "base/status.h"
#include "engine/tensor/tensor_view.h"

namespace conclave::engine {

// Writes one row of a tensor in its final type. Whatever it changes must be its own: each thread
// works with a copy, on rows that follow each other.
using RowMaker = std::function<void(int64_t row, std::byte* out)>;

// Address space for one tensor, filled on demand. Thread-safe.
class DerivedTensor final {
 public:
  // RESOURCE_EXHAUSTED when the system has not that much address space.
  static absl::StatusOr<std::unique_ptr<DerivedTensor>> Make(DType dtype, const Shape& shape,
                                                             RowMaker maker);
  ~DerivedTensor();
  DerivedTensor(const DerivedTensor&) = delete;
  DerivedTensor& operator=(const DerivedTensor&) = delete;

  // Its data is there from Prepare until Release. Rows are made by all cores.
  const TensorView& view() const { return view_; }
  void Prepare();
  void Release();

 private:
  DerivedTensor(const TensorView& view, std::byte* data, RowMaker maker)
      : view_(view), data_(data), maker_(std::move(maker)) {}

  TensorView view_;
  std::byte* data_;
  RowMaker maker_;
  std::mutex mutex_;
  bool ready_ = false;
};

}  // namespace conclave::engine
