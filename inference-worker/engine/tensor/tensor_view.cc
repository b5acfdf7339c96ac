#include "engine/tensor/tensor_view.h"

#include <span>

#include "base/check.h"

namespace conclave::engine {

int64_t TensorView::rows() const {
  int64_t product = 1;
  for (int i = 0; i + 1 < shape.rank(); ++i) product *= shape[i];
  return product;
}

int64_t TensorView::row_bytes() const {
  const DTypeInfo& info = InfoOf(dtype);
  return cols() / info.block_elements * info.block_bytes;
}

TensorView TensorView::Slice(int64_t i) const {
  CHECK(shape.rank() >= 2 && i >= 0 && i < shape[0]);
  int64_t inner[kMaxRank] = {};
  for (int d = 1; d < shape.rank(); ++d) inner[d - 1] = shape[d];
  TensorView slice;
  slice.dtype = dtype;
  slice.shape = Shape(std::span<const int64_t>(inner, static_cast<size_t>(shape.rank() - 1)));
  slice.data = data + i * (bytes() / shape[0]);
  return slice;
}

}  // namespace conclave::engine
