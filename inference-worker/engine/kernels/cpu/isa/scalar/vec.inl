// Sixteen lanes in plain C++: the reference for the two others. The compiler's baseline flags only.
namespace conclave::engine::CONCLAVE_ISA {
namespace {

struct F32x16 {
  float lane[16];
};
struct I32x16 {
  int32_t lane[16];
};
struct U8x64 {
  uint8_t byte[64];
};

constexpr int kTileColumns = 4;  // activation rows per tile
constexpr int kWidePanels = 1;   // panels side by side when activation rows are few

#define FOR_LANES for (int i = 0; i < 16; ++i)

inline F32x16 Set1(float x) {
  F32x16 v;
  FOR_LANES v.lane[i] = x;
  return v;
}
inline F32x16 Load(const float* p) {
  F32x16 v;
  FOR_LANES v.lane[i] = p[i];
  return v;
}
inline void Store(float* p, const F32x16& v) { FOR_LANES p[i] = v.lane[i]; }
// The first n lanes, the others zero; n in 0..16.
inline F32x16 LoadN(const float* p, int64_t n) {
  F32x16 v;
  FOR_LANES v.lane[i] = i < n ? p[i] : 0.0f;
  return v;
}
inline void StoreN(float* p, const F32x16& v, int64_t n) {
  for (int i = 0; i < 16 && i < n; ++i) p[i] = v.lane[i];
}
// Lanes n.. become `fill`.
inline F32x16 KeepN(const F32x16& v, int64_t n, float fill) {
  F32x16 w;
  FOR_LANES w.lane[i] = i < n ? v.lane[i] : fill;
  return w;
}
inline F32x16 Add(const F32x16& a, const F32x16& b) {
  F32x16 v;
  FOR_LANES v.lane[i] = a.lane[i] + b.lane[i];
  return v;
}
inline F32x16 Sub(const F32x16& a, const F32x16& b) {
  F32x16 v;
  FOR_LANES v.lane[i] = a.lane[i] - b.lane[i];
  return v;
}
inline F32x16 Mul(const F32x16& a, const F32x16& b) {
  F32x16 v;
  FOR_LANES v.lane[i] = a.lane[i] * b.lane[i];
  return v;
}
inline F32x16 Div(const F32x16& a, const F32x16& b) {
  F32x16 v;
  FOR_LANES v.lane[i] = a.lane[i] / b.lane[i];
  return v;
}
// a · b + c with one rounding.
inline F32x16 Fma(const F32x16& a, const F32x16& b, const F32x16& c) {
  F32x16 v;
  FOR_LANES v.lane[i] = __builtin_fmaf(a.lane[i], b.lane[i], c.lane[i]);
  return v;
}
// As x86 has it: the second operand when either is NaN.
inline F32x16 Max(const F32x16& a, const F32x16& b) {
  F32x16 v;
  FOR_LANES v.lane[i] = a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i];
  return v;
}
inline F32x16 Min(const F32x16& a, const F32x16& b) {
  F32x16 v;
  FOR_LANES v.lane[i] = a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i];
  return v;
}
inline F32x16 Abs(const F32x16& a) {
  F32x16 v;
  FOR_LANES v.lane[i] = __builtin_fabsf(a.lane[i]);
  return v;
}
// a < b ? yes : no; false for NaN.
inline F32x16 SelectLess(const F32x16& a, const F32x16& b, const F32x16& yes, const F32x16& no) {
  F32x16 v;
  FOR_LANES v.lane[i] = a.lane[i] < b.lane[i] ? yes.lane[i] : no.lane[i];
  return v;
}
// Round to nearest even, as integers. |x| < 2^31.
inline I32x16 ToInt(const F32x16& a) {
  I32x16 v;
  FOR_LANES v.lane[i] = static_cast<int32_t>(__builtin_rintf(a.lane[i]));
  return v;
}
inline F32x16 ToFloat(const I32x16& a) {
  F32x16 v;
  FOR_LANES v.lane[i] = static_cast<float>(a.lane[i]);
  return v;
}
// 2^n for n in -126..127.
inline F32x16 PowerOfTwo(const I32x16& n) {
  F32x16 v;
  FOR_LANES v.lane[i] = std::bit_cast<float>(static_cast<uint32_t>(n.lane[i] + 127) << 23);
  return v;
}
// Halves are folded: lane i + lane i + 8, then + 4, + 2, + 1.
inline float ReduceAdd(F32x16 v) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) v.lane[i] = v.lane[i] + v.lane[i + half];
  }
  return v.lane[0];
}
inline float ReduceMax(F32x16 v) {
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) {
      v.lane[i] = v.lane[i] > v.lane[i + half] ? v.lane[i] : v.lane[i + half];
    }
  }
  return v.lane[0];
}
inline float First(const F32x16& v) { return v.lane[0]; }

