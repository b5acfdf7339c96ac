// Linear layers and feed-forward networks out of the matrix kernels: which kernel, which rows,
// which expert. A slot is one (row, expert) pair; slots of an expert are neighbours. What a slot
// computes does not depend on where it lies, and a row adds its experts by ascending id.
#include "engine/kernels/cuda/moe.cuh"

#include <algorithm>

#include "engine/kernels/cuda/device.cuh"
#include "engine/kernels/cuda/matmul.cuh"
#include "engine/kernels/cuda/panel_bytes.h"
#include "engine/kernels/cuda/rows.cuh"

using conclave::engine::PanelKind;
using conclave::engine::RouterScore;
using conclave::engine::TakesInt8;

namespace {

constexpr int kExpertsMax = CONCLAVE_CUDA_EXPERTS_MAX;
constexpr int kTopKMax = CONCLAVE_CUDA_TOP_K_MAX;
constexpr int kGroupsMax = CONCLAVE_CUDA_GROUPS_MAX;

PanelKind KindOf(const ConclaveCudaMatrix& m) { return static_cast<PanelKind>(m.kind); }
bool Int8(const ConclaveCudaMatrix& m) { return TakesInt8(KindOf(m)); }

// --- routing ------------------------------------------------------------------------------------

// The largest of a warp's candidates, the lower index first among equals.
__device__ inline void WarpBest(float& best, int& best_id) {
  for (int d = 16; d > 0; d /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, best, d);
    const int other_id = __shfl_xor_sync(kAllLanes, best_id, d);
    if (other > best || (other == best && other_id < best_id)) {
      best = other;
      best_id = other_id;
    }
  }
}

// The best of values[0..n) that is not taken yet, by a warp; it is taken now. −inf is never chosen
// before anything else. When nothing compares (values that are no numbers): `fallback`.
__device__ inline int TakeBest(float* values, bool* taken, int n, int fallback) {
  const int lane = static_cast<int>(threadIdx.x);
  float best = -INFINITY;
  int best_id = n;
  for (int e = lane; e < n; e += 32) {
    if (!taken[e] && (values[e] > best || (best_id == n && values[e] == -INFINITY))) {
      best = values[e];
      best_id = e;
    }
  }
  WarpBest(best, best_id);
  if (best_id == n) best_id = fallback;
  if (lane == 0) taken[best_id] = true;
  __syncthreads();
  return best_id;
}

// A block of 32 threads per row.
__global__ void Route(ConclaveCudaRouter router, const float* logits, int64_t stride, int32_t* ids,
                      float* weights) {
  __shared__ float scores[kExpertsMax];
  __shared__ float choice[kExpertsMax];
  __shared__ bool taken[kExpertsMax];
  __shared__ float group_scores[kGroupsMax];
  __shared__ bool group_taken[kGroupsMax];
  __shared__ float chosen[kTopKMax];
  const int lane = static_cast<int>(threadIdx.x);
  const int64_t row = blockIdx.x;
  const int experts = router.num_experts;
  const float* const from = logits + row * stride;
  const auto score = static_cast<RouterScore>(router.score);

  float largest = -INFINITY;
  for (int e = lane; e < experts; e += 32) largest = fmaxf(largest, from[e]);
  largest = WarpMax(largest);
  float sum = 0.0f;
  for (int e = lane; e < experts; e += 32) {
    scores[e] = score == RouterScore::kSoftmax   ? expf(from[e] - largest)
                : score == RouterScore::kSigmoid ? 1.0f / (1.0f + expf(-from[e]))
                                                 : from[e];
    sum += scores[e];
  }
  sum = WarpSum(sum);
  for (int e = lane; e < experts; e += 32) {
    if (score == RouterScore::kSoftmax) scores[e] /= sum;
    choice[e] = router.selection_bias == nullptr ? scores[e] : scores[e] + router.selection_bias[e];
    taken[e] = false;
  }
  __syncthreads();
  if (router.num_groups_used < router.num_groups) {
    const int size = experts / router.num_groups;
    for (int g = 0; g < router.num_groups; ++g) {
      float total = 0.0f;
      for (int i = 0; i < router.group_best; ++i) {
        total += choice[g * size + TakeBest(choice + g * size, taken + g * size, size, i)];
      }
      if (lane == 0) {
        group_scores[g] = total;
        group_taken[g] = false;
      }
    }
    __syncthreads();
    for (int i = 0; i < router.num_groups_used; ++i) {
      TakeBest(group_scores, group_taken, router.num_groups, i);
    }
    for (int e = lane; e < experts; e += 32) {
      taken[e] = false;
      if (!group_taken[e / size]) choice[e] = -INFINITY;
    }
    __syncthreads();
  }
  for (int j = 0; j < router.top_k; ++j) {
    const int id = TakeBest(choice, taken, experts, j);
    if (lane == 0) {
      ids[row * router.top_k + j] = id;
      chosen[j] = scores[id];
    }
  }
  __syncthreads();
  if (lane != 0) return;
  // The chosen come in descending order, so that of their own softmax the first is the largest.
  const float first = chosen[0];
  float total = 0.0f;
  for (int j = 0; j < router.top_k; ++j) {
    if (score == RouterScore::kSoftmaxOfSelected) chosen[j] = expf(chosen[j] - first);
    total += chosen[j];
  }
  const bool divide = router.renormalize != 0 || score == RouterScore::kSoftmaxOfSelected;
  for (int j = 0; j < router.top_k; ++j) {
    const float weight = divide ? chosen[j] / (total + 1e-20f) : chosen[j];
    weights[row * router.top_k + j] = weight * router.scale;
  }
}

