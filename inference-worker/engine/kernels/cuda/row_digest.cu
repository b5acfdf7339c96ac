// Rows of logits that are read in part: changed, digested and fetched block by block. Digests have
// the bits of the processors' kernels (cpu/isa/common: LargestByBlock, WeighByBlock, Exp): half a
// warp is their sixteen lanes. Results go over the bus into the host's memory, each line once.
#include "engine/kernels/cuda/row_digest.cuh"

#include <climits>

#include "engine/kernels/cuda/device.cuh"
#include "engine/kernels/cuda/rows.cuh"
#include "engine/kernels/types.h"

namespace {

using conclave::engine::kScanBlock;
using Kind = conclave::engine::RowChange::Kind;

static_assert(conclave::engine::kRowFactors == CONCLAVE_CUDA_ROW_FACTORS);
static_assert(conclave::engine::kChangeLists == CONCLAVE_CUDA_CHANGE_LISTS);

constexpr unsigned kThreads = 256;
constexpr int kLanes = 16;
constexpr int kPerLane = static_cast<int>(kScanBlock) / kLanes;
constexpr int kRounds = 2;                                             // blocks of a half-warp
constexpr int kChunk = static_cast<int>(kThreads) / kLanes * kRounds;  // blocks of a thread block
constexpr int kHeader = 2;  // floats before a row's lists

int64_t BlocksOf(int64_t n) { return CeilDiv(n, kScanBlock); }

// Exp of cpu/isa/common/math.inl, for x in [-80, 0].
__device__ float Exp(float x) {
  const int n = __float2int_rn(x * 1.44269504088896341f);
  const float nf = static_cast<float>(n);
  float r = fmaf(nf, -0.693359375f, x);
  r = fmaf(nf, 2.12194440e-4f, r);
  float p = 1.0f / 5040.0f;
  p = fmaf(p, r, 1.0f / 720.0f);
  p = fmaf(p, r, 1.0f / 120.0f);
  p = fmaf(p, r, 1.0f / 24.0f);
  p = fmaf(p, r, 1.0f / 6.0f);
  p = fmaf(p, r, 0.5f);
  p = fmaf(p, r, 1.0f);
  p = fmaf(p, r, 1.0f);
  return p * __uint_as_float(static_cast<uint32_t>(n + 127) << 23);
}

__device__ int BlockMin(int x, int* shared) {
  for (int d = 16; d > 0; d /= 2) x = min(x, __shfl_xor_sync(kAllLanes, x, d));
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = x;
  __syncthreads();
  int least = shared[0];
  for (unsigned w = 1; w < blockDim.x / 32; ++w) least = min(least, shared[w]);
  __syncthreads();
  return least;
}

__global__ void MaskRows(float* x, int n, const ConclaveCudaRowRequest* requests,
                         const uint32_t* allowed, int words) {
  const int mask = requests[blockIdx.y].allowed;
  const int i = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (mask < 0 || i >= n) return;
  const uint32_t bits = allowed[static_cast<int64_t>(mask) * words + i / 32];
  if ((bits >> i % 32 & 1u) == 0) x[static_cast<int64_t>(blockIdx.y) * n + i] = -INFINITY;
}

__device__ float Changed(float x, const ConclaveCudaRowChange& change) {
  if (change.kind == static_cast<int>(Kind::kAdd)) return x + change.value;
  if (change.kind == static_cast<int>(Kind::kSet)) return change.value;
  return x > 0.0f ? x / change.value : x * change.value;
}

// The first change of an id is followed by the others.
__global__ void ChangeRows(float* x, int64_t n, const ConclaveCudaRowChange* changes,
                           int64_t count) {
  int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const int row = changes[i].row;
  const int id = changes[i].id;
  if (i > 0 && changes[i - 1].row == row && changes[i - 1].id == id) return;
  float value = x[row * n + id];
  for (; i < count && changes[i].row == row && changes[i].id == id; ++i) {
    value = Changed(value, changes[i]);
  }
  x[row * n + id] = value;
}

__global__ void LargestOfBlocks(const float* x, int n, int blocks, float* largest) {
  const int block = static_cast<int>(blockIdx.x * (kThreads / kLanes) + threadIdx.x / kLanes);
  const int lane = static_cast<int>(threadIdx.x % kLanes);
  const float* const row = x + static_cast<int64_t>(blockIdx.y) * n;
  float most = -INFINITY;
  for (int i = 0; i < kPerLane; ++i) {
    const int at = block * static_cast<int>(kScanBlock) + i * kLanes + lane;
    const float value = block < blocks && at < n ? row[at] : -INFINITY;
    most = value > most ? value : most;  // NaN is not
  }
  for (int d = kLanes / 2; d > 0; d /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, most, d);
    most = other > most ? other : most;
  }
  if (lane == 0 && block < blocks)
    largest[static_cast<int64_t>(blockIdx.y) * blocks + block] = most;
}

