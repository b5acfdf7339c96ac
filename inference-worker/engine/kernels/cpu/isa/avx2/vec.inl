// Sixteen lanes as two AVX2 registers (AVX2, FMA, F16C): `lo` holds lanes 0..7.
namespace conclave::engine::CONCLAVE_ISA {
namespace {

struct F32x16 {
  __m256 lo, hi;
};
struct I32x16 {
  __m256i lo, hi;
};
struct U8x64 {
  __m256i lo, hi;
};

constexpr int kTileColumns = 4;
constexpr int kWidePanels = 2;  // panels side by side when activation rows are few

// All ones in the first n of lanes `from`.. `from` + 7.
CONCLAVE_INLINE __m256i FirstLanes(int64_t n, int from) {
  const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n) - from), index);
}

CONCLAVE_INLINE F32x16 Set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
CONCLAVE_INLINE F32x16 Load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
CONCLAVE_INLINE void Store(float* p, F32x16 v) {
  _mm256_storeu_ps(p, v.lo);
  _mm256_storeu_ps(p + 8, v.hi);
}
CONCLAVE_INLINE F32x16 LoadN(const float* p, int64_t n) {
  return {_mm256_maskload_ps(p, FirstLanes(n, 0)), _mm256_maskload_ps(p + 8, FirstLanes(n, 8))};
}
CONCLAVE_INLINE void StoreN(float* p, F32x16 v, int64_t n) {
  _mm256_maskstore_ps(p, FirstLanes(n, 0), v.lo);
  _mm256_maskstore_ps(p + 8, FirstLanes(n, 8), v.hi);
}
CONCLAVE_INLINE F32x16 KeepN(F32x16 v, int64_t n, float fill) {
  const __m256 other = _mm256_set1_ps(fill);
  const int64_t kept = n < 0 ? 0 : n > 16 ? 16 : n;
  return {_mm256_blendv_ps(other, v.lo, _mm256_castsi256_ps(FirstLanes(kept, 0))),
          _mm256_blendv_ps(other, v.hi, _mm256_castsi256_ps(FirstLanes(kept, 8)))};
}
CONCLAVE_INLINE F32x16 Add(F32x16 a, F32x16 b) {
  return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}
CONCLAVE_INLINE F32x16 Sub(F32x16 a, F32x16 b) {
  return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}
CONCLAVE_INLINE F32x16 Mul(F32x16 a, F32x16 b) {
  return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}
CONCLAVE_INLINE F32x16 Div(F32x16 a, F32x16 b) {
  return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}
CONCLAVE_INLINE F32x16 Fma(F32x16 a, F32x16 b, F32x16 c) {
  return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}
CONCLAVE_INLINE F32x16 Max(F32x16 a, F32x16 b) {
  return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}
CONCLAVE_INLINE F32x16 Min(F32x16 a, F32x16 b) {
  return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}
