#include "engine/weights/derived.h"

#include <sys/mman.h>

#include <array>
#include <cmath>
#include <cstring>
#include <utility>

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

}  // namespace

absl::StatusOr<std::unique_ptr<DerivedTensor>> DerivedTensor::Make(DType dtype, const Shape& shape,
                                                                   RowMaker maker) {
  TensorView view{.dtype = dtype, .shape = shape};
  void* const data = mmap(nullptr, static_cast<size_t>(view.bytes()), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    return base::ResourceExhausted("no address space for " + std::to_string(view.bytes()) +
                                   " bytes");
  }
  view.data = static_cast<std::byte*>(data);
  return std::unique_ptr<DerivedTensor>(
      new DerivedTensor(view, static_cast<std::byte*>(data), std::move(maker)));
}

DerivedTensor::~DerivedTensor() { munmap(data_, static_cast<size_t>(view_.bytes())); }

void DerivedTensor::Prepare() {
  const std::lock_guard lock(mutex_);
  if (ready_) return;
  const int64_t row_bytes = view_.row_bytes();
  for (int64_t row = 0; row < view_.rows(); ++row) maker_(row, data_ + row * row_bytes);
  ready_ = true;
}

void DerivedTensor::Release() {
  const std::lock_guard lock(mutex_);
  madvise(data_, static_cast<size_t>(view_.bytes()), MADV_DONTNEED);
  ready_ = false;
}

HfMatrix PlainMatrix(const TensorView& view) {
  const int64_t rows = view.rows(), row_bytes = view.row_bytes();
  return {.dtype = view.dtype,
          .out = rows,
          .in = view.cols(),
          .row =
              [view, row_bytes](int64_t row, std::byte* out) {
                std::memcpy(out, view.row(row), static_cast<size_t>(row_bytes));
              },
          .plain = view};
}

absl::StatusOr<HfMatrix> Fp8Matrix(const TensorView& weight, const TensorView& scales,
                                   const int64_t block[2]) {
  if (weight.dtype != DType::kF8_E4M3 || weight.shape.rank() != 2) {
    return base::InvalidArgument("weight: expected a matrix of F8_E4M3, found " + Extents(weight));
  }
  const int64_t out = weight.shape[0], in = weight.shape[1];
  const int64_t rows = block[0], cols = block[1], scale_cols = Divided(in, cols);
  RETURN_IF_ERROR(ExpectShape("weight_scale_inv", scales, Shape({Divided(out, rows), scale_cols})));
  if (!IsFloat(scales.dtype)) {
    return base::InvalidArgument("weight_scale_inv: expected F32, F16 or BF16");
  }
  const auto make_row = [=](int64_t row, std::byte* bytes) {
    static const std::array<float, 256> kValues = MakeE4m3Table();
    for (int64_t col = 0; col < in; ++col) {
      const auto code = static_cast<size_t>(weight.data[row * in + col]);
      const float scale = LoadFloat(scales, row / rows * scale_cols + col / cols);
      const uint16_t bits = ToBf16(kValues[code] * scale);
      std::memcpy(bytes + 2 * col, &bits, 2);
    }
  };
  return HfMatrix{.dtype = DType::kBF16, .out = out, .in = in, .row = make_row, .plain = {}};
}

absl::StatusOr<HfMatrix> GptqMatrix(const Int4Tensors& t, int64_t group_size, bool v2) {
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
    return HfMatrix{.dtype = DType::kQ4_0, .out = out, .in = in, .row = make_row, .plain = {}};
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
  return HfMatrix{.dtype = DType::kF16, .out = out, .in = in, .row = make_row, .plain = {}};
}

absl::StatusOr<HfMatrix> AwqMatrix(const Int4Tensors& t, int64_t group_size) {
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
  return HfMatrix{.dtype = DType::kF16, .out = out, .in = in, .row = make_row, .plain = {}};
}

HfMatrix ReorderRows(HfMatrix matrix, std::function<int64_t(int64_t)> from) {
  matrix.row = [row = std::move(matrix.row), from = std::move(from)](int64_t i, std::byte* out) {
    row(from(i), out);
  };
  matrix.plain = TensorView();
  return matrix;
}

}  // namespace conclave::engine
