// Every format: to the bit as the `gguf` package has it, a round trip within half a step, and
// panels that hold the same values as the rows they were packed from.
#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "conformance/random.h"
#include "engine/quant/format.h"
#include "engine/quant/half.h"
#include "engine/quant/int8_rows.h"

namespace conclave::engine {
namespace {

// A line of streams.golden: what the package made of a stream of blocks or of values.
struct GoldenStream {
  bool quantize = false;
  const QuantFormat* format = nullptr;
  int64_t blocks = 0;
  uint64_t hash = 0;
  std::vector<size_t> halves;  // offsets of the fp16 fields of a block
};

const QuantFormat* FormatByName(std::string_view name) {
  for (const QuantFormat* format : AllFormats()) {
    if (format->name() == name) return format;
  }
  return nullptr;
}

std::vector<GoldenStream> ReadGolden() {
  std::ifstream file(CONCLAVE_SOURCE_DIR "/tests/golden/quant/streams.golden");
  REQUIRE(file.good());
  std::vector<GoldenStream> streams;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string direction, type;
    GoldenStream stream;
    words >> direction >> type >> stream.blocks >> std::hex >> stream.hash >> std::dec;
    stream.quantize = direction == "quantize";
    stream.format = FormatByName(type);
    for (size_t at = 0; words >> at;) stream.halves.push_back(at);
    CAPTURE(line);
    REQUIRE((stream.format != nullptr && stream.blocks > 0));
    streams.push_back(std::move(stream));
  }
  return streams;
}

// The streams as tests/golden/quant/regenerate.py describes them.
void MakeBlock(const GoldenStream& stream, int64_t number, std::byte* block) {
  constexpr uint16_t kSpecial[] = {0x0000, 0x8000, 0x0001, 0x03ff, 0x0400,
                                   0x3c00, 0xc000, 0x7bff, 0xfbff};
  const auto seed = static_cast<uint64_t>(stream.format->dtype);
  const auto bytes = static_cast<size_t>(stream.format->block_bytes());
  const size_t per_block = (bytes + 7) / 8;
  for (size_t w = 0; w < per_block; ++w) {
    const uint64_t word = Random::At(seed, static_cast<uint64_t>(number) * per_block + w);
    std::memcpy(block + w * 8, &word, std::min<size_t>(8, bytes - w * 8));
  }
  for (size_t f = 0; f < stream.halves.size(); ++f) {
    const size_t pick = static_cast<size_t>(number >> (4 * f)) % 16;
    if (pick < std::size(kSpecial)) Store(block + stream.halves[f], kSpecial[pick]);
  }
}

void MakeValues(const GoldenStream& stream, int64_t number, float* values) {
  const auto seed = 1000 + static_cast<uint64_t>(stream.format->dtype);
  const auto n = static_cast<size_t>(stream.format->block_elements());
  const float scale = std::ldexp(1.0f, static_cast<int>(number % 64) - 40);
  for (size_t i = 0; i < n; ++i) {
    const size_t taken = number % 16 == 1 ? 0 : i;  // one value for all of the block
    const uint64_t word = Random::At(seed, static_cast<uint64_t>(number) * n + taken);
    float value = static_cast<float>(word >> 40) * 0x1p-23f - 1.0f;
    if (number % 16 == 0) value = 0;
    if (number % 16 == 2) value = std::floor(value * 16) / 2;
    values[i] = value * scale;
  }
}

// Results hashed by place, so that neither a wrong nor a misplaced one goes unseen.
class StreamHash final {
 public:
  void Add(uint32_t result) { sum_ += Random::At(result, count_++); }
  void Add(float value) { Add(std::isnan(value) ? 0x7fc00000u : std::bit_cast<uint32_t>(value)); }
  uint64_t value() const { return sum_; }

