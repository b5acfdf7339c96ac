// Tensors that are made when they are wanted: by many threads, more than once, and with makers that
// remember what they did.
#include "engine/weights/derived.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <memory>
#include <vector>

#include "engine/weights/hf/tensor.h"

namespace conclave::engine {
namespace {

std::unique_ptr<DerivedTensor> Make(HfTensor tensor) {
  auto made = DerivedTensor::Make(tensor.dtype, tensor.shape, std::move(tensor.row));
  REQUIRE(made.ok());
  return *std::move(made);
}

float At(const TensorView& view, int64_t element) {
  float value = 0;
  std::memcpy(&value, view.data + element * 4, 4);
  return value;
}

// [slices][rows][cols] of numbers that say where they are.
struct Numbered {
  Numbered(int64_t slices, int64_t rows, int64_t cols)
      : values(static_cast<size_t>(slices * rows * cols)) {
    for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
    view = {.dtype = DType::kF32,
            .shape = Shape({slices, rows, cols}),
            .data = reinterpret_cast<const std::byte*>(values.data())};
  }
  std::vector<float> values;
  TensorView view;
};

}  // namespace

TEST_CASE("a large tensor is made whole, given back and made again") {
  constexpr int64_t kRows = 3001, kCols = 700;  // 8 MiB, of which no thread has an even share
  const Numbered numbered(1, kRows, kCols);
  const auto made = Make(SelectRows(PlainTensor(numbered.view), Shape({kRows, kCols}),
                                    [](int64_t row) { return kRows - 1 - row; }));
  for (int round = 0; round < 2; ++round) {
    made->Prepare();
    bool right = true;
    for (int64_t i = 0; i < kRows * kCols; ++i) {
      const int64_t from = (kRows - 1 - i / kCols) * kCols + i % kCols;
      right = right && At(made->view(), i) == static_cast<float>(from);
    }
    CHECK(right);
    made->Release();
    CHECK(At(made->view(), 0) == 0);
  }
}

TEST_CASE("stacks are transposed slice by slice, whoever makes which rows") {
  constexpr int64_t kSlices = 3, kRows = 450, kCols = 1030;  // 5.3 MiB
  const Numbered numbered(kSlices, kRows, kCols);
  const auto made = Make(Transposed(PlainTensor(numbered.view)));
  CHECK(made->view().shape == Shape({kSlices, kCols, kRows}));
  made->Prepare();
  bool right = true;
  for (int64_t slice = 0; slice < kSlices; ++slice) {
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t c = 0; c < kCols; ++c) {
        right = right && At(made->view(), (slice * kCols + c) * kRows + r) ==
                             numbered.values[static_cast<size_t>((slice * kRows + r) * kCols + c)];
      }
    }
  }
  CHECK(right);
}

TEST_CASE("matrices of several types are stacked in one that holds all") {
  const Numbered first(1, 2, 32);
  const HfTensor f32 = Reshaped(PlainTensor(first.view), Shape({2, 32}));
  const std::vector<uint16_t> half_bits(64, 0x3C00);  // ones
  const HfTensor f16 = PlainTensor({.dtype = DType::kF16,
                                    .shape = Shape({2, 32}),
                                    .data = reinterpret_cast<const std::byte*>(half_bits.data())});
  const auto made = Make(Stacked({f32, f16}));
  CHECK(made->view().dtype == DType::kF32);
  made->Prepare();
  CHECK(At(made->view(), 63) == 63);
  CHECK(At(made->view(), 64) == 1);
  CHECK(At(made->view(), 127) == 1);
}

}  // namespace conclave::engine
