// The GPU's panels hold the values of their rows, read as panels.h describes them.
#include "engine/kernels/cuda/panels.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "conformance/random.h"
#include "engine/kernels/kernels.h"
#include "engine/quant/half.h"

namespace conclave::engine {
namespace {

float ValueAt(const CudaPanels& panels, int64_t matrix, int64_t row, int64_t k) {
  const int64_t per_matrix = (panels.out + 15) / 16;
  const std::byte* const panel = panels.data.data() + (matrix * per_matrix + row / 16) *
                                                          CudaPanelBytes(panels.kind, panels.in);
  const std::byte* const scales = panel + CudaQuantBytes(panels.kind, panels.in);
  const int64_t r = row % 16;
  const int64_t g = k / 32;
  const int64_t half = k % 32 / 16;
  const int64_t word = k % 16 / 4;
  const auto byte = [&](const std::byte* words) {
    return static_cast<int>(Load<uint8_t>(words + word * 4 + k % 4));
  };
  const auto nibble = [&](int64_t group_bytes) {
    const int pair = byte(panel + g * group_bytes + r * 16);
    return half == 0 ? pair & 15 : pair >> 4;
  };
  // Bit s of a byte belongs to step s of the group.
  const auto bit = [&](int64_t group_bytes, int64_t before) {
    const auto bits = Load<uint8_t>(panel + g * group_bytes + before + r * 4 + k % 4);
    return (bits >> (half * 4 + word)) & 1;
  };
  const auto scale = [&](const std::byte* at) { return HalfToFloat(Load<uint16_t>(at + r * 2)); };
  switch (panels.kind) {
    case PanelKind::kF32:
      return Load<float>(panel + k / 4 * 256 + r * 16 + k % 4 * 4);
    case PanelKind::kF16:
      return HalfToFloat(Load<uint16_t>(panel + k / 8 * 256 + r * 16 + k % 8 * 2));
    case PanelKind::kBF16:
      return Bf16ToFloat(Load<uint16_t>(panel + k / 8 * 256 + r * 16 + k % 8 * 2));
    case PanelKind::kU8:
      return scale(scales + g * 32) *
             static_cast<float>(static_cast<int8_t>(byte(panel + g * 512 + half * 256 + r * 16)));
    case PanelKind::kU4:
      return scale(scales + g * 32) * static_cast<float>(nibble(256) - 8);
    case PanelKind::kU5:
      return scale(scales + g * 32) * static_cast<float>((nibble(320) | bit(320, 256) << 4) - 16);
    case PanelKind::kU4HalfMin:
      return scale(scales + g * 64) * static_cast<float>(nibble(256)) - scale(scales + g * 64 + 32);
    case PanelKind::kU5HalfMin:
      return scale(scales + g * 64) * static_cast<float>(nibble(320) | bit(320, 256) << 4) -
             scale(scales + g * 64 + 32);
    case PanelKind::kU4Min:
    case PanelKind::kU5Min: {
      const std::byte* const super = scales + g / 8 * 320;
      const std::byte* const group = super + 64 + g % 8 * 32;
      const int level =
          panels.kind == PanelKind::kU4Min ? nibble(256) : nibble(320) | bit(320, 256) << 4;
      const float product =
          scale(super) * static_cast<float>(Load<uint8_t>(group + r)) * static_cast<float>(level);
      return product - scale(super + 32) * static_cast<float>(Load<uint8_t>(group + 16 + r));
    }
    case PanelKind::kU6: {
      const std::byte* const super = scales + g / 8 * 288;
      const auto sc = Load<int8_t>(super + 32 + g % 8 * 32 + half * 16 + r);
      const auto pairs = Load<uint8_t>(panel + g * 384 + 256 + r * 8 + half * 4 + k % 4);
      const int level = nibble(384) | ((pairs >> (2 * word)) & 3) << 4;
      return scale(super) * static_cast<float>(sc) * static_cast<float>(level - 32);
    }
    case PanelKind::kU2Min: {
      const std::byte* const super = scales + g / 8 * 320;
      const auto both = Load<uint8_t>(super + 64 + g % 8 * 32 + half * 16 + r);
      const auto pairs = Load<uint8_t>(panel + g * 128 + r * 8 + half * 4 + k % 4);
      const int level = (pairs >> (2 * word)) & 3;
      const float product =
          scale(super) * static_cast<float>(both & 15) * static_cast<float>(level);
      return product - scale(super + 32) * static_cast<float>(both >> 4);
    }
    case PanelKind::kU3: {
      const std::byte* const super = scales + g / 8 * 288;
      const auto sc = Load<int8_t>(super + 32 + g % 8 * 32 + half * 16 + r);
      const auto pairs = Load<uint8_t>(panel + g * 192 + r * 8 + half * 4 + k % 4);
      const int level = ((pairs >> (2 * word)) & 3) | bit(192, 128) << 2;
      return scale(super) * static_cast<float>(sc) * static_cast<float>(level - 4);
    }
    case PanelKind::kNl4:
      return scale(scales + g * 32) * static_cast<float>(kNl4Values[nibble(256)]);
    case PanelKind::kNl4Super: {
      const std::byte* const super = scales + g / 8 * 160;
      const auto sc = Load<int8_t>(super + 32 + g % 8 * 16 + r);
      return scale(super) * static_cast<float>(sc) * static_cast<float>(kNl4Values[nibble(256)]);
    }
    case PanelKind::kFp4: {
      const int exponent = Load<uint8_t>(scales + g * 16 + r);
      return std::ldexp(static_cast<float>(kFp4Values[nibble(256)]), exponent - 128);
    }
    default:  // nothing the GPU reads
      return NAN;
  }
}

}  // namespace

TEST_CASE("the GPU's panels hold the values of their rows") {
  ThreadPool pool(2);
  for (const QuantFormat* format : AllFormats()) {
    const int64_t in = format->block_elements() == 1 ? 21 : 512;
    const Weight weight(*format, {3, 37, in}, 17);
    const absl::StatusOr<CudaPanels> panels = PackCudaPanels(weight.view, pool);
    REQUIRE(panels.ok());
    size_t different = 0;
    for (int64_t row = 0; row < 3 * 37; ++row) {
      for (int64_t k = 0; k < in; ++k) {
        const float expected = weight.values[static_cast<size_t>(row * in + k)];
        different += ValueAt(*panels, row / 37, row % 37, k) == expected ? 0 : 1;
      }
    }
    CAPTURE(format->name());
    CHECK(different == 0);
  }
}

TEST_CASE("what was laid out for the GPU comes back as it was") {
  const auto cpu = *CreateCpuKernels({.num_threads = 2});
  for (const QuantFormat* format : AllFormats()) {
    const int64_t in = format->block_elements() == 1 ? 21 : 512;
    const Weight weight(*format, {2, 37, in}, 18);
    const absl::StatusOr<PackedMatrix> packed = cpu->Pack(weight.view);
    REQUIRE(packed.ok());
    const PanelKind kind = packed->kind();
    std::vector<std::byte> device(static_cast<size_t>(CudaPanelBytes(kind, in)));
    std::vector<std::byte> back(static_cast<size_t>(packed->panel_bytes()));
    CAPTURE(format->name());
    for (int64_t panel = 0; panel < packed->panels(); ++panel) {
      ReorderPanel(kind, in, packed->panel(1, panel), device.data());
      RestorePanel(kind, in, device.data(), back.data());
      CHECK(std::memcmp(back.data(), packed->panel(1, panel), back.size()) == 0);
    }
  }
}

TEST_CASE("every format has kernels on the GPU, and what is no format is refused by name") {
  ThreadPool pool(1);
  for (const QuantFormat* format : AllFormats()) CHECK(HasCudaKernels(format->dtype));
  const std::vector<std::byte> bytes(16 * 256 * 4);
  const TensorView view = {.dtype = DType::kI32, .shape = {16, 256}, .data = bytes.data()};
  const absl::Status status = PackCudaPanels(view, pool).status();
  CHECK(status.code() == absl::StatusCode::kUnimplemented);
  CHECK(std::string(status.message()).find("I32") != std::string::npos);
}

}  // namespace conclave::engine