 private:
  uint64_t sum_ = 0;
  uint64_t count_ = 0;
};

uint64_t HashOf(const GoldenStream& stream) {
  const QuantFormat& format = *stream.format;
  std::vector<float> values(static_cast<size_t>(format.block_elements()));
  std::vector<std::byte> block(static_cast<size_t>(format.block_bytes()));
  StreamHash hash;
  for (int64_t b = 0; b < stream.blocks; ++b) {
    if (stream.quantize) {
      MakeValues(stream, b, values.data());
      format.quantize_row(values.data(), block.data(), format.block_elements());
      for (const std::byte byte : block) hash.Add(static_cast<uint32_t>(byte));
    } else {
      MakeBlock(stream, b, block.data());
      format.dequantize_row(block.data(), values.data(), format.block_elements());
      for (const float value : values) hash.Add(value);
    }
  }
  return hash.value();
}

// The value at input k of row r of a packed panel, read as quant/panel.h describes it.
float PanelValue(PanelKind kind, const std::byte* panel, int64_t cols, int64_t k, int r) {
  const auto* quants = reinterpret_cast<const uint8_t*>(panel);
  const uint8_t* scales = quants + PanelQuantBytes(kind, cols);
  const int64_t g = k / 32;
  const int64_t step = k % 32 / 4;
  const int64_t byte = r * 4 + k % 4;
  const auto nibble = [&](int64_t group_bytes) {
    const uint8_t two = quants[g * group_bytes + step % 4 * 64 + byte];
    return step < 4 ? two & 15 : two >> 4;
  };
  const auto pair = [&](int64_t group_bytes, int64_t at) {
    return quants[g * group_bytes + at + step / 4 * 64 + byte] >> (step % 4 * 2) & 3;
  };
  const auto bit = [&](int64_t group_bytes, int64_t at) {
    return quants[g * group_bytes + at + byte] >> step & 1;
  };
  const auto half = [&](const uint8_t* at) { return HalfToFloat(Load<uint16_t>(at + r * 2)); };
  // A group's d and, where it has one, m.
  const auto group_half = [&](int64_t group_bytes) { return half(scales + g * group_bytes); };
  const auto minus_min = [&](int u) {
    const float product = group_half(64) * static_cast<float>(u);
    return product - half(scales + g * 64 + 32);
  };
  const auto super_min = [&](int u, int sc, int m) {
    const uint8_t* super = scales + k / 256 * 320;
    const float product = half(super) * static_cast<float>(sc) * static_cast<float>(u);
    return product - half(super + 32) * static_cast<float>(m);
  };
  const auto super16 = [&](int value) {
    const uint8_t* super = scales + k / 256 * 288;
    const auto sc = static_cast<int8_t>(super[32 + g % 8 * 32 + step / 4 * 16 + r]);
    return half(super) * static_cast<float>(sc) * static_cast<float>(value);
  };
  switch (kind) {
    case PanelKind::kF32:
      return Load<float>(quants + (k * 16 + r) * 4);
    case PanelKind::kF16:
      return HalfToFloat(Load<uint16_t>(quants + (k * 16 + r) * 2));
    case PanelKind::kBF16:
      return Bf16ToFloat(Load<uint16_t>(quants + (k * 16 + r) * 2));
    case PanelKind::kU8:
      return group_half(32) * static_cast<float>(quants[g * 512 + step * 64 + byte] - 128);
    case PanelKind::kU4:
      return group_half(32) * static_cast<float>(nibble(256) - 8);
    case PanelKind::kU5:
      return group_half(32) * static_cast<float>((nibble(320) | bit(320, 256) << 4) - 16);
    case PanelKind::kU4HalfMin:
      return minus_min(nibble(256));
    case PanelKind::kU5HalfMin:
      return minus_min(nibble(320) | bit(320, 256) << 4);
    case PanelKind::kU4Min:
    case PanelKind::kU5Min: {
      const uint8_t* group = scales + k / 256 * 320 + 64 + g % 8 * 32;
      const int u = kind == PanelKind::kU4Min ? nibble(256) : nibble(320) | bit(320, 256) << 4;
      return super_min(u, group[r], group[16 + r]);
    }
    case PanelKind::kU2Min: {
      const uint8_t both = scales[k / 256 * 320 + 64 + g % 8 * 32 + step / 4 * 16 + r];
      return super_min(pair(128, 0), both & 15, both >> 4);
    }
    case PanelKind::kU3:
      return super16((pair(192, 0) | bit(192, 128) << 2) - 4);
    case PanelKind::kU6:
      return super16((nibble(384) | pair(384, 256) << 4) - 32);
    case PanelKind::kNl4:
      return group_half(32) * static_cast<float>(kNl4Values[nibble(256)]);
    case PanelKind::kNl4Super: {
      const uint8_t* super = scales + k / 256 * 160;
      const auto sc = static_cast<int8_t>(super[32 + g % 8 * 16 + r]);
      return half(super) * static_cast<float>(sc) * static_cast<float>(kNl4Values[nibble(256)]);
    }
    case PanelKind::kFp4:
      return HalfOfE8m0(scales[g * 16 + r]) * static_cast<float>(kFp4Values[nibble(256)]);
  }
  return NAN;
}

}  // namespace