CONCLAVE_INLINE F32x16 Abs(F32x16 a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
}
CONCLAVE_INLINE F32x16 SelectLess(F32x16 a, F32x16 b, F32x16 yes, F32x16 no) {
  return {_mm256_blendv_ps(no.lo, yes.lo, _mm256_cmp_ps(a.lo, b.lo, _CMP_LT_OQ)),
          _mm256_blendv_ps(no.hi, yes.hi, _mm256_cmp_ps(a.hi, b.hi, _CMP_LT_OQ))};
}
CONCLAVE_INLINE I32x16 ToInt(F32x16 a) {
  return {_mm256_cvtps_epi32(a.lo), _mm256_cvtps_epi32(a.hi)};
}
CONCLAVE_INLINE F32x16 ToFloat(I32x16 a) {
  return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)};
}
CONCLAVE_INLINE __m256 PowerOfTwoHalf(__m256i n) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}
CONCLAVE_INLINE F32x16 PowerOfTwo(I32x16 n) { return {PowerOfTwoHalf(n.lo), PowerOfTwoHalf(n.hi)}; }
CONCLAVE_INLINE float ReduceAdd(F32x16 v) {
  const __m256 eight = _mm256_add_ps(v.lo, v.hi);
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
CONCLAVE_INLINE float ReduceMax(F32x16 v) {
  const __m256 eight = _mm256_max_ps(v.lo, v.hi);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}
CONCLAVE_INLINE float First(F32x16 v) { return _mm256_cvtss_f32(v.lo); }

// Lane j of v[i] becomes lane i of v[j], eight by eight.
CONCLAVE_INLINE void TransposeEight(__m256 (&v)[8]) {
  __m256 fours[8];
  for (int g = 0; g < 8; g += 4) {
    const __m256d a = _mm256_castps_pd(_mm256_unpacklo_ps(v[g], v[g + 1]));
    const __m256d b = _mm256_castps_pd(_mm256_unpackhi_ps(v[g], v[g + 1]));
    const __m256d c = _mm256_castps_pd(_mm256_unpacklo_ps(v[g + 2], v[g + 3]));
    const __m256d d = _mm256_castps_pd(_mm256_unpackhi_ps(v[g + 2], v[g + 3]));
    fours[g] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, c));
    fours[g + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, c));
    fours[g + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(b, d));
    fours[g + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(b, d));
  }
  for (int j = 0; j < 4; ++j) {
    v[j] = _mm256_permute2f128_ps(fours[j], fours[4 + j], 0x20);
    v[4 + j] = _mm256_permute2f128_ps(fours[j], fours[4 + j], 0x31);
  }
}
CONCLAVE_INLINE void Transpose(F32x16 (&v)[16]) {
  __m256 quarters[2][2][8];  // [rows 8i ..][lanes 8j ..]
  for (int i = 0; i < 8; ++i) {
    quarters[0][0][i] = v[i].lo;
    quarters[0][1][i] = v[i].hi;
    quarters[1][0][i] = v[8 + i].lo;
    quarters[1][1][i] = v[8 + i].hi;
  }
  for (auto& half : quarters) {
    for (auto& quarter : half) TransposeEight(quarter);
  }
  for (int i = 0; i < 8; ++i) {
    v[i] = {quarters[0][0][i], quarters[1][0][i]};
    v[8 + i] = {quarters[0][1][i], quarters[1][1][i]};
  }
}

CONCLAVE_INLINE __m128i Load128(const void* p) {
  return _mm_loadu_si128(static_cast<const __m128i*>(p));
}
CONCLAVE_INLINE __m128i Load64(const void* p) {
  return _mm_loadl_epi64(static_cast<const __m128i*>(p));
}
CONCLAVE_INLINE const char* At(const void* p, int bytes) {
  return static_cast<const char*>(p) + bytes;
}