// Slots by expert and the tiles of `width` slots each; one block of 1024 threads. What has no
// expert here has no slot.
__global__ void SortSlots(const int32_t* ids, int64_t slots, int top_k, int experts, int width,
                          int32_t* row_of_slot, int32_t* slot_of, int4* tiles, int32_t* num_tiles) {
  __shared__ int count[kExpertsMax];
  __shared__ int start[kExpertsMax];
  __shared__ int first_tile[kExpertsMax];
  const int thread = static_cast<int>(threadIdx.x);
  for (int e = thread; e < experts; e += 1024) count[e] = 0;
  __syncthreads();
  for (int64_t i = thread; i < slots; i += 1024) {
    if (ids[i] >= 0) atomicAdd(&count[ids[i]], 1);
  }
  __syncthreads();
  if (thread < 32) {
    int slots_before = 0;
    int tiles_before = 0;
    for (int base = 0; base < experts; base += 32) {
      const int e = base + thread;
      const int mine = e < experts ? count[e] : 0;
      const int my_tiles = (mine + width - 1) / width;
      int slots_sum = mine;
      int tiles_sum = my_tiles;
      for (int d = 1; d < 32; d *= 2) {
        const int lower_slots = __shfl_up_sync(kAllLanes, slots_sum, d);
        const int lower_tiles = __shfl_up_sync(kAllLanes, tiles_sum, d);
        if (thread >= d) {
          slots_sum += lower_slots;
          tiles_sum += lower_tiles;
        }
      }
      if (e < experts) {
        start[e] = slots_before + slots_sum - mine;
        first_tile[e] = tiles_before + tiles_sum - my_tiles;
      }
      slots_before += __shfl_sync(kAllLanes, slots_sum, 31);
      tiles_before += __shfl_sync(kAllLanes, tiles_sum, 31);
    }
    if (thread == 0) *num_tiles = tiles_before;
  }
  __syncthreads();
  for (int e = thread; e < experts; e += 1024) {
    for (int done = 0; done < count[e]; done += width) {
      tiles[first_tile[e] + done / width] =
          make_int4(e, start[e] + done, min(width, count[e] - done), 0);
    }
  }
  __syncthreads();
  for (int64_t i = thread; i < slots; i += 1024) {
    if (ids[i] < 0) continue;
    const int slot = atomicAdd(&start[ids[i]], 1);
    row_of_slot[slot] = static_cast<int32_t>(i / top_k);
    slot_of[i] = slot;
  }
}

