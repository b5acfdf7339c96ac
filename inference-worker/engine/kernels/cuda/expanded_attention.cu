// Latent attention with keys and values of every head made first (docs/decisions/0009), of one
// sequence: some heads at a time, whose keys and values lie in blocks of their own as any others do
// and are attended over by the kernels that do that.
#include <algorithm>

#include "engine/kernels/cuda/attention.cuh"
#include "engine/kernels/cuda/attention_args.cuh"
#include "engine/kernels/cuda/device.cuh"
#include "engine/kernels/cuda/expanded_bytes.h"
#include "engine/kernels/cuda/moe.cuh"
#include "engine/kernels/cuda/panel_bytes.h"

using conclave::engine::ExpandedParts;
using conclave::engine::ExpandedShape;
using conclave::engine::PanelKind;

namespace {

template <bool kHalf>
__device__ inline float LoadElement(const uint8_t* at, int index) {
  if (kHalf) return HalfBits(reinterpret_cast<const uint16_t*>(at)[index]);
  return reinterpret_cast<const float*>(at)[index];
}

// The sequence alone: its blocks are numbered as they come, its tiles have 16 rows of one head.
__global__ void FillLists(ConclaveCudaSpan span, int num_blocks, int num_tiles,
                          ConclaveCudaSpan* spans, int32_t* blocks, int2* tiles) {
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (i == 0) *spans = span;
  if (i < num_blocks) blocks[i] = i;
  if (i < num_tiles) tiles[i] = make_int2(0, i * kTileRows);
}

// Latents of a block of 16 tokens as rows of fp32. A block of threads for each.
template <bool kHalf>
__global__ void Unpack(Tiles t, const int32_t* blocks, int first_block, int tokens, float* out) {
  const uint8_t* const keys =
      t.kv + blocks[first_block + static_cast<int>(blockIdx.x)] * t.block_bytes;
  const int first = static_cast<int>(blockIdx.x) * kBlockTokens;
  for (int i = static_cast<int>(threadIdx.x); i < t.head_dim * kBlockTokens;
       i += static_cast<int>(blockDim.x)) {
    const int token = first + i % kBlockTokens;
    if (token >= tokens) continue;
    out[static_cast<int64_t>(token) * t.head_dim + i / kBlockTokens] = LoadElement<kHalf>(keys, i);
  }
}

// What the matrices have made of some tokens' latents.
struct Made {
  const float* latents;  // [token][latent, rope]
  const float* keys;     // [token][head][nope, padded]
  const float* values;   // [token][head][value, padded]
  int32_t latent;
  int32_t nope;
  int32_t first;  // token
  int32_t unused;
};

// Into the blocks `kv` of the heads, a block of threads per token and head.
template <bool kHalf>
__global__ void StoreMade(Tiles t, uint8_t* kv, Made made) {
  const auto row = static_cast<int64_t>(blockIdx.x);
  const int head = static_cast<int>(blockIdx.y);
  const int token = made.first + static_cast<int>(blockIdx.x);
  const int place = token % kBlockTokens;
  const int key_pitch = (made.nope + 15) / 16 * 16;
  uint8_t* const to = kv + token / kBlockTokens * t.block_bytes + head * t.head_bytes;
  const float* const key = made.keys + (row * t.num_kv_heads + head) * key_pitch;
  const float* const rope =
      made.latents + row * (made.latent + t.head_dim - made.nope) + made.latent;
  const float* const value = made.values + (row * t.num_kv_heads + head) * t.value_pitch;
  const int step = static_cast<int>(blockDim.x);
  for (int d = static_cast<int>(threadIdx.x); d < t.head_dim; d += step) {
    StoreElement<kHalf>(to, d * kBlockTokens + place, d < made.nope ? key[d] : rope[d - made.nope]);
  }
  for (int d = static_cast<int>(threadIdx.x); d < t.value_dim; d += step) {
    StoreElement<kHalf>(to + t.values_offset, place * t.value_pitch + d, value[d]);
  }
}

// Some heads of a stack, as one matrix: panels of the next head follow those of the last.
ConclaveCudaMatrix HeadsOf(const ConclaveCudaMatrix& stack, int64_t first, int64_t heads) {
  const int64_t panels = CeilDiv(stack.out, 16);
  const int64_t panel_bytes =
      conclave::engine::CudaPanelBytes(static_cast<PanelKind>(stack.kind), stack.in);
  ConclaveCudaMatrix matrix = stack;
  matrix.panels = static_cast<const uint8_t*>(stack.panels) + first * panels * panel_bytes;
  matrix.matrices = 1;
  matrix.out = heads * panels * 16;
  return matrix;
}

// What the operation works in.
struct Room {
  uint8_t* kv;
  float* keys;
  float* values;
  float* latents;
  ConclaveCudaSpan* span;
  int32_t* blocks;
  int2* tiles;
};
Room RoomOf(ConclaveCudaContext* c, const ExpandedShape& shape, const ExpandedParts& parts,
            int64_t tokens) {
  auto* at = ScratchOf<uint8_t>(c, kExpanded, parts.bytes());
  Room room = {};
  if (at == nullptr) return room;
  const auto take = [&](int64_t bytes) {
    uint8_t* const taken = at;
    at += ExpandedParts::Rounded(bytes);
    return taken;
  };
  room.kv = take(parts.kv_bytes);
  room.keys = reinterpret_cast<float*>(take(parts.made_bytes));
  room.values = room.keys + parts.rows * parts.heads * ExpandedShape::Padded(shape.nope);
  room.latents = reinterpret_cast<float*>(take(parts.latent_bytes));
  room.span = reinterpret_cast<ConclaveCudaSpan*>(take(sizeof(ConclaveCudaSpan)));
  room.blocks = reinterpret_cast<int32_t*>(take(CeilDiv(tokens, kBlockTokens) * 4));
  room.tiles = reinterpret_cast<int2*>(at);
  return room;
}

}  // namespace