CONCLAVE_INLINE F32x16 LoadHalf(const void* p) {
  return {_mm256_cvtph_ps(Load128(p)), _mm256_cvtph_ps(Load128(At(p, 16)))};
}
CONCLAVE_INLINE void StoreHalf(uint16_t* p, F32x16 v) {
  constexpr int kRounding = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v.lo, kRounding));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), _mm256_cvtps_ph(v.hi, kRounding));
}
CONCLAVE_INLINE __m256 Bf16Half(__m128i bits) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
}
CONCLAVE_INLINE F32x16 LoadBf16(const void* p) {
  return {Bf16Half(Load128(p)), Bf16Half(Load128(At(p, 16)))};
}
CONCLAVE_INLINE F32x16 LoadUint8(const void* p) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(Load64(p))),
          _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(Load64(At(p, 8))))};
}
CONCLAVE_INLINE F32x16 LoadInt8(const void* p) {
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(Load64(p))),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(Load64(At(p, 8))))};
}
template <int from>
CONCLAVE_INLINE __m256 NibblesHalf(__m128i bytes) {
  return _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srli_epi32(_mm256_cvtepu8_epi32(bytes), from),
                                             _mm256_set1_epi32(15)));
}
template <int from>
CONCLAVE_INLINE F32x16 LoadNibbles(const void* p) {
  return {NibblesHalf<from>(Load64(p)), NibblesHalf<from>(Load64(At(p, 8)))};
}
CONCLAVE_INLINE __m256 ExponentsHalf(__m128i bytes) {
  const __m256i e = _mm256_cvtepu8_epi32(bytes);
  const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)), 23);
  const __m256i subnormal = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
  return _mm256_castsi256_ps(
      _mm256_blendv_epi8(subnormal, normal, _mm256_cmpgt_epi32(e, _mm256_set1_epi32(1))));
}
CONCLAVE_INLINE F32x16 LoadExponents(const void* p) {
  return {ExponentsHalf(Load64(p)), ExponentsHalf(Load64(At(p, 8)))};
}
CONCLAVE_INLINE void StoreInt8(int8_t* p, I32x16 v) {
  // packs works within 128-bit halves; the permutation puts the words back in order.
  const __m256i words =
      _mm256_permute4x64_epi64(_mm256_packs_epi32(v.lo, v.hi), _MM_SHUFFLE(3, 1, 2, 0));
  _mm_storeu_si128(
      reinterpret_cast<__m128i*>(p),
      _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
}
CONCLAVE_INLINE int32_t ReduceAdd(I32x16 v) {
  const __m256i eight = _mm256_add_epi32(v.lo, v.hi);
  const __m128i four =
      _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
}

CONCLAVE_INLINE I32x16 Set1Int(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
CONCLAVE_INLINE __m256i Load256(const void* p) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(p));
}
CONCLAVE_INLINE U8x64 LoadBytes(const void* p) { return {Load256(p), Load256(At(p, 32))}; }
// Within words of 16 bits: what comes over from the other byte is masked away.
template <int left, int mask>
CONCLAVE_INLINE __m256i ShiftedAnd(__m256i v) {
  if constexpr (left > 0) v = _mm256_slli_epi16(v, left);
  if constexpr (left < 0) v = _mm256_srli_epi16(v, -left);
  return _mm256_and_si256(v, _mm256_set1_epi8(mask));
}
template <int from, int bits>
CONCLAVE_INLINE U8x64 BitsOf(U8x64 b) {
  constexpr int kMask = (1 << bits) - 1;
  return {ShiftedAnd<-from, kMask>(b.lo), ShiftedAnd<-from, kMask>(b.hi)};
}
template <int from, int bits, int to>
CONCLAVE_INLINE U8x64 WithBitsOf(U8x64 low, U8x64 high) {
  constexpr int kMask = ((1 << bits) - 1) << to;
  return {_mm256_or_si256(ShiftedAnd<to - from, kMask>(high.lo), low.lo),
          _mm256_or_si256(ShiftedAnd<to - from, kMask>(high.hi), low.hi)};
}
CONCLAVE_INLINE U8x64 Lookup(const uint8_t* table, U8x64 index) {
  const __m256i sixteen = _mm256_broadcastsi128_si256(Load128(table));
  return {_mm256_shuffle_epi8(sixteen, index.lo), _mm256_shuffle_epi8(sixteen, index.hi)};
}
CONCLAVE_INLINE __m256i Broadcast(const int8_t* four) {
  int32_t bits;
  __builtin_memcpy(&bits, four, 4);
  return _mm256_set1_epi32(bits);
}
CONCLAVE_INLINE __m256i DotHalf(__m256i sum, __m256i u, __m256i a) {
  return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(u, a), _mm256_set1_epi16(1)));
}
// For bytes up to 63: a pair of products is at most 2 · 63 · 127, far from saturation.
CONCLAVE_INLINE I32x16 Dot(I32x16 sum, U8x64 u, const int8_t* four) {
  const __m256i a = Broadcast(four);
  return {DotHalf(sum.lo, u.lo, a), DotHalf(sum.hi, u.hi, a)};
}
// Any byte: u − 128 is split into magnitude and sign, the sign moves to the activation. A pair is
// then at most 2 · 128 · 127 = 32512, and the offset is gone.
CONCLAVE_INLINE __m256i DotU8Half(__m256i sum, __m256i u, __m256i a) {
  const __m256i w = _mm256_xor_si256(u, _mm256_set1_epi8(-128));
  return DotHalf(sum, _mm256_abs_epi8(w), _mm256_sign_epi8(a, w));
}
CONCLAVE_INLINE I32x16 DotU8(I32x16 sum, U8x64 u, const int8_t* four) {
  const __m256i a = Broadcast(four);
  return {DotU8Half(sum.lo, u.lo, a), DotU8Half(sum.hi, u.hi, a)};
}
CONCLAVE_INLINE I32x16 InitU8(int32_t) { return Set1Int(0); }

}  // namespace
}  // namespace conclave::engine::CONCLAVE_ISA