// A block's weights and their sum; the sum in every lane.
__device__ float SumOfBlock(const float* row, int n, int block, float max, float factor) {
  const int lane = static_cast<int>(threadIdx.x % kLanes);
  float sum = 0.0f;
  for (int i = 0; i < kPerLane; ++i) {
    const int at = block * static_cast<int>(kScanBlock) + i * kLanes + lane;
    const float power = at < n ? (row[at] - max) * factor : -INFINITY;
    sum += -80.0f < power ? Exp(power) : 0.0f;
  }
  for (int d = kLanes / 2; d > 0; d /= 2) sum += __shfl_xor_sync(kAllLanes, sum, d);
  return sum;
}

// The first of the largest, by the first block that has it.
__device__ int FirstOf(const float* row, int n, const float* largest, int blocks, float max,
                       int* shared) {
  int block = INT_MAX;
  for (int b = static_cast<int>(threadIdx.x); b < blocks && block == INT_MAX; b += kThreads) {
    if (largest[b] == max) block = b;
  }
  const int first = BlockMin(block, shared);
  const int at = first * static_cast<int>(kScanBlock) + static_cast<int>(threadIdx.x);
  return BlockMin(at < n && row[at] == max ? at : INT_MAX, shared);
}

// A chunk of a row's blocks, each thread block by itself: all see the row's largest first.
__global__ void DigestChunk(const float* x, int n, int blocks, const float* largest_of_blocks,
                            const ConclaveCudaRowRequest* requests, float* out) {
  __shared__ float shared[32];
  __shared__ int shared_ints[32];
  __shared__ float sums[kChunk];
  const ConclaveCudaRowRequest request = requests[blockIdx.y];
  const float* const row = x + static_cast<int64_t>(blockIdx.y) * n;
  const float* const largest = largest_of_blocks + static_cast<int64_t>(blockIdx.y) * blocks;
  float* const mine =
      out + static_cast<int64_t>(blockIdx.y) * (kHeader + (1 + CONCLAVE_CUDA_ROW_FACTORS) * blocks);
  const int thread = static_cast<int>(threadIdx.x);
  float most = -INFINITY;
  for (int b = thread; b < blocks; b += kThreads) most = fmaxf(most, largest[b]);
  const float max = BlockMax(most, shared);
  if (blockIdx.x == 0) {
    const bool any = max > -INFINITY;
    const int best = any ? FirstOf(row, n, largest, blocks, max, shared_ints) : -1;
    if (thread == 0) mine[0] = max;
    if (thread == 1) mine[1] = __int_as_float(best);
  }
  const int first = static_cast<int>(blockIdx.x) * kChunk;
  const int count = min(kChunk, blocks - first);
  if (request.largest != 0 && thread < count) {
    mine[kHeader + first + thread] = largest[first + thread];
  }
  for (int f = 0; f < CONCLAVE_CUDA_ROW_FACTORS; ++f) {
    const float factor = request.factors[f];
    if (factor == 0.0f) continue;
    for (int r = 0; r < kRounds; ++r) {
      const int i = r * static_cast<int>(kThreads) / kLanes + thread / kLanes;
      const float sum = SumOfBlock(row, n, first + i, max, factor);
      if (thread % kLanes == 0) sums[i] = sum;
    }
    __syncthreads();
    if (thread < count) mine[kHeader + (1 + f) * blocks + first + thread] = sums[thread];
    __syncthreads();
  }
}

// A warp has a block.
__global__ void CopyBlocks(const float* x, int n, const ConclaveCudaRowBlock* blocks, int64_t count,
                           float* out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * (kThreads / 32) + threadIdx.x / 32;
  if (i >= count) return;
  const ConclaveCudaRowBlock from = blocks[i];
  const float* const row = x + static_cast<int64_t>(from.row) * n;
  for (int j = static_cast<int>(threadIdx.x % 32); j < static_cast<int>(kScanBlock); j += 32) {
    const int at = from.block * static_cast<int>(kScanBlock) + j;
    out[i * kScanBlock + j] = at < n ? row[at] : -INFINITY;
  }
}

