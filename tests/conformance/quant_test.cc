// Every format: to the bit as the `gguf` package has it, a round trip within half a step, and
// panels that hold the same values as the rows they were packed from.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "conformance/random.h"
#include "engine/quant/format.h"
#include "engine/quant/half.h"
#include "engine/quant/int8_rows.h"

namespace conclave::engine {
namespace {

std::string ReadGolden() {
  std::ifstream file(CONCLAVE_SOURCE_DIR "/tests/golden/quant/blocks.golden", std::ios::binary);
  REQUIRE(file.good());
  return {std::istreambuf_iterator<char>(file), {}};
}

// The value at input k of row r of a packed panel, read as quant/panel.h describes it.
float PanelValue(PanelKind kind, const std::byte* panel, int64_t cols, int64_t k, int r) {
  const auto* quants = reinterpret_cast<const uint8_t*>(panel);
  const uint8_t* scales = quants + PanelQuantBytes(kind, cols);
  const int64_t g = k / 32;
  const int64_t step = k % 32 / 4;
  const int64_t byte = r * 4 + k % 4;
  const auto nibble = [&](int64_t group_bytes) {
    const uint8_t pair = quants[g * group_bytes + step % 4 * 64 + byte];
    return step < 4 ? pair & 15 : pair >> 4;
  };
  switch (kind) {
    case PanelKind::kF32:
      return Load<float>(quants + (k * 16 + r) * 4);
    case PanelKind::kF16:
      return HalfToFloat(Load<uint16_t>(quants + (k * 16 + r) * 2));
    case PanelKind::kBF16:
      return Bf16ToFloat(Load<uint16_t>(quants + (k * 16 + r) * 2));
    case PanelKind::kU8: {
      const float d = HalfToFloat(Load<uint16_t>(scales + (g * 16 + r) * 2));
      return d * static_cast<float>(quants[g * 512 + step * 64 + byte] - 128);
    }
    case PanelKind::kU4: {
      const float d = HalfToFloat(Load<uint16_t>(scales + (g * 16 + r) * 2));
      return d * static_cast<float>(nibble(256) - 8);
    }
    case PanelKind::kU4Min: {
      const uint8_t* super = scales + k / 256 * 320;
      const float d = HalfToFloat(Load<uint16_t>(super + r * 2));
      const float dmin = HalfToFloat(Load<uint16_t>(super + 32 + r * 2));
      const uint8_t* group = super + 64 + g % 8 * 32;
      const float product = d * static_cast<float>(group[r]) * static_cast<float>(nibble(256));
      return product - dmin * static_cast<float>(group[16 + r]);
    }
    case PanelKind::kU6: {
      const uint8_t* super = scales + k / 256 * 288;
      const float d = HalfToFloat(Load<uint16_t>(super + r * 2));
      const auto sc = static_cast<int8_t>(super[32 + g % 8 * 32 + step / 4 * 16 + r]);
      const uint8_t high = quants[g * 384 + 256 + step / 4 * 64 + byte];
      const int u = nibble(384) | ((high >> (step % 4 * 2)) & 3) << 4;
      return d * static_cast<float>(sc) * static_cast<float>(u - 32);
    }
  }
  return NAN;
}

}  // namespace

TEST_CASE("every format agrees to the bit with the gguf package") {
  const std::string golden = ReadGolden();
  std::set<DType> dequantised;
  size_t at = 0;
  while (at < golden.size()) {
    uint32_t head[4];
    std::memcpy(head, golden.data() + at, sizeof(head));
    const char* blocks = golden.data() + at + sizeof(head);
    std::vector<float> values(head[2]);
    std::memcpy(values.data(), blocks + head[3], values.size() * 4);
    at += sizeof(head) + head[3] + values.size() * 4;
    const auto dtype = static_cast<DType>(head[0]);
    const QuantFormat* format = FindFormat(dtype);
    REQUIRE(format != nullptr);
    CAPTURE(format->name(), head[1]);
    if (head[1] == 0) {
      std::vector<float> found(values.size());
      format->dequantize_row(blocks, found.data(), head[2]);
      size_t different = 0;
      for (size_t i = 0; i < found.size(); ++i) {
        different += std::memcmp(&found[i], &values[i], 4) == 0 ? 0 : 1;
      }
      CHECK(different == 0);
      dequantised.insert(dtype);
    } else {
      std::string found(head[3], '\0');
      format->quantize_row(values.data(), found.data(), head[2]);
      CHECK(std::memcmp(found.data(), blocks, found.size()) == 0);
    }
  }
  for (const QuantFormat* format : AllFormats()) {
    if (format->dtype != DType::kF32) CHECK(dequantised.count(format->dtype) == 1);
  }
}

TEST_CASE("a round trip loses at most what the format's step allows") {
  for (const QuantFormat* format : AllFormats()) {
    if (format->quantize_row == nullptr) continue;
    const std::vector<float> values = Random(5).Floats(2048);
    std::vector<std::byte> blocks(2048 / static_cast<size_t>(format->block_elements()) *
                                  static_cast<size_t>(format->block_bytes()));
    std::vector<float> back(2048);
    format->quantize_row(values.data(), blocks.data(), 2048);
    format->dequantize_row(blocks.data(), back.data(), 2048);
    // Values within ±1: half a step of the coarsest scale, and the scale's own rounding.
    const double bits = 8.0 * format->block_bytes() / format->block_elements();
    const double bound = bits > 8.5 ? 1e-2 : bits > 8 ? 5e-3 : bits > 6 ? 4e-2 : 0.15;
    double error = 0;
    for (size_t i = 0; i < back.size(); ++i) {
      error = std::max(error, double{std::fabs(back[i] - values[i])});
    }
    CAPTURE(format->name());
    CHECK(error < bound);
  }
}

TEST_CASE("panels hold the values of their rows, and zeros beyond them") {
  for (const QuantFormat* format : AllFormats()) {
    for (const int rows : {11, 16}) {
      const int64_t cols = 512;
      const Weight weight(*format, {rows, cols}, 17);
      std::vector<std::byte> panel(static_cast<size_t>(PanelBytes(format->panel, cols)),
                                   std::byte{0xee});
      format->pack_panel(weight.bytes.data(), weight.view.row_bytes(), rows, cols, panel.data());
      size_t different = 0;
      for (int r = 0; r < kPanelRows; ++r) {
        for (int64_t k = 0; k < cols; ++k) {
          const float expected = r < rows ? weight.values[static_cast<size_t>(r * cols + k)] : 0.0f;
          different += PanelValue(format->panel, panel.data(), cols, k, r) == expected ? 0 : 1;
        }
      }
      CAPTURE(format->name(), rows);
      CHECK(different == 0);
    }
  }
}

TEST_CASE("halves convert exactly both ways") {
  size_t different = 0;
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    const bool nan = (half & 0x7c00) == 0x7c00 && (half & 0x3ff) != 0;
    if (nan) {
      different += std::isnan(HalfToFloat(half)) ? 0 : 1;
    } else {
      different += FloatToHalf(HalfToFloat(half)) == half ? 0 : 1;
    }
  }
  CHECK(different == 0);
  CHECK(FloatToHalf(65519.0f) == 0x7bff);
  CHECK(FloatToHalf(65520.0f) == 0x7c00);
  CHECK(FloatToHalf(INFINITY) == 0x7c00);
  CHECK(FloatToHalf(-1e-9f) == 0x8000);
  CHECK(FloatToHalf(2048.5f * 0x1p-24f) == 0x0800);  // a tie goes to the even neighbour
  CHECK(std::isnan(HalfToFloat(FloatToHalf(NAN))));
  CHECK(FloatToBf16(1.00390625f) == 0x3f80);  // a tie
  CHECK(std::isnan(Bf16ToFloat(FloatToBf16(NAN))));
}

TEST_CASE("the array lists each format once and finds it") {
  std::set<DType> seen;
  for (const QuantFormat* format : AllFormats()) {
    CHECK(seen.insert(format->dtype).second);
    CHECK(FindFormat(format->dtype) == format);
  }
  CHECK(FindFormat(DType::kIQ1_S) == nullptr);
}

TEST_CASE("planes of int8 rows do not overlap") {
  const int64_t m = 3;
  const int64_t cols = 96;
  std::vector<std::byte> memory(static_cast<size_t>(Int8Rows::Bytes(m, cols)));
  const Int8Rows rows = Int8Rows::In(memory.data(), m, cols);
  const auto at = [&](const void* p) { return static_cast<const std::byte*>(p) - memory.data(); };
  CHECK(at(rows.q) == 0);
  CHECK(at(rows.scales) >= m * cols);
  CHECK(at(rows.negative_sums) >= at(rows.scales) + m * cols / 32 * 4);
  CHECK(at(rows.negative_sums) + m * cols / 16 * 4 <= static_cast<int64_t>(memory.size()));
}

}  // namespace conclave::engine