TEST_CASE("every format agrees to the bit with the gguf package") {
  std::set<DType> dequantised;
  for (const GoldenStream& stream : ReadGolden()) {
    CAPTURE(stream.format->name(), stream.quantize);
    CHECK(stream.blocks >= 100'000);
    CHECK(HashOf(stream) == stream.hash);
    if (!stream.quantize) dequantised.insert(stream.format->dtype);
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
    // A power of two as scale leaves up to a quarter of the largest value clipped.
    const double bound = format->dtype == DType::kMXFP4 ? 0.25
                         : bits > 8.5                   ? 1e-2
                         : bits > 8                     ? 5e-3
                         : bits > 6                     ? 4e-2
                         : bits > 4                     ? 0.15
                         : bits > 3                     ? 0.3
                                                        : 0.6;
    double error = 0;
    for (size_t i = 0; i < back.size(); ++i) {
      error = std::max(error, double{std::fabs(back[i] - values[i])});
    }
    CAPTURE(format->name());
    CHECK(error < bound);
  }
}

namespace {

// Sub-blocks of a K format: y = scale · q − min with q in low..high and real scales.
struct SubBlocks {
  DType dtype;
  int64_t elements;
  int low, high;
  bool has_min;
};

double SquareError(const float* x, int64_t n, double scale, double min, const SubBlocks& sub) {
  double error = 0;
  for (int64_t i = 0; i < n; ++i) {
    const double level =
        std::clamp(std::round((x[i] + min) / scale), double{sub.low * 1.0}, double{sub.high * 1.0});
    const double difference = x[i] - (scale * level - min);
    error += difference * difference;
  }
  return error;
}

// The least error any choice of scale (and minimum) of a fine lattice gives.
double LeastError(const float* x, const SubBlocks& sub) {
  const auto [least, most] = std::minmax_element(x, x + sub.elements);
  const double lowest = std::min(0.0f, *least);
  const double range = std::max(0.0f, *most) - lowest;
  double best = 1e30;
  for (int i = 20; i <= 110; ++i) {
    const double scale = range * i / 100 / (sub.high - sub.low);
    if (sub.has_min) {
      for (int j = 0; j <= 40; ++j) {
        best = std::min(best, SquareError(x, sub.elements, scale, -lowest * j / 40, sub));
      }
    } else {
      for (const double sign : {-2.0, -1.0, 1.0, 2.0}) {
        best = std::min(best, SquareError(x, sub.elements, sign * scale, 0, sub));
      }
    }
  }
  return best;
}

}  // namespace

TEST_CASE("quantisers of the K formats come near to the best real scales") {
  // Normal values, as weights are. The lattice knows nothing of the quantiser and rounds no scale:
  // a format's own scales of four to eight bits cost up to three percent.
  constexpr int64_t kCount = 64 * 256;
  std::vector<float> values(kCount);
  Random random(7);
  for (float& value : values) {
    for (int i = 0; i < 12; ++i) value += random.Uniform() / 2;  // deviation 1
  }
  for (const SubBlocks& sub :
       {SubBlocks{DType::kQ2_K, 16, 0, 3, true}, SubBlocks{DType::kQ3_K, 16, -4, 3, false},
        SubBlocks{DType::kQ4_K, 32, 0, 15, true}, SubBlocks{DType::kQ5_K, 32, 0, 31, true},
        SubBlocks{DType::kQ6_K, 16, -32, 31, false}}) {
    const QuantFormat& format = *FindFormat(sub.dtype);
    std::vector<std::byte> blocks(kCount / 256 * static_cast<size_t>(format.block_bytes()));
    std::vector<float> back(kCount);
    format.quantize_row(values.data(), blocks.data(), kCount);
    format.dequantize_row(blocks.data(), back.data(), kCount);
    double error = 0, least = 0, squares = 0;
    for (size_t i = 0; i < back.size(); ++i) {
      error += double{back[i] - values[i]} * (back[i] - values[i]);
      squares += double{values[i]} * values[i];
    }
    for (int64_t i = 0; i < kCount; i += sub.elements)
      least += LeastError(&values[static_cast<size_t>(i)], sub);
    const double ratio = std::sqrt(error / least);
    CAPTURE(format.name(), ratio, std::sqrt(error / squares));
    CHECK(ratio < 1.05);
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
