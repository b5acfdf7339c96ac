#include "engine/weights/hf/layers.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "engine/quant/half.h"

namespace conclave::engine {
namespace {

template <typename T>
T Load(const std::byte* data, int64_t index) {
  T value;
  std::memcpy(&value, data + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

float LoadFloat(const TensorView& view, int64_t index) {
  if (view.dtype == DType::kF32) return Load<float>(view.data, index);
  const auto bits = Load<uint16_t>(view.data, index);
  if (view.dtype == DType::kF16) return HalfToFloat(bits);
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

bool IsFloat(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

uint16_t ToBf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if (std::isnan(value)) return static_cast<uint16_t>(bits >> 16 | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

// Four bits of exponent biased by 7, three of mantissa; no infinities.
std::array<float, 256> MakeE4m3Table() {
  std::array<float, 256> table{};
  for (uint32_t code = 0; code < 256; ++code) {
    const int exponent = static_cast<int>(code >> 3 & 15);
    const auto mantissa = static_cast<float>(code & 7);
    float value =
        exponent == 0 ? std::ldexp(mantissa, -9) : std::ldexp(8 + mantissa, exponent - 10);
    if ((code & 0x7F) == 0x7F) value = std::nanf("");
    table[code] = (code & 0x80) != 0 ? -value : value;
  }
  return table;
}

std::string Extents(const TensorView& view) {
  return view.shape.ToString() + " of " + std::string(NameOf(view.dtype));
}

absl::Status WrongShape(std::string_view what, const TensorView& view, const Shape& expected) {
  return base::InvalidArgument(std::string(what) + ": expected " + expected.ToString() +
                               ", found " + Extents(view));
}

absl::Status ExpectShape(std::string_view what, const TensorView& view, const Shape& expected) {
  return view.shape == expected ? absl::OkStatus() : WrongShape(what, view, expected);
}

int Nibble(const TensorView& words, int64_t word, int64_t which) {
  return static_cast<int>(Load<uint32_t>(words.data, word) >> (4 * which) & 15);
}

int64_t Divided(int64_t a, int64_t b) { return (a + b - 1) / b; }

absl::Status CheckInt4(const Int4Tensors& t) {
  const bool words =
      t.weights.dtype == DType::kI32 && t.zeros.dtype == DType::kI32 && t.weights.shape.rank() == 2;
  if (!words) return base::InvalidArgument("qweight, qzeros: expected matrices of I32");
  if (!IsFloat(t.scales.dtype)) return base::InvalidArgument("scales: expected F16, BF16 or F32");
  return absl::OkStatus();
}

HfTensor MatrixOf(DType dtype, int64_t out, int64_t in, RowMaker row) {
  return {.dtype = dtype, .shape = Shape({out, in}), .row = std::move(row), .plain = {}};
}

// Whether every value is an fp16 number.
bool AllAreHalves(const TensorView& view) {
  for (int64_t i = 0; i < view.shape.elements(); ++i) {
    const float value = LoadFloat(view, i);
    if (HalfToFloat(FloatToHalf(value)) != value) return false;
  }
  return true;
}

}  // namespace

absl::StatusOr<HfTensor> Fp8Matrix(const TensorView& weight, const TensorView& scales,
                                   const int64_t block[2]) {
  if (weight.dtype != DType::kF8_E4M3 || weight.shape.rank() != 2) {
    return base::InvalidArgument("weight: expected a matrix of F8_E4M3, found " + Extents(weight));
  }
  const int64_t out = weight.shape[0], in = weight.shape[1];
  const int64_t rows = block[0] == 0 ? out : block[0], cols = block[1] == 0 ? in : block[1];
  const int64_t scale_rows = Divided(out, rows), scale_cols = Divided(in, cols);
  // A column of scales may be stored as a vector, a single one as a number.
  const bool vector =
      scale_cols == 1 && scales.shape.rank() < 2 && scales.shape.elements() == scale_rows;
  if (!vector) RETURN_IF_ERROR(ExpectShape("scale", scales, Shape({scale_rows, scale_cols})));
  if (!IsFloat(scales.dtype)) {
    return base::InvalidArgument("scale: expected F32, F16 or BF16");
  }
  const auto make_row = [=](int64_t row, std::byte* bytes) {
    static const std::array<float, 256> kValues = MakeE4m3Table();
    const std::byte* const codes = weight.data + row * in;
    for (int64_t first = 0; first < in; first += cols) {
      const float scale = LoadFloat(scales, row / rows * scale_cols + first / cols);
      for (int64_t col = first; col < std::min(in, first + cols); ++col) {
        const uint16_t bits = ToBf16(kValues[static_cast<size_t>(codes[col])] * scale);
        std::memcpy(bytes + 2 * col, &bits, 2);
      }
    }
  };
  return MatrixOf(DType::kBF16, out, in, make_row);
}

absl::StatusOr<HfTensor> GptqMatrix(const Int4Tensors& t, int64_t group_size, bool v2) {
  RETURN_IF_ERROR(CheckInt4(t));
  const int64_t in = t.weights.shape[0] * 8, out = t.weights.shape[1];
  if (group_size < 0) group_size = in;
  const int64_t groups = Divided(in, group_size);
  RETURN_IF_ERROR(ExpectShape("scales", t.scales, Shape({groups, out})));
  RETURN_IF_ERROR(ExpectShape("qzeros", t.zeros, Shape({groups, Divided(out, 8)})));
  bool in_order = true;
  std::vector<int32_t> group_of(static_cast<size_t>(in));
  for (int64_t k = 0; k < in; ++k) {
    group_of[static_cast<size_t>(k)] = static_cast<int32_t>(k / group_size);
  }
  if (!t.groups.empty()) {
    RETURN_IF_ERROR(ExpectShape("g_idx", t.groups, Shape({in})));
    if (t.groups.dtype != DType::kI32) return base::InvalidArgument("g_idx: expected I32");
    for (int64_t k = 0; k < in; ++k) {
      const auto group = Load<int32_t>(t.groups.data, k);
      if (group < 0 || group >= groups) {
        return base::InvalidArgument("g_idx: element " + std::to_string(k) + " is " +
                                     std::to_string(group) + ", of " + std::to_string(groups) +
                                     " groups");
      }
      in_order = in_order && group == group_of[static_cast<size_t>(k)];
      group_of[static_cast<size_t>(k)] = group;
    }
  }
  const int64_t zero_words = Divided(out, 8);
  const auto zero_of = [=](int64_t group, int64_t row) {
    return Nibble(t.zeros, group * zero_words + row / 8, row % 8) + (v2 ? 0 : 1);
  };
  bool symmetric =
      in_order && t.scales.dtype == DType::kF16 && group_size % 32 == 0 && in % 32 == 0;
  for (int64_t group = 0; group < groups && symmetric; ++group) {
    for (int64_t row = 0; row < out && symmetric; ++row) symmetric = zero_of(group, row) == 8;
  }
  if (symmetric) {
    const auto make_row = [=](int64_t row, std::byte* bytes) {
      for (int64_t block = 0; block < in / 32; ++block, bytes += 18) {
        const auto scale = Load<uint16_t>(t.scales.data, block * 32 / group_size * out + row);
        std::memcpy(bytes, &scale, 2);
        for (int64_t j = 0; j < 16; ++j) {
          const int64_t low = block * 32 + j, high = low + 16;
          bytes[2 + j] =
              static_cast<std::byte>(Nibble(t.weights, low / 8 * out + row, low % 8) |
                                     Nibble(t.weights, high / 8 * out + row, high % 8) << 4);
        }
      }
    };
    return MatrixOf(DType::kQ4_0, out, in, make_row);
  }
  const auto make_row = [=, group_of = std::move(group_of)](int64_t row, std::byte* bytes) {
    for (int64_t k = 0; k < in; ++k) {
      const int64_t group = group_of[static_cast<size_t>(k)];
      const int q = Nibble(t.weights, k / 8 * out + row, k % 8) - zero_of(group, row);
      const uint16_t bits =
          FloatToHalf(LoadFloat(t.scales, group * out + row) * static_cast<float>(q));
      std::memcpy(bytes + 2 * k, &bits, 2);
    }
  };
  return MatrixOf(DType::kF16, out, in, make_row);
}

absl::StatusOr<HfTensor> AwqMatrix(const Int4Tensors& t, int64_t group_size) {
  RETURN_IF_ERROR(CheckInt4(t));
  const int64_t in = t.weights.shape[0], words = t.weights.shape[1], out = words * 8;
  if (group_size < 0) group_size = in;
  const int64_t groups = Divided(in, group_size);
  RETURN_IF_ERROR(ExpectShape("scales", t.scales, Shape({groups, out})));
  RETURN_IF_ERROR(ExpectShape("qzeros", t.zeros, Shape({groups, words})));
  const auto make_row = [=](int64_t row, std::byte* bytes) {
    // Which nibble of a word holds the column: 0 4 1 5 2 6 3 7.
    const int64_t column = row % 8, nibble = column / 2 + column % 2 * 4;
    for (int64_t k = 0; k < in; ++k) {
      const int64_t group = k / group_size;
      const int q = Nibble(t.weights, k * words + row / 8, nibble) -
                    Nibble(t.zeros, group * words + row / 8, nibble);
      const uint16_t bits =
          FloatToHalf(LoadFloat(t.scales, group * out + row) * static_cast<float>(q));
      std::memcpy(bytes + 2 * k, &bits, 2);
    }
  };
  return MatrixOf(DType::kF16, out, in, make_row);
}

absl::StatusOr<HfTensor> PackedMatrix(const PackedTensors& t, int64_t group_size) {
  if (t.packed.dtype != DType::kI32 || t.packed.shape.rank() != 2) {
    return base::InvalidArgument("weight_packed: expected a matrix of I32");
  }
  if (!IsFloat(t.scales.dtype)) {
    return base::InvalidArgument("weight_scale: expected F16, BF16 or F32");
  }
  const bool integers = t.shape.dtype == DType::kI64 || t.shape.dtype == DType::kI32;
  if (!integers || t.shape.shape != Shape({2})) {
    return base::InvalidArgument("weight_shape: expected two integers");
  }
  const auto extent = [&](int64_t i) -> int64_t {
    return t.shape.dtype == DType::kI64 ? Load<int64_t>(t.shape.data, i)
                                        : Load<int32_t>(t.shape.data, i);
  };
  const int64_t out = t.packed.shape[0], words = t.packed.shape[1], in = extent(1);
  if (extent(0) != out || in < 1 || in > words * 8 || in <= (words - 1) * 8) {
    return base::InvalidArgument("weight_shape: [" + std::to_string(extent(0)) + "][" +
                                 std::to_string(in) + "] does not fit weight_packed " +
                                 t.packed.shape.ToString());
  }
  if (group_size < 0) group_size = in;
  const int64_t groups = Divided(in, group_size);
  RETURN_IF_ERROR(ExpectShape("weight_scale", t.scales, Shape({out, groups})));
  if (group_size % 32 == 0 && in % 32 == 0 && AllAreHalves(t.scales)) {
    const auto make_row = [=](int64_t row, std::byte* bytes) {
      for (int64_t block = 0; block < in / 32; ++block, bytes += 18) {
        const int64_t group = block * 32 / group_size;
        const uint16_t scale = FloatToHalf(LoadFloat(t.scales, row * groups + group));
        std::memcpy(bytes, &scale, 2);
        for (int64_t j = 0; j < 16; ++j) {
          const int64_t low = block * 32 + j, high = low + 16;
          bytes[2 + j] =
              static_cast<std::byte>(Nibble(t.packed, row * words + low / 8, low % 8) |
                                     Nibble(t.packed, row * words + high / 8, high % 8) << 4);
        }
      }
    };
    return MatrixOf(DType::kQ4_0, out, in, make_row);
  }
  const auto make_row = [=](int64_t row, std::byte* bytes) {
    for (int64_t k = 0; k < in; ++k) {
      const int q = Nibble(t.packed, row * words + k / 8, k % 8) - 8;
      const float scale = LoadFloat(t.scales, row * groups + k / group_size);
      const uint16_t bits = ToBf16(scale * static_cast<float>(q));
      std::memcpy(bytes + 2 * k, &bits, 2);
    }
  };
  return MatrixOf(DType::kBF16, out, in, make_row);
}

absl::StatusOr<HfTensor> Mxfp4Stack(const TensorView& blocks, const TensorView& scales) {
  const Shape& shape = blocks.shape;
  if (blocks.dtype != DType::kU8 || shape.rank() != 4 || shape[3] != 16) {
    return base::InvalidArgument("blocks: expected [experts][rows][blocks][16] of U8, found " +
                                 Extents(blocks));
  }
  if (scales.dtype != DType::kU8) return base::InvalidArgument("scales: expected U8");
  RETURN_IF_ERROR(ExpectShape("scales", scales, Shape({shape[0], shape[1], shape[2]})));
  HfTensor stack{.dtype = DType::kMXFP4, .shape = {}, .row = {}, .plain = {}};
  stack.shape = Shape({shape[0], shape[1], shape[2] * 32});
  stack.row = [=, count = shape[2]](int64_t row, std::byte* bytes) {
    for (int64_t block = row * count; block < (row + 1) * count; ++block, bytes += 17) {
      const std::byte* const from = blocks.data + block * 16;
      bytes[0] = scales.data[block];
      for (int64_t j = 0; j < 16; ++j) {
        const std::byte low = from[j / 2] >> (j % 2 * 4) & std::byte{15};
        const std::byte high = from[8 + j / 2] >> (j % 2 * 4) & std::byte{15};
        bytes[1 + j] = low | high << 4;
      }
    }
  };
  return stack;
}

}  // namespace conclave::engine
