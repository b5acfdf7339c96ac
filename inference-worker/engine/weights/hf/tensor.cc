#include "engine/weights/hf/tensor.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>

#include "engine/quant/format.h"

namespace conclave::engine {
namespace {

Shape WithLast(const Shape& shape, int64_t rows, int64_t cols) {
  if (shape.rank() == 2) return Shape({rows, cols});
  return Shape({shape[0], rows, cols});
}

// In tiles, so that neither side of a large matrix is walked against its grain.
void Transpose(const std::byte* from, int64_t rows, int64_t cols, int64_t size, std::byte* to) {
  constexpr int64_t kTile = 32;
  for (int64_t r0 = 0; r0 < rows; r0 += kTile) {
    for (int64_t c0 = 0; c0 < cols; c0 += kTile) {
      for (int64_t r = r0; r < std::min(rows, r0 + kTile); ++r) {
        for (int64_t c = c0; c < std::min(cols, c0 + kTile); ++c) {
          std::memcpy(to + (c * rows + r) * size, from + (r * cols + c) * size,
                      static_cast<size_t>(size));
        }
      }
    }
  }
}

}  // namespace

HfTensor PlainTensor(const TensorView& view) {
  const int64_t row_bytes = view.row_bytes();
  HfTensor tensor{.dtype = view.dtype, .shape = view.shape, .row = {}, .plain = view};
  tensor.row = [view, row_bytes](int64_t row, std::byte* out) {
    std::memcpy(out, view.row(row), static_cast<size_t>(row_bytes));
  };
  return tensor;
}

HfTensor Reshaped(HfTensor tensor, const Shape& shape) {
  tensor.shape = shape;
  if (!tensor.plain.empty()) tensor.plain.shape = shape;
  return tensor;
}

HfTensor SelectRows(HfTensor tensor, const Shape& shape, std::function<int64_t(int64_t)> from) {
  tensor.shape = shape;
  tensor.plain = TensorView();
  tensor.row = [row = std::move(tensor.row), from = std::move(from)](int64_t i, std::byte* out) {
    row(from(i), out);
  };
  return tensor;
}

HfTensor Stacked(std::vector<HfTensor> tensors) {
  const bool alike = std::all_of(tensors.begin(), tensors.end(), [&](const HfTensor& tensor) {
    return tensor.dtype == tensors.front().dtype;
  });
  if (!alike) {
    for (HfTensor& tensor : tensors) tensor = AsF32(std::move(tensor));
  }
  const HfTensor& first = tensors.front();
  const int64_t rows = first.rows();
  HfTensor stack{.dtype = first.dtype, .shape = {}, .row = {}, .plain = {}};
  stack.shape = Shape({static_cast<int64_t>(tensors.size()), rows, first.cols()});
  auto parts = std::make_shared<std::vector<HfTensor>>(std::move(tensors));
  stack.row = [parts, rows](int64_t row, std::byte* out) {
    (*parts)[static_cast<size_t>(row / rows)].row(row % rows, out);
  };
  return stack;
}

HfTensor AsColumn(const TensorView& view) {
  TensorView column = view;
  column.shape =
      view.shape.rank() == 1 ? Shape({view.shape[0], 1}) : Shape({view.shape[0], view.shape[1], 1});
  return PlainTensor(column);
}

HfTensor Flat(HfTensor column) {
  const int rank = column.shape.rank();
  const int64_t n = column.shape[rank - 2], size = column.row_bytes();
  column.shape = rank == 2 ? Shape({n}) : Shape({column.shape[0], n});
  column.row = [n, size, row = std::move(column.row)](int64_t i, std::byte* out) {
    for (int64_t element = 0; element < n; ++element) row(i * n + element, out + element * size);
  };
  return column;
}

HfTensor AsF32(HfTensor tensor) {
  if (tensor.dtype == DType::kF32) return tensor;
  const QuantFormat* const format = FindFormat(tensor.dtype);
  const int64_t cols = tensor.cols(), row_bytes = tensor.row_bytes();
  HfTensor result{.dtype = DType::kF32, .shape = tensor.shape, .row = {}, .plain = {}};
  result.row = [=, row = std::move(tensor.row)](int64_t i, std::byte* out) {
    std::vector<std::byte> bytes(static_cast<size_t>(row_bytes));
    std::vector<float> values(static_cast<size_t>(cols));
    row(i, bytes.data());
    format->dequantize_row(bytes.data(), values.data(), cols);
    std::memcpy(out, values.data(), values.size() * sizeof(float));
  };
  return result;
}

HfTensor Transposed(HfTensor tensor) {
  if (InfoOf(tensor.dtype).block_elements > 1) tensor = AsF32(std::move(tensor));
  const int rank = tensor.shape.rank();
  const int64_t rows = tensor.shape[rank - 2], cols = tensor.shape[rank - 1];
  const int64_t row_bytes = tensor.row_bytes(), size = row_bytes / cols;
  // One slice at a time: its rows are made once, and let go with the last one that is asked for. It
  // belongs to the maker, of which each thread has a copy.
  struct Slice {
    int64_t index = -1;
    std::vector<std::byte> bytes;
  };
  HfTensor result{.dtype = tensor.dtype, .shape = {}, .row = {}, .plain = {}};
  result.shape = WithLast(tensor.shape, cols, rows);
  result.row = [=, row = std::move(tensor.row), slice = Slice()](int64_t i,
                                                                 std::byte* out) mutable {
    const int64_t index = i / cols, within = i % cols;
    if (slice.index != index) {
      std::vector<std::byte> made(static_cast<size_t>(rows * row_bytes));
      for (int64_t r = 0; r < rows; ++r) row(index * rows + r, made.data() + r * row_bytes);
      slice.bytes.resize(made.size());
      Transpose(made.data(), rows, cols, size, slice.bytes.data());
      slice.index = index;
    }
    std::memcpy(out, slice.bytes.data() + within * rows * size, static_cast<size_t>(rows * size));
    if (within == cols - 1) slice = Slice();
  };
  return result;
}

HfTensor PlusOne(HfTensor tensor) {
  HfTensor result = AsF32(std::move(tensor));
  result.plain = TensorView();
  result.row = [row = std::move(result.row), cols = result.cols()](int64_t i, std::byte* out) {
    row(i, out);
    for (int64_t c = 0; c < cols; ++c) {
      float value = 0;
      std::memcpy(&value, out + c * 4, 4);
      value += 1;
      std::memcpy(out + c * 4, &value, 4);
    }
  };
  return result;
}

}  // namespace conclave::engine
