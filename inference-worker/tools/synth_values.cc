#include "tools/synth_values.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "engine/quant/format.h"

namespace conclave::engine {
namespace {

// The finaliser of splitmix64.
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

uint64_t BitsAt(uint64_t tensor_seed, uint64_t index) {
  return Mix(tensor_seed + index * 0x9e3779b97f4a7c15ULL);
}

// Uniform in [-1, 1), a multiple of 2^-23: exact in fp32.
float UniformAt(uint64_t tensor_seed, uint64_t index) {
  return static_cast<float>(BitsAt(tensor_seed, index) >> 40) * 0x1.0p-23f - 1.0f;
}

uint16_t HalfBits(float value) {
  uint16_t bits = 0;
  FindFormat(DType::kF16)->quantize_row(&value, &bits, 1);
  return bits;
}

void PutHalf(std::byte* at, float value) {
  const uint16_t bits = HalfBits(value);
  std::memcpy(at, &bits, sizeof bits);
}

void FillRandom(uint64_t row_seed, std::span<std::byte> bytes) {
  for (size_t i = 0; i < bytes.size(); i += 8) {
    const uint64_t word = BitsAt(row_seed, i / 8);
    std::memcpy(bytes.data() + i, &word, std::min<size_t>(8, bytes.size() - i));
  }
}

bool Odd(std::byte byte) { return (byte & std::byte{1}) != std::byte{0}; }

// Scales that make a block of uniformly random quants have the standard deviation `sigma`, written
// over random bytes. Quantising floats would give the same picture a hundred times slower. The mean
// over blocks is 0: a small one, in every row, would drive all of a wide model's activations.
void SetBlockScales(DType dtype, std::byte* block, float sigma) {
  switch (dtype) {
    case DType::kQ8_0:  // int8, standard deviation 73.9; no quantiser writes -128
      for (int i = 2; i < 34; ++i) {
        if (block[i] == std::byte{0x80}) block[i] = std::byte{0x81};
      }
      return PutHalf(block, sigma / 73.9f);
    case DType::kQ4_0:  // 0…15 minus 8, standard deviation 4.61; of either sign, as -8 has no 8
      return PutHalf(block, (Odd(block[0]) ? -sigma : sigma) / 4.61f);
    case DType::kQ4_K: {
      // All eight 6-bit scales and minima 32: y = 32·d·q − 32·dmin, centred by dmin = 7.5·d.
      const float d = sigma / (32.0f * 4.61f);
      PutHalf(block, d);
      PutHalf(block + 2, 7.5f * d);
      // j < 4: the low six bits of bytes 0…7; j >= 4: low nibbles of 8…11 with the top bits of 0…7.
      for (int i = 0; i < 8; ++i) block[4 + i] = std::byte{32 | (2 << 6)};
      for (int i = 8; i < 12; ++i) block[4 + i] = std::byte{0};
      return;
    }
    case DType::kQ6_K:  // 0…63 minus 32, standard deviation 18.5, scales ±32
      for (int i = 192; i < 208; ++i) block[i] = Odd(block[i]) ? std::byte{0xE0} : std::byte{32};
      return PutHalf(block + 208, sigma / (32.0f * 18.5f));
    default:
      return;
  }
}

bool IsFloat(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

// Those whose scales SetBlockScales knows.
bool HasRandomBlocks(DType dtype) {
  return dtype == DType::kQ8_0 || dtype == DType::kQ4_0 || dtype == DType::kQ4_K ||
         dtype == DType::kQ6_K;
}

// Any other format: a few thousand values ±scale are quantised once, and rows are drawn from their
// blocks.
GgufWriter::RowFiller DrawBlocks(uint64_t tensor_seed, DType dtype, float scale) {
  constexpr int64_t kValues = 16'384;
  const QuantFormat& format = *FindFormat(dtype);
  std::vector<float> values(kValues);
  for (size_t i = 0; i < values.size(); ++i) values[i] = scale * UniformAt(tensor_seed, i);
  const int64_t num_blocks = kValues / format.block_elements();
  std::vector<std::byte> pool(static_cast<size_t>(num_blocks * format.block_bytes()));
  format.quantize_row(values.data(), pool.data(), kValues);
  const auto block_bytes = static_cast<size_t>(format.block_bytes());
  return [=, pool = std::move(pool)](int64_t row, std::span<std::byte> bytes) {
    const uint64_t row_seed = Mix(tensor_seed + static_cast<uint64_t>(row));
    for (size_t at = 0; at < bytes.size(); at += block_bytes) {
      const uint64_t drawn = BitsAt(row_seed, at) % static_cast<uint64_t>(num_blocks);
      std::memcpy(bytes.data() + at, pool.data() + drawn * block_bytes, block_bytes);
    }
  };
}

}  // namespace

bool CanMakeUp(DType dtype) {
  const QuantFormat* const format = FindFormat(dtype);
  return format != nullptr && format->quantize_row != nullptr;
}

// FNV-1a of the name, mixed with the model's seed.
uint64_t TensorSeed(uint64_t seed, std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return Mix(hash ^ seed);
}

GgufWriter::RowFiller MakeFiller(uint64_t tensor_seed, DType dtype, int64_t cols, float base,
                                 float scale) {
  if (IsFloat(dtype)) {
    return [=](int64_t row, std::span<std::byte> bytes) {
      std::vector<float> values(static_cast<size_t>(cols));
      const auto first = static_cast<uint64_t>(row * cols);
      for (size_t i = 0; i < values.size(); ++i) {
        values[i] = base + scale * UniformAt(tensor_seed, first + i);
      }
      FindFormat(dtype)->quantize_row(values.data(), bytes.data(), cols);
    };
  }
  if (!HasRandomBlocks(dtype)) return DrawBlocks(tensor_seed, dtype, scale);
  const float sigma = scale / std::sqrt(3.0f);  // of a uniform in ±scale
  return [=](int64_t row, std::span<std::byte> bytes) {
    FillRandom(Mix(tensor_seed + static_cast<uint64_t>(row)), bytes);
    const auto block_bytes = static_cast<size_t>(InfoOf(dtype).block_bytes);
    for (size_t at = 0; at < bytes.size(); at += block_bytes) {
      SetBlockScales(dtype, bytes.data() + at, sigma);
    }
  };
}

}  // namespace conclave::engine
