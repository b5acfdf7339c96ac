// Sixteen lanes as one AVX-512 register (F, BW, DQ, VL, VNNI).
namespace conclave::engine::CONCLAVE_ISA {
namespace {

using F32x16 = __m512;
// Two types for the one register, so that a mix-up does not compile.
struct I32x16 {
  __m512i v;
};
struct U8x64 {
  __m512i v;
};

constexpr int kTileColumns = 8;
constexpr int kWidePanels = 4;  // panels side by side when activation rows are few

CONCLAVE_INLINE __mmask16 FirstLanes(int64_t n) {
  return static_cast<__mmask16>(n >= 16 ? 0xffffu : (1u << n) - 1u);
}

CONCLAVE_INLINE F32x16 Set1(float x) { return _mm512_set1_ps(x); }
CONCLAVE_INLINE F32x16 Load(const float* p) { return _mm512_loadu_ps(p); }
CONCLAVE_INLINE void Store(float* p, F32x16 v) { _mm512_storeu_ps(p, v); }
CONCLAVE_INLINE F32x16 LoadN(const float* p, int64_t n) {
  return _mm512_maskz_loadu_ps(FirstLanes(n), p);
}
CONCLAVE_INLINE void StoreN(float* p, F32x16 v, int64_t n) {
  _mm512_mask_storeu_ps(p, FirstLanes(n), v);
}
CONCLAVE_INLINE F32x16 KeepN(F32x16 v, int64_t n, float fill) {
  return _mm512_mask_blend_ps(FirstLanes(n < 0 ? 0 : n), _mm512_set1_ps(fill), v);
}
CONCLAVE_INLINE F32x16 Add(F32x16 a, F32x16 b) { return _mm512_add_ps(a, b); }
CONCLAVE_INLINE F32x16 Sub(F32x16 a, F32x16 b) { return _mm512_sub_ps(a, b); }
CONCLAVE_INLINE F32x16 Mul(F32x16 a, F32x16 b) { return _mm512_mul_ps(a, b); }
CONCLAVE_INLINE F32x16 Div(F32x16 a, F32x16 b) { return _mm512_div_ps(a, b); }
CONCLAVE_INLINE F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) { return _mm512_fmadd_ps(a, b, c); }
CONCLAVE_INLINE F32x16 Max(F32x16 a, F32x16 b) { return _mm512_max_ps(a, b); }
CONCLAVE_INLINE F32x16 Min(F32x16 a, F32x16 b) { return _mm512_min_ps(a, b); }
CONCLAVE_INLINE F32x16 Abs(F32x16 a) { return _mm512_abs_ps(a); }
CONCLAVE_INLINE F32x16 SelectLess(F32x16 a, F32x16 b, F32x16 yes, F32x16 no) {
  return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes);
}
CONCLAVE_INLINE I32x16 ToInt(F32x16 a) { return {_mm512_cvtps_epi32(a)}; }
CONCLAVE_INLINE F32x16 ToFloat(I32x16 a) { return _mm512_cvtepi32_ps(a.v); }
CONCLAVE_INLINE F32x16 PowerOfTwo(I32x16 n) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_add_epi32(n.v, _mm512_set1_epi32(127)), 23));
}
CONCLAVE_INLINE float ReduceAdd(F32x16 v) {
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
CONCLAVE_INLINE float ReduceMax(F32x16 v) {
  const __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}
CONCLAVE_INLINE float First(F32x16 v) { return _mm512_cvtss_f32(v); }

// Lane j of v[i] becomes lane i of v[j].
CONCLAVE_INLINE void Transpose(F32x16 (&v)[16]) {
  F32x16 pairs[16];
  for (int i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_ps(v[i], v[i + 1]);
    pairs[i + 1] = _mm512_unpackhi_ps(v[i], v[i + 1]);
  }
  // fours[4g + j]: in each quarter q, lane 4q + j of rows 4g .. 4g + 3.
  F32x16 fours[16];
  for (int g = 0; g < 16; g += 4) {
    const __m512d a = _mm512_castps_pd(pairs[g]);
    const __m512d b = _mm512_castps_pd(pairs[g + 1]);
    const __m512d c = _mm512_castps_pd(pairs[g + 2]);
    const __m512d d = _mm512_castps_pd(pairs[g + 3]);
    fours[g] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
    fours[g + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
    fours[g + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
    fours[g + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
  }
  for (int j = 0; j < 4; ++j) {
    const F32x16 low02 = _mm512_shuffle_f32x4(fours[j], fours[4 + j], 0x88);
    const F32x16 low13 = _mm512_shuffle_f32x4(fours[j], fours[4 + j], 0xdd);
    const F32x16 high02 = _mm512_shuffle_f32x4(fours[8 + j], fours[12 + j], 0x88);
    const F32x16 high13 = _mm512_shuffle_f32x4(fours[8 + j], fours[12 + j], 0xdd);
    v[j] = _mm512_shuffle_f32x4(low02, high02, 0x88);
    v[4 + j] = _mm512_shuffle_f32x4(low13, high13, 0x88);
    v[8 + j] = _mm512_shuffle_f32x4(low02, high02, 0xdd);
    v[12 + j] = _mm512_shuffle_f32x4(low13, high13, 0xdd);
  }
}

CONCLAVE_INLINE F32x16 LoadHalf(const void* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
}
CONCLAVE_INLINE void StoreHalf(uint16_t* p, F32x16 v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
CONCLAVE_INLINE F32x16 LoadBf16(const void* p) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(
      _mm512_cvtepu16_epi32(_mm256_loadu_si256(static_cast<const __m256i*>(p))), 16));
}
CONCLAVE_INLINE F32x16 LoadUint8(const void* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))));
}
CONCLAVE_INLINE F32x16 LoadInt8(const void* p) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p))));
}
template <int from>
CONCLAVE_INLINE F32x16 LoadNibbles(const void* p) {
  const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  return _mm512_cvtepi32_ps(
      _mm512_and_si512(_mm512_srli_epi32(bytes, from), _mm512_set1_epi32(15)));
}
CONCLAVE_INLINE F32x16 LoadExponents(const void* p) {
  const __m512i e = _mm512_cvtepu8_epi32(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
  const __m512i subnormal = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
  return _mm512_castsi512_ps(
      _mm512_mask_blend_epi32(_mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2)), normal, subnormal));
}
CONCLAVE_INLINE void StoreInt8(int8_t* p, I32x16 v) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v.v));
}
CONCLAVE_INLINE int32_t ReduceAdd(I32x16 v) {
  const __m256i eight =
      _mm256_add_epi32(_mm512_castsi512_si256(v.v), _mm512_extracti32x8_epi32(v.v, 1));
  const __m128i four =
      _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
}

