// A tensor of a checkpoint on its way into the shape GGUF gives it: type, extents and rows, which
// lie in a file or are made when they are wanted. What is here moves rows and elements; what a
// quantised layer's bytes mean is in layers.h.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "engine/tensor/tensor_view.h"
#include "engine/weights/derived.h"

namespace conclave::engine {

struct HfTensor {
  DType dtype = DType::kF32;
  Shape shape;       // rank 0 = there is no such tensor
  RowMaker row;      // of shape.cols elements
  TensorView plain;  // empty where `row` has to make it

  bool found() const { return shape.rank() > 0; }
  int64_t cols() const { return shape.rank() == 0 ? 0 : shape[shape.rank() - 1]; }
  int64_t rows() const { return cols() == 0 ? 0 : shape.elements() / cols(); }
  int64_t row_bytes() const { return TensorView{.dtype = dtype, .shape = shape}.row_bytes(); }
};

HfTensor PlainTensor(const TensorView& view);
// The same rows with other extents outside them.
HfTensor Reshaped(HfTensor tensor, const Shape& shape);
// Row i of the result, which has the rows of `shape`, is row `from(i)` of the given one.
HfTensor SelectRows(HfTensor tensor, const Shape& shape, std::function<int64_t(int64_t)> from);
// Matrices of one shape, one after the other: [count][out][in]. As F32 where they differ in type.
HfTensor Stacked(std::vector<HfTensor> tensors);

// [..][n] as [..][n][1], so that elements can be selected as rows are, and back.
HfTensor AsColumn(const TensorView& view);
HfTensor Flat(HfTensor column);

// [a][b][c] → [a][c][b] and [b][c] → [c][b]; formats in blocks become F32, exactly.
HfTensor Transposed(HfTensor tensor);
// Exactly. Every format of a weight has arithmetic here (TensorMapper::Stored sees to it).
HfTensor AsF32(HfTensor tensor);
// Every element more one, as F32.
HfTensor PlusOne(HfTensor tensor);

}  // namespace conclave::engine
