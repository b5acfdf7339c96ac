// Tensors that do not lie in a checkpoint as the engine wants them: rows in another order, experts
// apart, weights in a quantisation of another kind. They are made when they are asked for and given
// back when they are packed, one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "base/status.h"
#include "engine/tensor/tensor_view.h"

namespace conclave::engine {

// Writes rows [first, first + count) of a matrix in its final type and order.
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

  // Its data is there from Prepare until Release.
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

// --- matrices of checkpoints --------------------------------------------------------------------

// A matrix [out][in], wherever its rows come from.
struct HfMatrix {
  DType dtype = DType::kF32;
  int64_t out = 0, in = 0;
  RowMaker row;  // empty where `plain` says it all
  TensorView plain;
};

HfMatrix PlainMatrix(const TensorView& view);
// e4m3 with a scale per block of rows and columns; as bf16, to which the reference rounds too.
absl::StatusOr<HfMatrix> Fp8Matrix(const TensorView& weight, const TensorView& scales,
                                   const int64_t block[2]);

struct Int4Tensors {
  TensorView weights, zeros, scales;
  TensorView groups;  // g_idx of GPTQ; empty = in order
};
// GPTQ: eight weights of a column in a word. Q4_0, exactly, where all zero points are 8 and groups
// hold whole blocks in order; else fp16.
absl::StatusOr<HfMatrix> GptqMatrix(const Int4Tensors& tensors, int64_t group_size, bool v2);
// AWQ: eight columns in a word, in the order 0 2 4 6 1 3 5 7. As fp16, to which the reference
// rounds too.
absl::StatusOr<HfMatrix> AwqMatrix(const Int4Tensors& tensors, int64_t group_size);

// Rows in the order of another matrix: row i is row `from(i)` of the given one.
HfMatrix ReorderRows(HfMatrix matrix, std::function<int64_t(int64_t)> from);

}  // namespace conclave::engine
