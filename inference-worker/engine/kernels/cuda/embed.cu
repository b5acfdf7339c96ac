// Rows of a table as the model file has them.
#include "engine/kernels/cuda/device.cuh"
#include "engine/kernels/cuda/rows.cuh"

namespace {

constexpr unsigned kThreads = 256;

// GGUF's type ids, as engine/tensor/dtype.h has them (which this dialect cannot include).
enum class DType : int32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kIQ4_NL = 20,
  kIQ4_XS = 23,
  kBF16 = 30,
  kMXFP4 = 39
};

// --- elements of a row as the model file has it (engine.quant describes the blocks) -------------

__device__ inline float HalfAt(const uint8_t* at) {
  return HalfBits(static_cast<uint16_t>(at[0] | at[1] << 8));
}

__device__ inline int Nibble(int byte, int upper) { return upper == 0 ? byte & 15 : byte >> 4; }
// Of the 16 bytes of a block of 32: the low nibbles come first.
__device__ inline int NibbleOf(const uint8_t* bytes, int at) {
  return Nibble(bytes[at % 16], at / 16);
}
__device__ inline int FifthBit(const uint8_t* bits, int at) {
  return (bits[at / 8] >> at % 8 & 1) << 4;
}
// Level `level` of group g of a block that begins as Q4_K's and Q5_K's do.
__device__ inline float SuperMin(const uint8_t* block, int g, int level) {
  const uint8_t* s = block + 4;
  const int sc = g < 4 ? s[g] & 63 : (s[g + 4] & 15) | (s[g - 4] >> 6) << 4;
  const int m = g < 4 ? s[g + 4] & 63 : (s[g + 4] >> 4) | (s[g] >> 6) << 4;
  const float product = HalfAt(block) * static_cast<float>(sc) * static_cast<float>(level);
  return product - HalfAt(block + 2) * static_cast<float>(m);
}
__device__ inline float Nl4Value(int nibble) {
  // kNl4Values of engine/quant/panel.h.
  constexpr int8_t kValues[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};
  return static_cast<float>(kValues[nibble]);
}

template <DType kType>
__device__ float Element(const uint8_t* row, int64_t i);

template <>
__device__ inline float Element<DType::kF32>(const uint8_t* row, int64_t i) {
  const uint8_t* at = row + i * 4;
  return __uint_as_float(static_cast<uint32_t>(at[0]) | static_cast<uint32_t>(at[1]) << 8 |
                         static_cast<uint32_t>(at[2]) << 16 | static_cast<uint32_t>(at[3]) << 24);
}
template <>
__device__ inline float Element<DType::kF16>(const uint8_t* row, int64_t i) {
  return HalfAt(row + i * 2);
}
template <>
__device__ inline float Element<DType::kBF16>(const uint8_t* row, int64_t i) {
  return Bf16Bits(static_cast<uint16_t>(row[i * 2] | row[i * 2 + 1] << 8));
}
template <>
__device__ inline float Element<DType::kQ8_0>(const uint8_t* row, int64_t i) {
  const uint8_t* block = row + i / 32 * 34;
  return static_cast<float>(static_cast<int8_t>(block[2 + i % 32])) * HalfAt(block);
}
template <>
__device__ inline float Element<DType::kQ4_0>(const uint8_t* row, int64_t i) {
  const uint8_t* block = row + i / 32 * 18;
  const int at = static_cast<int>(i % 32);
  const int byte = block[2 + at % 16];
  return HalfAt(block) * static_cast<float>((at < 16 ? byte & 15 : byte >> 4) - 8);
}
template <>
__device__ inline float Element<DType::kQ4_K>(const uint8_t* row, int64_t i) {
  const uint8_t* block = row + i / 256 * 144;
  const int at = static_cast<int>(i % 256);
  const int g = at / 32;
  return SuperMin(block, g, Nibble(block[16 + g / 2 * 32 + at % 32], g % 2));
}
template <>
__device__ inline float Element<DType::kQ6_K>(const uint8_t* row, int64_t i) {
  const uint8_t* block = row + i / 256 * 210;
  const int at = static_cast<int>(i % 256);
  const int half = at / 128;
  const int stretch = at % 128 / 32;
  const int l = at % 32;
  const int low = block[half * 64 + stretch % 2 * 32 + l];
  const int high = block[128 + half * 32 + l];
  const int level = (stretch < 2 ? low & 15 : low >> 4) | ((high >> (2 * stretch)) & 3) << 4;
  const float scale =
      HalfAt(block + 208) * static_cast<float>(static_cast<int8_t>(block[192 + at / 16]));
  return scale * static_cast<float>(level - 32);
}
template <>
__device__ inline float Element<DType::kQ4_1>(const uint8_t* row, int64_t i) {
  const uint8_t* block = row + i / 32 * 20;
  const int level = NibbleOf(block + 4, static_cast<int>(i % 32));
  return HalfAt(block) * static_cast<float>(level) + HalfAt(block + 2);
}
template <>
__device__ inline float Element<DType::kQ5_0>(const uint8_t* row, int64_t i) {
  const uint8_t* block = row + i / 32 * 22;
  const int at = static_cast<int>(i % 32);
  const int level = NibbleOf(block + 6, at) | FifthBit(block + 2, at);
  return HalfAt(block) * static_cast<float>(level - 16);
}
template <>
__device__ inline float Element<DType::kQ5_1>(const uint8_t* row, int64_t i) {
  const uint8_t* block = row + i / 32 * 24;
  const int at = static_cast<int>(i % 32);
  const int level = NibbleOf(block + 8, at) | FifthBit(block + 4, at);
  return HalfAt(block) * static_cast<float>(level) + HalfAt(block + 2);
}
template <>
__device__ inline float Element<DType::kQ2_K>(const uint8_t* row, int64_t i) {
  const uint8_t* block = row + i / 256 * 84;
  const int at = static_cast<int>(i % 256);
  const int level = block[16 + at / 128 * 32 + at % 32] >> (at % 128 / 32 * 2) & 3;
  const int both = block[at / 16];
  const float scale = HalfAt(block + 80) * static_cast<float>(both & 15);
  const float min = HalfAt(block + 82) * static_cast<float>(both >> 4);
  return scale * static_cast<float>(level) - min;
}
template <>
__device__ inline float Element<DType::kQ3_K>(const uint8_t* row, int64_t i) {
  const uint8_t* block = row + i / 256 * 110;
  const int at = static_cast<int>(i % 256);
  const int low = block[32 + at / 128 * 32 + at % 32] >> (at % 128 / 32 * 2) & 3;
  const int level = low | (block[at % 32] >> (at / 32) & 1) << 2;
  const uint8_t* s = block + 96;
  const int sub = at / 16;
  const int bits = (s[sub % 8] >> (sub / 8 * 4) & 15) | (s[8 + sub % 4] >> (sub / 4 * 2) & 3) << 4;
  const float scale = HalfAt(block + 108) * static_cast<float>(bits - 32);
  return scale * static_cast<float>(level - 4);
}
template <>
__device__ inline float Element<DType::kQ5_K>(const uint8_t* row, int64_t i) {
  const uint8_t* block = row + i / 256 * 176;
  const int at = static_cast<int>(i % 256);
  const int g = at / 32;
  const int low = Nibble(block[48 + g / 2 * 32 + at % 32], g % 2);
  return SuperMin(block, g, low | (block[16 + at % 32] >> g & 1) << 4);
}
template <>
__device__ inline float Element<DType::kIQ4_NL>(const uint8_t* row, int64_t i) {
  const uint8_t* block = row + i / 32 * 18;
  return HalfAt(block) * Nl4Value(NibbleOf(block + 2, static_cast<int>(i % 32)));
}
template <>
__device__ inline float Element<DType::kIQ4_XS>(const uint8_t* row, int64_t i) {
  const uint8_t* block = row + i / 256 * 136;
  const int at = static_cast<int>(i % 256);
  const int g = at / 32;
  const int high = (block[2] | block[3] << 8) >> 2 * g & 3;
  const int bits = Nibble(block[4 + g / 2], g % 2) | high << 4;
  const float scale = HalfAt(block) * static_cast<float>(bits - 32);
  return scale * Nl4Value(NibbleOf(block + 8 + g * 16, at % 32));
}
template <>
__device__ inline float Element<DType::kMXFP4>(const uint8_t* row, int64_t i) {
  const uint8_t* block = row + i / 32 * 17;
  const int nibble = NibbleOf(block + 1, static_cast<int>(i % 32));
  // kFp4Values of engine/quant/panel.h: E2M1, doubled.
  constexpr int8_t kValues[8] = {0, 1, 2, 3, 4, 6, 8, 12};
  const int value = nibble < 8 ? kValues[nibble] : -kValues[nibble - 8];
  return HalfOfE8m0Bits(block[0]) * static_cast<float>(value);
}

