// A borrowed tensor: type, shape and where its bytes are. Row-major and dense; a row is the last
// extent. Lives as long as what it points into, usually the mapped model file.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/tensor/dtype.h"
#include "engine/tensor/shape.h"

namespace conclave::engine {

struct TensorView {
  DType dtype = DType::kF32;
  Shape shape;
  // No alignment is promised: GGUF aligns to its own value, safetensors to the element at best.
  const std::byte* data = nullptr;

  bool empty() const { return data == nullptr; }
  // Elements of one row: the contiguous extent. 1 for a scalar.
  int64_t cols() const { return shape.rank() == 0 ? 1 : shape[shape.rank() - 1]; }
  // Rows of all outer extents together.
  int64_t rows() const;
  // Bytes of one row and of all; cols() is a multiple of the type's block (the readers check it).
  int64_t row_bytes() const;
  int64_t bytes() const { return rows() * row_bytes(); }
  const std::byte* row(int64_t i) const { return data + i * row_bytes(); }

  // The i-th sub-tensor along the outermost extent: expert i of [experts][out][in].
  TensorView Slice(int64_t i) const;
};

}  // namespace conclave::engine