// y = Σ weight · part, experts by ascending order. A block has one row and 256 columns.
__global__ void Combine(const float* part, int64_t hidden, const int32_t* ids, const int32_t* order,
                        const float* weights, const int32_t* slot_of, int top_k, float* y,
                        int64_t y_stride) {
  __shared__ int slot[kTopKMax];
  __shared__ float weight[kTopKMax];
  const int64_t row = blockIdx.x;
  const int j = static_cast<int>(threadIdx.x);
  if (j < top_k) {
    // My place is how many come before me.
    const int id = ids[row * top_k + j];
    const int mine = order[row * top_k + j];
    int place = 0;
    for (int i = 0; i < top_k; ++i) {
      const int other = order[row * top_k + i];
      if (other < mine || (other == mine && i < j)) ++place;
    }
    slot[place] = id < 0 ? -1 : slot_of[row * top_k + j];
    weight[place] = weights[row * top_k + j];
  }
  __syncthreads();
  const int64_t h = static_cast<int64_t>(blockIdx.y) * blockDim.x + threadIdx.x;
  if (h >= hidden) return;
  float sum = 0.0f;
  for (int i = 0; i < top_k; ++i) {
    if (slot[i] >= 0) sum = fmaf(part[slot[i] * hidden + h], weight[i], sum);
  }
  y[row * y_stride + h] = sum;
}

// --- networks -----------------------------------------------------------------------------------

// Whether the quantised matrices of a plan take fp16 rows.
bool TakesHalves(const ConclaveCudaContext* c, const TilePlan& plan) {
  return c->fast && plan.width >= kTileWidth;
}

// x as the given matrices want it.
Activations Prepare(ConclaveCudaContext* c, bool int8, const TilePlan& plan, const float* x,
                    int64_t x_stride, int64_t rows, int64_t cols) {
  Activations result;
  result.x = x;
  result.x_stride = x_stride;
  if (!int8) return result;
  if (TakesHalves(c, plan)) {
    auto* const halves = ScratchOf<uint16_t>(c, kInputHalves, rows * cols);
    float* const scales = ScratchOf<float>(c, kInputScales, rows);
    HalveRowsOf(c, x, x_stride, rows, cols, halves, scales);
    result.halves = halves;
    result.half_scales = scales;
    return result;
  }
  c->rounds_norms = true;
  int8_t* const q = ScratchOf<int8_t>(c, kInputInt8, rows * cols);
  float2* const meta = ScratchOf<float2>(c, kInputMeta, rows * (cols / 32));
  const ConclaveCudaContext::Rounded& there = c->rounded;
  if (there.x != x || there.stride != x_stride || there.rows < rows || there.cols != cols) {
    QuantizeRows(c, x, x_stride, rows, cols, q, meta);
    c->rounded = {x, x_stride, rows, cols};
  }
  result.q = q;
  result.meta = meta;
  return result;
}

bool TakesInt8Input(const ConclaveCudaFfn& w) {
  return Int8(w.up) || (w.gate.panels != nullptr && Int8(w.gate));
}
bool IsF32(const ConclaveCudaMatrix& m) {
  return m.panels != nullptr && KindOf(m) == PanelKind::kF32;
}

// gate and up of the plan's slots, then what `down` takes.
Activations Middle(ConclaveCudaContext* c, const ConclaveCudaFfn& w, const Activations& x,
                   const TilePlan& plan, int64_t slots) {
  const int64_t ffn = w.up.out;
  const bool gated = w.gate.panels != nullptr;
  float* const gate = gated ? ScratchOf<float>(c, kGate, slots * ffn) : nullptr;
  float* const up = ScratchOf<float>(c, kUp, slots * ffn);
  const ConclaveCudaOutput outputs[2] = {{w.up, w.up_bias, up, ffn},
                                         {w.gate, w.gate_bias, gate, ffn}};
  MultiplyAll(c, outputs, gated ? 2 : 1, x, plan);
  Activations result;
  if (!Int8(w.down)) {
    ActivateOp(c, w.activation, gate, up, slots * ffn, up);
    result.x = up;
    result.x_stride = ffn;
    return result;
  }
  if (TakesHalves(c, plan)) {
    auto* const halves = ScratchOf<uint16_t>(c, kMiddleHalves, slots * ffn);
    float* const scales = ScratchOf<float>(c, kMiddleScales, slots);
    HalveActivated(c, w.activation, gate, up, slots, ffn, halves, scales);
    result.halves = halves;
    result.half_scales = scales;
    return result;
  }
  int8_t* const q = ScratchOf<int8_t>(c, kMiddleInt8, slots * ffn);
  float2* const meta = ScratchOf<float2>(c, kMiddleMeta, slots * (ffn / 32));
  ActivateQuantize(c, w.activation, gate, up, slots, ffn, q, meta);
  result.q = q;
  result.meta = meta;
  return result;
}