template <DType kType>
__global__ void Embed(const uint8_t* table, int64_t row_bytes, const int32_t* ids, int64_t cols,
                      float* out, int64_t out_stride) {
  const uint8_t* const row = table + ids[blockIdx.x] * row_bytes;
  float* const to = out + static_cast<int64_t>(blockIdx.x) * out_stride;
  for (int64_t i = threadIdx.x; i < cols; i += blockDim.x) to[i] = Element<kType>(row, i);
}

}  // namespace

void EmbedRowsOp(ConclaveCudaContext* c, const void* table, int32_t dtype, int64_t cols,
                 int64_t row_bytes, const int32_t* ids, int64_t rows, float* out,
                 int64_t out_stride) {
  const int32_t* const numbers = InputOf(c, ids, rows);
  const auto launch = [&](auto kernel) {
    Launch(c, "embedding", kernel, dim3(static_cast<unsigned>(rows)), kThreads,
           static_cast<const uint8_t*>(table), row_bytes, numbers, cols, out, out_stride);
  };
  switch (static_cast<DType>(dtype)) {
    case DType::kF32:
      return launch(Embed<DType::kF32>);
    case DType::kF16:
      return launch(Embed<DType::kF16>);
    case DType::kBF16:
      return launch(Embed<DType::kBF16>);
    case DType::kQ4_0:
      return launch(Embed<DType::kQ4_0>);
    case DType::kQ4_1:
      return launch(Embed<DType::kQ4_1>);
    case DType::kQ5_0:
      return launch(Embed<DType::kQ5_0>);
    case DType::kQ5_1:
      return launch(Embed<DType::kQ5_1>);
    case DType::kQ8_0:
      return launch(Embed<DType::kQ8_0>);
    case DType::kQ2_K:
      return launch(Embed<DType::kQ2_K>);
    case DType::kQ3_K:
      return launch(Embed<DType::kQ3_K>);
    case DType::kQ4_K:
      return launch(Embed<DType::kQ4_K>);
    case DType::kQ5_K:
      return launch(Embed<DType::kQ5_K>);
    case DType::kQ6_K:
      return launch(Embed<DType::kQ6_K>);
    case DType::kIQ4_NL:
      return launch(Embed<DType::kIQ4_NL>);
    case DType::kIQ4_XS:
      return launch(Embed<DType::kIQ4_XS>);
    case DType::kMXFP4:
      return launch(Embed<DType::kMXFP4>);
    default:
      return Fail(c, "embedding", "no such type");
  }
}