// Lane j of v[i] becomes lane i of v[j].
inline void Transpose(F32x16 (&v)[16]) {
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < i; ++j) {
      const float at = v[i].lane[j];
      v[i].lane[j] = v[j].lane[i];
      v[j].lane[i] = at;
    }
  }
}

inline F32x16 LoadHalf(const void* p) {
  F32x16 v;
  FOR_LANES v.lane[i] = HalfToFloat(engine::Load<uint16_t>(static_cast<const char*>(p) + 2 * i));
  return v;
}
inline void StoreHalf(uint16_t* p, const F32x16& v) { FOR_LANES p[i] = FloatToHalf(v.lane[i]); }
inline F32x16 LoadBf16(const void* p) {
  F32x16 v;
  FOR_LANES v.lane[i] = Bf16ToFloat(engine::Load<uint16_t>(static_cast<const char*>(p) + 2 * i));
  return v;
}
inline F32x16 LoadUint8(const void* p) {
  F32x16 v;
  FOR_LANES v.lane[i] = static_cast<float>(static_cast<const uint8_t*>(p)[i]);
  return v;
}
inline F32x16 LoadInt8(const void* p) {
  F32x16 v;
  FOR_LANES v.lane[i] = static_cast<float>(static_cast<const int8_t*>(p)[i]);
  return v;
}
// The low (from = 0) or high (4) nibbles of sixteen bytes.
template <int from>
inline F32x16 LoadNibbles(const void* p) {
  F32x16 v;
  FOR_LANES v.lane[i] = static_cast<float>((static_cast<const uint8_t*>(p)[i] >> from) & 15);
  return v;
}
// 2^(e − 128) of sixteen bytes e.
inline F32x16 LoadExponents(const void* p) {
  F32x16 v;
  FOR_LANES v.lane[i] = HalfOfE8m0(static_cast<const uint8_t*>(p)[i]);
  return v;
}
// Each in -127..127 already.
inline void StoreInt8(int8_t* p, const I32x16& v) {
  FOR_LANES p[i] = static_cast<int8_t>(v.lane[i]);
}
inline int32_t ReduceAdd(const I32x16& v) {
  int32_t sum = 0;
  FOR_LANES sum += v.lane[i];
  return sum;
}

inline I32x16 Set1Int(int32_t x) {
  I32x16 v;
  FOR_LANES v.lane[i] = x;
  return v;
}
inline U8x64 LoadBytes(const void* p) {
  U8x64 v;
  for (int i = 0; i < 64; ++i) v.byte[i] = static_cast<const uint8_t*>(p)[i];
  return v;
}
// `bits` bits of each byte, `from` the one counted by its lowest bit.
template <int from, int bits>
inline U8x64 BitsOf(const U8x64& b) {
  U8x64 v;
  for (int i = 0; i < 64; ++i) {
    v.byte[i] = static_cast<uint8_t>((b.byte[i] >> from) & ((1 << bits) - 1));
  }
  return v;
}
// The same bits of `high`, put at `to` of `low`, where there are none.
template <int from, int bits, int to>
inline U8x64 WithBitsOf(const U8x64& low, const U8x64& high) {
  U8x64 v;
  for (int i = 0; i < 64; ++i) {
    v.byte[i] =
        static_cast<uint8_t>(low.byte[i] | ((high.byte[i] >> from) & ((1 << bits) - 1)) << to);
  }
  return v;
}
// The entry of a table of 16 for each byte, 0..15.
inline U8x64 Lookup(const uint8_t* table, const U8x64& index) {
  U8x64 v;
  for (int i = 0; i < 64; ++i) v.byte[i] = table[index.byte[i]];
  return v;
}
// sum[lane] += Σ of four unsigned bytes of the lane times four signed activations.
inline I32x16 Dot(I32x16 sum, const U8x64& u, const int8_t* four) {
  FOR_LANES {
    for (int j = 0; j < 4; ++j) sum.lane[i] += u.byte[4 * i + j] * four[j];
  }
  return sum;
}
// The same for bytes that stand for u − 128, any of 0..255; the offset is in InitU8 or in here.
inline I32x16 DotU8(const I32x16& sum, const U8x64& u, const int8_t* four) {
  return Dot(sum, u, four);
}
inline I32x16 InitU8(int32_t negative_sum) { return Set1Int(negative_sum * 128); }

#undef FOR_LANES

}  // namespace
}  // namespace conclave::engine::CONCLAVE_ISA