void Change(ConclaveCudaContext* c, const ConclaveCudaRows& rows,
            const ConclaveCudaRowRequest* requests) {
  const int64_t n = rows.n;
  if (rows.num_allowed > 0) {
    const int64_t words = CeilDiv(n, 64);
    const uint64_t* const allowed = InputOf(c, rows.allowed, rows.num_allowed * words);
    Launch(c, "masks of rows", MaskRows,
           dim3(CeilDiv(n, kThreads), static_cast<unsigned>(rows.rows)), kThreads, rows.x,
           static_cast<int>(n), requests, reinterpret_cast<const uint32_t*>(allowed),
           static_cast<int>(words * 2));
  }
  for (int list = 0; list < CONCLAVE_CUDA_CHANGE_LISTS; ++list) {
    const int64_t count = rows.num_changes[list];
    if (count == 0) continue;
    const ConclaveCudaRowChange* const changes = InputOf(c, rows.changes[list], count);
    Launch(c, "changes of rows", ChangeRows, dim3(CeilDiv(count, kThreads)), kThreads, rows.x, n,
           changes, count);
  }
}

bool IsMoreThanBest(const ConclaveCudaRows& rows) {
  for (int64_t i = 0; i < rows.rows; ++i) {
    const ConclaveCudaRowRequest& request = rows.requests[i];
    if (request.largest != 0) return true;
    for (const float factor : request.factors) {
      if (factor != 0) return true;
    }
  }
  return false;
}

}  // namespace

int64_t LargestBytes(int64_t rows, int64_t n) {
  return rows * BlocksOf(n) * static_cast<int64_t>(sizeof(float));
}
int64_t DigestBytes(int64_t rows, int64_t n) {
  const int64_t floats = kHeader + (1 + CONCLAVE_CUDA_ROW_FACTORS) * BlocksOf(n);
  return CeilDiv(rows * floats * static_cast<int64_t>(sizeof(float)), 256) * int64_t{256};
}
int64_t BlockBytes(int64_t rows, int64_t n) {
  return rows * BlocksOf(n) * kScanBlock * static_cast<int64_t>(sizeof(float));
}

const float* DigestRows(ConclaveCudaContext* c, const ConclaveCudaRows* given) {
  const ConclaveCudaRows& rows = *given;
  StartStep(c);
  c->rounded = {};
  if (c->failed) return nullptr;
  if (!RoomForResult(c, DigestBytes(rows.rows, rows.n) + BlockBytes(rows.rows, rows.n))) {
    Fail(c, "pinned memory of results", "out of memory");
    return nullptr;
  }
  c->digested = {rows.x, rows.n, DigestBytes(rows.rows, rows.n)};
  auto* const out = reinterpret_cast<float*>(c->result.data);
  if (rows.rows == 0) return out;
  const auto blocks = static_cast<int>(BlocksOf(rows.n));
  const auto num_rows = static_cast<unsigned>(rows.rows);
  const ConclaveCudaRowRequest* const requests = InputOf(c, rows.requests, rows.rows);
  float* const largest = ScratchOf<float>(c, kRowLargest, rows.rows * blocks);
  Change(c, rows, requests);
  Launch(c, "largest of blocks", LargestOfBlocks,
         dim3(CeilDiv(blocks, kThreads / kLanes), num_rows), kThreads, rows.x,
         static_cast<int>(rows.n), blocks, largest);
  const unsigned chunks = IsMoreThanBest(rows) ? CeilDiv(blocks, kChunk) : 1;
  Launch(c, "digests of rows", DigestChunk, dim3(chunks, num_rows), kThreads, rows.x,
         static_cast<int>(rows.n), blocks, largest, requests, out);
  return c->failed ? nullptr : out;
}

float* FetchBlocks(ConclaveCudaContext* c, const ConclaveCudaRowBlock* blocks, int64_t count) {
  if (c->failed) return nullptr;
  auto* const out = reinterpret_cast<float*>(c->result.data + c->digested.used);
  if (count == 0) return out;
  c->digested.used += count * kScanBlock * static_cast<int64_t>(sizeof(float));
  const ConclaveCudaRowBlock* const places = InputOf(c, blocks, count);
  Launch(c, "blocks of rows", CopyBlocks, dim3(CeilDiv(count, kThreads / 32)), kThreads,
         c->digested.x, static_cast<int>(c->digested.n), places, count, out);
  return c->failed ? nullptr : out;
}