void ExpandedAttentionOp(ConclaveCudaContext* c, const ConclaveCudaKv* latents,
                         const ConclaveCudaExpanded* args) {
  const ConclaveCudaSpan span = c->host_spans[static_cast<size_t>(args->span)];
  const bool half = latents->half != 0;
  const ExpandedShape shape = {
      args->keys.matrices, args->keys.out,     latents->head_dim - latents->value_dim,
      args->values.out,    latents->value_dim, half ? 2 : 4};
  const int64_t tokens = int64_t{span.position} + span.rows;
  const ExpandedParts parts = ExpandedParts::Of(shape, tokens, span.rows);
  const Room room = RoomOf(c, shape, parts, tokens);
  const auto num_blocks = static_cast<int>(CeilDiv(tokens, kBlockTokens));
  const auto num_tiles = static_cast<int>(CeilDiv(span.rows, kTileRows));
  const ConclaveCudaSpan alone = {span.first_row, span.rows, span.position, 0};
  Launch(c, "expanded attention", FillLists, dim3(CeilDiv(std::max(num_blocks, num_tiles), 128)),
         128u, alone, num_blocks, num_tiles, room.span, room.blocks, room.tiles);
  const Tiles kept = TilesOf(*latents);
  for (int64_t first = 0; first < shape.heads && !c->failed; first += parts.heads) {
    const int64_t heads = std::min(parts.heads, shape.heads - first);
    const ConclaveCudaKv layout = {room.kv,
                                   static_cast<int32_t>(heads),
                                   static_cast<int32_t>(shape.key()),
                                   static_cast<int32_t>(shape.value),
                                   latents->half,
                                   0};
    AttendArgs a = {};
    a.t = TilesOf(layout);
    for (int64_t token = 0; token < tokens; token += parts.rows) {
      const int64_t rows = std::min(parts.rows, tokens - token);
      Launch(c, "expanded attention", half ? Unpack<true> : Unpack<false>,
             dim3(CeilDiv(rows, kBlockTokens)), 256u, kept, c->blocks + span.first_block,
             token / kBlockTokens, rows, room.latents);
      c->rounded = {};
      const int64_t key_pitch = ExpandedShape::Padded(shape.nope);
      const ConclaveCudaOutput outputs[2] = {
          {HeadsOf(args->keys, first, heads), nullptr, room.keys, heads * key_pitch},
          {HeadsOf(args->values, first, heads), nullptr, room.values, heads * a.t.value_pitch}};
      MatmulOp(c, outputs, 2, room.latents, latents->head_dim, rows);
      const Made made = {room.latents,
                         room.keys,
                         room.values,
                         latents->value_dim,
                         static_cast<int32_t>(shape.nope),
                         static_cast<int32_t>(token),
                         0};
      Launch(c, "expanded attention", half ? StoreMade<true> : StoreMade<false>,
             dim3(static_cast<unsigned>(rows), static_cast<unsigned>(heads)), 128u, a.t, room.kv,
             made);
    }
    a.spans = room.span;
    a.blocks = room.blocks;
    a.tiles = room.tiles;
    a.num_tiles = num_tiles;
    a.tile_rows = kTileRows;
    a.group = 1;
    a.q = args->q + first * shape.key();
    a.q_stride = args->q_stride;
    a.out = args->out + first * shape.value;
    a.out_stride = args->out_stride;
    a.scale = args->scale;
    half ? LaunchTileAttention(c, a, tokens) : LaunchVectorAttention(c, a, tokens, false);
  }
}