CONCLAVE_INLINE I32x16 Set1Int(int32_t x) { return {_mm512_set1_epi32(x)}; }
CONCLAVE_INLINE U8x64 LoadBytes(const void* p) { return {_mm512_loadu_si512(p)}; }
// Within words of 16 bits: what comes over from the other byte is masked away.
template <int left>
CONCLAVE_INLINE __m512i ShiftLeft(__m512i v) {
  if constexpr (left > 0) return _mm512_slli_epi16(v, left);
  if constexpr (left < 0) return _mm512_srli_epi16(v, -left);
  return v;
}
template <int from, int bits>
CONCLAVE_INLINE U8x64 BitsOf(U8x64 b) {
  return {_mm512_and_si512(ShiftLeft<-from>(b.v), _mm512_set1_epi8((1 << bits) - 1))};
}
template <int from, int bits, int to>
CONCLAVE_INLINE U8x64 WithBitsOf(U8x64 low, U8x64 high) {
  const __m512i mask = _mm512_set1_epi8(((1 << bits) - 1) << to);
  // (moved & mask) | low in one instruction.
  return {_mm512_ternarylogic_epi32(ShiftLeft<to - from>(high.v), mask, low.v, 0xea)};
}
CONCLAVE_INLINE U8x64 Lookup(const uint8_t* table, U8x64 index) {
  const __m128i sixteen = _mm_loadu_si128(reinterpret_cast<const __m128i*>(table));
  return {_mm512_shuffle_epi8(_mm512_broadcast_i32x4(sixteen), index.v)};
}
CONCLAVE_INLINE I32x16 Dot(I32x16 sum, U8x64 u, const int8_t* four) {
  int32_t bits;
  __builtin_memcpy(&bits, four, 4);
  return {_mm512_dpbusd_epi32(sum.v, u.v, _mm512_set1_epi32(bits))};
}
CONCLAVE_INLINE I32x16 DotU8(I32x16 sum, U8x64 u, const int8_t* four) { return Dot(sum, u, four); }
CONCLAVE_INLINE I32x16 InitU8(int32_t negative_sum) { return Set1Int(negative_sum * 128); }

}  // namespace
}  // namespace conclave::engine::CONCLAVE_ISA
