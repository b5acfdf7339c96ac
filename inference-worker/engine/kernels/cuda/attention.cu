// Keys and values into their blocks, and causal attention over them: which kernels.
#include "engine/kernels/cuda/attention.cuh"

#include <algorithm>
#include <vector>

#include "engine/kernels/cuda/attention_args.cuh"
#include "engine/kernels/cuda/device.cuh"

namespace {

// A block per row and kv head. Without v: values lie in the keys.
template <bool kHalf>
__global__ void Store(Tiles t, uint8_t* kv, const int32_t* slots, const float* k, int64_t k_stride,
                      const float* v, int64_t v_stride) {
  const int64_t row = blockIdx.x;
  const int head = static_cast<int>(blockIdx.y);
  const int slot = slots[row];
  const int place = slot % kBlockTokens;
  uint8_t* const keys = kv + slot / kBlockTokens * t.block_bytes + head * t.head_bytes;
  const float* const key = k + row * k_stride + static_cast<int64_t>(head) * t.head_dim;
  const int step = static_cast<int>(blockDim.x);
  for (int d = static_cast<int>(threadIdx.x); d < t.head_dim; d += step) {
    StoreElement<kHalf>(keys, d * kBlockTokens + place, key[d]);
  }
  if (v == nullptr) return;
  const float* const value = v + row * v_stride + static_cast<int64_t>(head) * t.value_dim;
  for (int d = static_cast<int>(threadIdx.x); d < t.value_dim; d += step) {
    StoreElement<kHalf>(keys + t.values_offset, place * t.value_pitch + d, value[d]);
  }
}

}  // namespace

void PlanTiles(ConclaveCudaContext* c, AttendArgs& a, int tile_rows) {
  if (a.tiles != nullptr) return;
  if (c->attention_group != a.group || c->attention_tile_rows != tile_rows ||
      c->attention_span_rows != a.span_rows) {
    std::vector<int2> tiles;
    for (size_t s = 0; s < c->host_spans.size(); ++s) {
      if (c->host_spans[s].rows > a.span_rows) continue;
      for (int32_t first = 0; first < c->host_spans[s].rows * a.group; first += tile_rows) {
        tiles.push_back(make_int2(static_cast<int>(s), first));
      }
    }
    c->num_attention_tiles = static_cast<int32_t>(tiles.size());
    c->attention_tiles = InputOf(c, tiles.data(), static_cast<int64_t>(tiles.size()));
    c->attention_group = a.group;
    c->attention_tile_rows = tile_rows;
    c->attention_span_rows = a.span_rows;
  }
  a.tiles = c->attention_tiles;
  a.num_tiles = c->num_attention_tiles;
  a.tile_rows = tile_rows;
}

void StoreKvOp(ConclaveCudaContext* c, const ConclaveCudaKv* kv, const float* k, int64_t k_stride,
               const float* v, int64_t v_stride) {
  if (c->step_rows == 0) return;
  const Tiles t = TilesOf(*kv);
  const dim3 grid(static_cast<unsigned>(c->step_rows), static_cast<unsigned>(t.num_kv_heads));
  Launch(c, "storing keys", kv->half != 0 ? Store<true> : Store<false>, grid, 128u, t,
         static_cast<uint8_t*>(kv->kv), c->slots, k, k_stride,
         kv->values_in_keys != 0 ? nullptr : v, v_stride);
}

void AttentionOp(ConclaveCudaContext* c, const ConclaveCudaKv* kv,
                 const ConclaveCudaAttention* args) {
  if (c->step_rows == 0) return;
  AttendArgs a = {};
  a.t = TilesOf(*kv);
  a.group = args->num_heads / kv->num_kv_heads;
  a.spans = c->spans;
  a.blocks = c->blocks;
  a.q = args->q;
  a.q_stride = args->q_stride;
  a.out = args->out;
  a.out_stride = args->out_stride;
  a.scale = args->scale;
  a.window = args->window;
  a.sinks = args->sinks;
  a.slopes = args->alibi_slopes;
  a.span_rows = args->max_span_rows;
  int64_t longest = 0;
  for (const ConclaveCudaSpan& span : c->host_spans) {
    if (span.rows > a.span_rows) continue;
    longest = std::max<int64_t>(longest, span.position + span.rows);
  }
  if (longest == 0) return;
  const bool latent = kv->values_in_keys != 0;
  if (kv->half == 0) return LaunchVectorAttention(c, a, longest, latent);
  if (latent) return LaunchLatentAttention(c, a, longest);
  LaunchTileAttention(c, a, longest);
}