// Slots of a tile, and which kernels. Bits do not depend on it, so it is the fastest by the figures
// of docs/speed.md; for 4 to 31 slots of an expert by reckoning from them.
TilePlan PlanSlots(const ConclaveCudaContext* c, const ConclaveCudaFfn& w, int64_t slots) {
  TilePlan plan;
  const bool has_f32 = IsF32(w.up) || IsF32(w.gate) || IsF32(w.down);
  const bool all_int8 = Int8(w.up) && Int8(w.down) && (w.gate.panels == nullptr || Int8(w.gate));
  const int64_t experts = w.up.matrices;
  const int64_t each = slots / experts;
  const int64_t widest = has_f32 ? 8 : kFastWidth;  // the vector units take eights
  const int64_t wanted = slots <= experts / 8                  ? 1
                         : each == 0                           ? 2
                         : each < 4                            ? 4
                         : each < 6                            ? 8
                         : each <= 48                          ? 32
                         : each <= 96 || !c->fast || !all_int8 ? kTileWidth
                                                               : kFastWidth;
  plan.width = static_cast<int32_t>(std::min(wanted, widest));
  plan.many = plan.width > 8;
  plan.max_tiles = static_cast<int32_t>(std::min(slots, experts) + slots / plan.width);
  return plan;
}

}  // namespace

TilePlan PlanRows(const ConclaveCudaContext* c, int64_t rows) {
  TilePlan plan;
  plan.rows = static_cast<int32_t>(rows);
  plan.many = rows > 32;
  plan.width = 1;
  const int widest = c->fast ? kFastWidth : kTileWidth;
  while (plan.width < rows && plan.width < widest) plan.width *= 2;
  return plan;
}

void MultiplyAll(ConclaveCudaContext* c, const ConclaveCudaOutput* outputs, int num,
                 const Activations& activations, const TilePlan& plan) {
  bool done[kMaxOutputs] = {};
  for (int first = 0; first < num; ++first) {
    if (done[first]) continue;
    const PanelKind kind = KindOf(outputs[first].weight);
    const bool fast = TakesInt8(kind) && activations.halves != nullptr;
    TilePlan own = plan;
    if (!fast && plan.tiles == nullptr) own.width = std::min(plan.width, kTileWidth);
    MatrixLaunch launch = {};
    launch.in = static_cast<int32_t>(outputs[first].weight.in);
    launch.panel_bytes = conclave::engine::CudaPanelBytes(kind, launch.in);
    launch.quant_bytes = conclave::engine::CudaQuantBytes(kind, launch.in);
    launch.tiles = plan.tiles;
    launch.num_tiles = plan.num_tiles;
    launch.row_of_slot = plan.row_of_slot;
    launch.rows = plan.rows;
    launch.heads = plan.heads;
    launch.width = own.width;
    launch.q = activations.q;
    launch.meta = activations.meta;
    launch.halves = activations.halves;
    launch.half_scales = activations.half_scales;
    launch.x = activations.x;
    launch.x_stride = activations.x_stride;
    launch.aligned = launch.x_stride % 4 == 0 && reinterpret_cast<uintptr_t>(launch.x) % 16 == 0;
    for (int i = first; i < num; ++i) {
      if (done[i] || KindOf(outputs[i].weight) != kind) continue;
      done[i] = true;
      launch.runs[launch.num_runs++] = {static_cast<const uint8_t*>(outputs[i].weight.panels),
                                        outputs[i].bias,
                                        outputs[i].y,
                                        outputs[i].y_stride,
                                        static_cast<int32_t>(outputs[i].weight.out),
                                        0};
    }
    if (fast) {
      MultiplyFast(c, kind, launch, own);
    } else if (TakesInt8(kind)) {
      MultiplyQuantised(c, kind, launch, own);
    } else if (kind == PanelKind::kF32) {
      MultiplyFloats(c, launch, own);
    } else {
      MultiplyHalves(c, kind, launch, own);
    }
  }
}

