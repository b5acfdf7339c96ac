// Attention of a few query rows over one kv head, in strips of 64 tokens at fixed positions with a
// running maximum: the result of a row depends on its own visible tokens only, not on how many
// rows share the tile nor on how the prompt was cut into chunks.
namespace conclave::engine::CONCLAVE_ISA {
namespace {

constexpr int kBlock = 16;       // tokens of a KV block: one lane each
constexpr int kStripBlocks = 4;  // blocks between two looks at the maximum
constexpr int kStrip = kBlock * kStripBlocks;

template <bool half>
CONCLAVE_INLINE F32x16 LoadCached(const std::byte* tile, int64_t row) {
  if constexpr (half) {
    return LoadHalf(tile + row * 32);
  } else {
    return Load(reinterpret_cast<const float*>(tile + row * 64));
  }
}

// 16 elements of a value vector.
template <bool half>
CONCLAVE_INLINE F32x16 LoadValue(const std::byte* tile, int64_t index) {
  if constexpr (half) {
    return LoadHalf(tile + index * 2);
  } else {
    return Load(reinterpret_cast<const float*>(tile + index * 4));
  }
}

alignas(64) constexpr float kLanes[16] = {0, 1, 2,  3,  4,  5,  6,  7,
                                          8, 9, 10, 11, 12, 13, 14, 15};

// What a row sees of a block's scores; ALiBi on the way. Lanes outside hold whatever the block
// holds there: replaced, not used.
CONCLAVE_INLINE F32x16 MaskScores(const AttentionTile& tile, int r, int64_t first_token,
                                  F32x16 score) {
  if (tile.slope[r] != 0.0f) {
    const auto from_last = static_cast<float>(first_token - (tile.visible[r] - 1));
    score = Fma(Add(Load(kLanes), Set1(from_last)), Set1(tile.slope[r]), score);
  }
  const int64_t seen = tile.visible[r] - first_token;
  score = KeepN(score, seen < 0 ? 0 : seen > 16 ? 16 : seen, -__builtin_inff());
  const int64_t hidden = tile.first[r] - first_token;
  if (hidden <= 0) return score;
  return SelectLess(Load(kLanes), Set1(static_cast<float>(hidden)), Set1(-__builtin_inff()), score);
}

// Scores of one block for N rows: even and odd dimensions in two sums, added at the end.
template <bool half, int N>
CONCLAVE_INLINE void BlockScores(const AttentionTile& tile, const std::byte* keys, int block,
                                 int64_t first_token, float (&scores)[kAttentionRows][kStrip]) {
  F32x16 even[N];
  F32x16 odd[N];
  for (int r = 0; r < N; ++r) even[r] = odd[r] = Set1(0.0f);
  int64_t d = 0;
  for (; d + 2 <= tile.head_dim; d += 2) {
    const F32x16 k0 = LoadCached<half>(keys, d);
    const F32x16 k1 = LoadCached<half>(keys, d + 1);
    for (int r = 0; r < N; ++r) {
      even[r] = Fma(k0, Set1(tile.q[r][d]), even[r]);
      odd[r] = Fma(k1, Set1(tile.q[r][d + 1]), odd[r]);
    }
  }
  if (d < tile.head_dim) {
    const F32x16 k0 = LoadCached<half>(keys, d);
    for (int r = 0; r < N; ++r) even[r] = Fma(k0, Set1(tile.q[r][d]), even[r]);
  }
  for (int r = 0; r < N; ++r) {
    const F32x16 score = Mul(Add(even[r], odd[r]), Set1(tile.scale));
    Store(&scores[r][block * kBlock], MaskScores(tile, r, first_token, score));
  }
}

// Turns the strip's scores into weights; returns by what the sums so far shrink.
CONCLAVE_INLINE float StripWeights(float (&score)[kStrip], float& max, F32x16& total) {
  const F32x16 s0 = Load(score);
  const F32x16 s1 = Load(score + 16);
  const F32x16 s2 = Load(score + 32);
  const F32x16 s3 = Load(score + 48);
  const float strip_max = ReduceMax(Max(Max(s0, s1), Max(s2, s3)));
  const float new_max = strip_max > max ? strip_max : max;
  if (new_max == -__builtin_inff()) {
    // The row sees nothing yet: its window begins in a later strip.
    for (int i = 0; i < kStrip; i += 16) Store(score + i, Set1(0.0f));
    return 1.0f;
  }
  const F32x16 shift = Set1(new_max);
  const float shrink = First(Exp(Sub(Set1(max), shift)));
  const F32x16 w0 = Exp(Sub(s0, shift));
  const F32x16 w1 = Exp(Sub(s1, shift));
  const F32x16 w2 = Exp(Sub(s2, shift));
  const F32x16 w3 = Exp(Sub(s3, shift));
  Store(score, w0);
  Store(score + 16, w1);
  Store(score + 32, w2);
  Store(score + 48, w3);
  total = Add(Mul(total, Set1(shrink)), Add(Add(w0, w1), Add(w2, w3)));
  max = new_max;
  return shrink;
}

// out += weights · values over the strip, E vectors of 16 output elements at a time. Each element
// has one chain of additions; several chains side by side hide their latency when rows are few.
template <bool half, int N, int E>
CONCLAVE_INLINE void AddValuesAt(const AttentionTile& tile, int64_t e, int64_t first_token,
                                 int64_t tokens, const float (&weights)[kAttentionRows][kStrip],
                                 const float (&shrink)[N], float (*sums)[kMaxValueDim]) {
  const int64_t row_elements = (static_cast<int64_t>(tile.value_dim) + 15) / 16 * 16;
  F32x16 sum[N][E];
  for (int r = 0; r < N; ++r) {
    for (int i = 0; i < E; ++i) sum[r][i] = Mul(Load(&sums[r][e + 16 * i]), Set1(shrink[r]));
  }
  for (int64_t t = 0; t < tokens; ++t) {
    const int64_t token = first_token + t;
    const std::byte* values =
        tile.keys + tile.blocks[token / kBlock] * tile.block_bytes + tile.values_offset;
    const int64_t at = token % kBlock * row_elements + e;
    for (int i = 0; i < E; ++i) {
      const F32x16 v = LoadValue<half>(values, at + 16 * i);
      for (int r = 0; r < N; ++r) sum[r][i] = Fma(v, Set1(weights[r][t]), sum[r][i]);
    }
  }
  for (int r = 0; r < N; ++r) {
    for (int i = 0; i < E; ++i) Store(&sums[r][e + 16 * i], sum[r][i]);
  }
}

// The same where values lie in the keys: 16 elements of 16 tokens at a time, turned over.
template <bool half, int N>
CONCLAVE_INLINE void AddValuesOfKeys(const AttentionTile& tile, int64_t first_token, int64_t tokens,
                                     const float (&weights)[kAttentionRows][kStrip],
                                     const float (&shrink)[N], float (*sums)[kMaxValueDim]) {
  for (int64_t e = 0; e < tile.value_dim; e += 16) {
    F32x16 sum[N];
    for (int r = 0; r < N; ++r) sum[r] = Mul(Load(&sums[r][e]), Set1(shrink[r]));
    for (int64_t t = 0; t < tokens; t += kBlock) {
      const std::byte* keys = tile.keys + tile.blocks[(first_token + t) / kBlock] * tile.block_bytes;
      F32x16 v[16];
      for (int i = 0; i < 16; ++i) v[i] = LoadCached<half>(keys, e + i);
      Transpose(v);
      const int64_t filled = tokens - t < kBlock ? tokens - t : kBlock;
      for (int i = 0; i < filled; ++i) {
        for (int r = 0; r < N; ++r) sum[r] = Fma(v[i], Set1(weights[r][t + i]), sum[r]);
      }
    }
    for (int r = 0; r < N; ++r) Store(&sums[r][e], sum[r]);
  }
}

template <bool half, int N>
CONCLAVE_INLINE void AddValues(const AttentionTile& tile, int64_t first_token, int64_t tokens,
                               const float (&weights)[kAttentionRows][kStrip],
                               const float (&shrink)[N], float (*sums)[kMaxValueDim]) {
  if (tile.values_in_keys) {
    AddValuesOfKeys<half, N>(tile, first_token, tokens, weights, shrink, sums);
    return;
  }
  constexpr int kWide = N == 1 ? 4 : N <= 4 ? 2 : 1;
  int64_t e = 0;
  for (; e + 16 * kWide <= tile.value_dim; e += 16 * kWide) {
    AddValuesAt<half, N, kWide>(tile, e, first_token, tokens, weights, shrink, sums);
  }
  for (; e < tile.value_dim; e += 16) {
    AddValuesAt<half, N, 1>(tile, e, first_token, tokens, weights, shrink, sums);
  }
}

// Asks for what is wanted soon: this block's values, and the keys one strip ahead. Blocks lie where
// the pool had room, so the hardware cannot guess the next one.
template <bool half>
CONCLAVE_INLINE void PrefetchAround(const AttentionTile& tile, int64_t token, int64_t longest) {
  constexpr int64_t kElementBytes = half ? 2 : 4;
  const std::byte* block = tile.keys + tile.blocks[token / kBlock] * tile.block_bytes;
  const int64_t value_bytes =
      tile.values_in_keys
          ? 0
          : (static_cast<int64_t>(tile.value_dim) + 15) / 16 * 16 * kBlock * kElementBytes;
  for (int64_t at = 0; at < value_bytes; at += 64) {
    __builtin_prefetch(block + tile.values_offset + at);
  }
  if (token + kStrip >= longest) return;
  const std::byte* ahead = tile.keys + tile.blocks[(token + kStrip) / kBlock] * tile.block_bytes;
  const int64_t key_bytes = static_cast<int64_t>(tile.head_dim) * kBlock * kElementBytes;
  for (int64_t at = 0; at < key_bytes; at += 64) __builtin_prefetch(ahead + at);
}

template <bool half, int N>
void AttendRows(const AttentionTile& tile) {
  alignas(64) float sums[N][kMaxValueDim];
  alignas(64) float scores[kAttentionRows][kStrip];
  float max[N];
  F32x16 total[N];
  int64_t longest = 0;
  int64_t begin = tile.first[0];
  for (int r = 0; r < N; ++r) {
    for (int64_t e = 0; e < tile.value_dim; e += 16) Store(&sums[r][e], Set1(0.0f));
    // A sink is a token seen before all others, whose value is nothing.
    max[r] = tile.sink[r];
    total[r] = KeepN(Set1(1.0f), tile.sink[r] == -__builtin_inff() ? 0 : 1, 0.0f);
    if (tile.visible[r] > longest) longest = tile.visible[r];
    if (tile.first[r] < begin) begin = tile.first[r];
  }
  // Strips lie at multiples of their length whatever a row sees.
  for (int64_t first = begin / kStrip * kStrip; first < longest; first += kStrip) {
    const int64_t tokens = longest - first < kStrip ? longest - first : kStrip;
    for (int b = 0; b < kStripBlocks; ++b) {
      const int64_t token = first + b * kBlock;
      if (token < longest) {
        const std::byte* keys = tile.keys + tile.blocks[token / kBlock] * tile.block_bytes;
        PrefetchAround<half>(tile, token, longest);
        BlockScores<half, N>(tile, keys, b, token, scores);
      } else {
        for (int r = 0; r < N; ++r) Store(&scores[r][b * kBlock], Set1(-__builtin_inff()));
      }
    }
    float shrink[N];
    for (int r = 0; r < N; ++r) shrink[r] = StripWeights(scores[r], max[r], total[r]);
    AddValues<half, N>(tile, first, tokens, scores, shrink, sums);
  }
  for (int r = 0; r < N; ++r) {
    const F32x16 inverse = Set1(1.0f / ReduceAdd(total[r]));
    for (int64_t e = 0; e < tile.value_dim; e += 16) {
      StoreN(tile.out[r] + e, Mul(Load(&sums[r][e]), inverse), tile.value_dim - e);
    }
  }
}

template <bool half>
void AttendAny(const AttentionTile& tile) {
  switch (tile.rows) {
    case 1:
      return AttendRows<half, 1>(tile);
    case 2:
      return AttendRows<half, 2>(tile);
    case 3:
      return AttendRows<half, 3>(tile);
    case 4:
      return AttendRows<half, 4>(tile);
    case 5:
      return AttendRows<half, 5>(tile);
    case 6:
      return AttendRows<half, 6>(tile);
    case 7:
      return AttendRows<half, 7>(tile);
    case 8:
      return AttendRows<half, 8>(tile);
  }
}

template <bool half>
void UnpackTile(const std::byte* tile, int64_t head_dim, int64_t tokens, float* out,
                int64_t out_stride) {
  for (int64_t d = 0; d < head_dim; d += 16) {
    const int64_t rows = head_dim - d < 16 ? head_dim - d : 16;
    F32x16 v[16];
    for (int i = 0; i < 16; ++i) v[i] = i < rows ? LoadCached<half>(tile, d + i) : Set1(0.0f);
    Transpose(v);
    for (int64_t t = 0; t < tokens; ++t) StoreN(out + t * out_stride + d, v[t], rows);
  }
}

void UnpackKeys(const std::byte* tile, bool half, int64_t head_dim, int64_t tokens, float* out,
                int64_t out_stride) {
  if (half) {
    UnpackTile<true>(tile, head_dim, tokens, out, out_stride);
  } else {
    UnpackTile<false>(tile, head_dim, tokens, out, out_stride);
  }
}

void Attend(const AttentionTile& tile) {
  return tile.half ? AttendAny<true>(tile) : AttendAny<false>(tile);
}

}  // namespace
}  // namespace conclave::engine::CONCLAVE_ISA