void MatmulOp(ConclaveCudaContext* c, const ConclaveCudaOutput* outputs, int32_t num_outputs,
              const float* x, int64_t x_stride, int64_t rows) {
  bool int8 = false;
  for (int i = 0; i < num_outputs; ++i) int8 = int8 || Int8(outputs[i].weight);
  const TilePlan plan = PlanRows(c, rows);
  const Activations activations = Prepare(c, int8, plan, x, x_stride, rows, outputs[0].weight.in);
  for (int i = 0; i < num_outputs; i += kMaxOutputs) {
    MultiplyAll(c, outputs + i, std::min(kMaxOutputs, num_outputs - i), activations, plan);
  }
  // What was rounded of other rows may have been written over.
  if (c->rounded.x != x) c->rounded = {};
}

void MatmulHeadsOp(ConclaveCudaContext* c, const ConclaveCudaMatrix* weight, const float* x,
                   int64_t x_head, int64_t rows, float* y, int64_t y_head) {
  const int64_t heads = weight->matrices;
  TilePlan plan = PlanRows(c, rows);
  plan.heads = static_cast<int32_t>(heads);
  const Activations activations =
      Prepare(c, Int8(*weight), plan, x, x_head, rows * heads, weight->in);
  const ConclaveCudaOutput output = {*weight, nullptr, y, y_head};
  MultiplyAll(c, &output, 1, activations, plan);
}

void FfnOp(ConclaveCudaContext* c, const ConclaveCudaFfn* w, const float* x, int64_t x_stride,
           int64_t rows, float* y, int64_t y_stride) {
  const TilePlan plan = PlanRows(c, rows);
  const Activations input = Prepare(c, TakesInt8Input(*w), plan, x, x_stride, rows, w->up.in);
  const Activations middle = Middle(c, *w, input, plan, rows);
  const ConclaveCudaOutput down = {w->down, w->down_bias, y, y_stride};
  MultiplyAll(c, &down, 1, middle, plan);
}

void MoeOp(ConclaveCudaContext* c, const ConclaveCudaFfn* w, const ConclaveCudaRouting* routing,
           const float* x, int64_t x_stride, int64_t rows, float* y, int64_t y_stride) {
  const int64_t slots = rows * routing->top_k;
  const int64_t experts = w->up.matrices;
  const int64_t hidden = w->down.out;
  TilePlan plan = PlanSlots(c, *w, slots);
  int32_t* const row_of_slot = ScratchOf<int32_t>(c, kSlotRow, slots);
  int32_t* const slot_of = ScratchOf<int32_t>(c, kSlotOf, slots);
  int4* const tiles = ScratchOf<int4>(c, kTiles, plan.max_tiles);
  int32_t* const num_tiles = ScratchOf<int32_t>(c, kTileCount, 1);
  Launch(c, "sorting by expert", SortSlots, dim3(1), 1024u, routing->ids, slots, routing->top_k,
         static_cast<int>(experts), plan.width, row_of_slot, slot_of, tiles, num_tiles);
  plan.tiles = tiles;
  plan.num_tiles = num_tiles;
  plan.row_of_slot = row_of_slot;
  const Activations input = Prepare(c, TakesInt8Input(*w), plan, x, x_stride, rows, w->up.in);
  const Activations middle = Middle(c, *w, input, plan, slots);
  float* const part = ScratchOf<float>(c, kPart, slots * hidden);
  plan.row_of_slot = nullptr;  // the middle lies by slot
  const ConclaveCudaOutput down = {w->down, w->down_bias, part, hidden};
  MultiplyAll(c, &down, 1, middle, plan);
  Launch(c, "adding experts", Combine, dim3(static_cast<unsigned>(rows), CeilDiv(hidden, 256)),
         256u, part, hidden, routing->ids,
         routing->order != nullptr ? routing->order : routing->ids, routing->weights, slot_of,
         routing->top_k, y, y_stride);
}

void RouteOp(ConclaveCudaContext* c, const ConclaveCudaRouter* router, const float* logits,
             int64_t stride, int64_t rows, int32_t* ids, float* weights) {
  Launch(c, "routing", Route, dim3(static_cast<unsigned>(rows)), 32u, *router, logits, stride, ids,
         weights);
}
