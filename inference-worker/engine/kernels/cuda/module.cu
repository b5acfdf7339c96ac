// The module's door: devices, memory, inputs and results of a step, and the table of operations.
#include "engine/kernels/cuda/module.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "engine/kernels/cuda/attention.cuh"
#include "engine/kernels/cuda/attention_args.cuh"
#include "engine/kernels/cuda/context.cuh"
#include "engine/kernels/cuda/hand_over.cuh"
#include "engine/kernels/cuda/moe.cuh"
#include "engine/kernels/cuda/row_digest.cuh"
#include "engine/kernels/cuda/rows.cuh"
#include "engine/kernels/types.h"

#define CONCLAVE_EXPORT extern "C" __attribute__((visibility("default")))

namespace {
constexpr int64_t kChunkBytes = int64_t{1} << 20;  // of inputs
}

bool Await(ConclaveCudaContext* c, cudaEvent_t event, const char* what) {
  using Clock = std::chrono::steady_clock;
  constexpr int kSpins = 20000;  // some ten milliseconds; then the core is lent to others
  const Clock::time_point start = Clock::now();
  for (int64_t round = 1;; ++round) {
    const cudaError_t status = cudaEventQuery(event);
    if (status == cudaSuccess) return true;
    if (status != cudaErrorNotReady) return Check(c, status, what);
    if (round > kSpins) std::this_thread::yield();
    if (round % 64 == 0 &&
        std::chrono::duration<double>(Clock::now() - start).count() > c->wait_seconds) {
      Hang(c, what);
      return false;
    }
  }
}

bool AwaitStream(ConclaveCudaContext* c, const char* what) {
  if (c->failed) return false;
  return Check(c, cudaEventRecord(c->reached, c->stream), what) && Await(c, c->reached, what);
}

void* Scratch(ConclaveCudaContext* c, ScratchId id, int64_t bytes) {
  ConclaveCudaContext::Piece& piece = c->scratch[id];
  if (c->failed) return nullptr;
  if (bytes <= piece.bytes) return piece.data;
  // Launches of this step may still read the old piece.
  if (piece.data != nullptr) c->outgrown.push_back(piece.data);
  piece = {};
  // Half as much again, so that a slowly growing batch does not allocate at every step.
  const int64_t wanted = bytes + bytes / 2;
  void* data = nullptr;
  if (!Check(c, cudaMalloc(&data, static_cast<size_t>(wanted)), "scratch memory of a step")) {
    return nullptr;
  }
  piece = {static_cast<char*>(data), wanted};
  return data;
}

namespace {

// Memory for inputs beyond what there is. False without room; the device itself is well.
bool AddInputChunk(ConclaveCudaContext* c, int64_t bytes) {
  void* pinned = nullptr;
  void* device = nullptr;
  if (cudaMallocHost(&pinned, static_cast<size_t>(bytes)) != cudaSuccess ||
      cudaMalloc(&device, static_cast<size_t>(bytes)) != cudaSuccess) {
    cudaGetLastError();
    cudaFreeHost(pinned);
    return false;
  }
  c->inputs.push_back({static_cast<char*>(pinned), static_cast<char*>(device), bytes});
  return true;
}

}  // namespace

const void* Input(ConclaveCudaContext* c, const void* host, int64_t bytes, int64_t reserved) {
  if (c->failed) return nullptr;
  const int64_t rounded = (std::max(bytes, reserved) + 255) / 256 * 256;
  // A graph's inputs are one chunk's.
  if (c->input_used + rounded > kChunkBytes) LeaveStepGraph(c);
  while (c->input_chunk < c->inputs.size() &&
         c->input_used + rounded > c->inputs[c->input_chunk].bytes) {
    ++c->input_chunk;
    c->input_used = 0;
  }
  if (c->input_chunk == c->inputs.size()) {
    if (!AddInputChunk(c, std::max(kChunkBytes, rounded))) {
      Fail(c, "memory of inputs", "out of memory");
      return nullptr;
    }
  }
  const ConclaveCudaContext::InputChunk& chunk = c->inputs[c->input_chunk];
  char* const pinned = chunk.host + c->input_used;
  char* const device = chunk.device + c->input_used;
  c->input_used += rounded;
  std::memcpy(pinned, host, static_cast<size_t>(bytes));
  if (c->graphs.mode != StepGraphs::Mode::kOff) return device;  // copied with all others
  Check(c,
        cudaMemcpyAsync(device, pinned, static_cast<size_t>(bytes), cudaMemcpyHostToDevice,
                        c->stream),
        "inputs");
  c->input_copied = c->input_used;
  return device;
}

namespace {

void Say(char* error, size_t error_size, const char* what, cudaError_t status) {
  std::snprintf(error, error_size, "%s: %s", what, cudaGetErrorString(status));
}

ConclaveCudaContext* Open(int32_t device, int32_t fast, char* error, size_t error_size) {
  cudaDeviceProp properties;
  cudaError_t status = cudaSetDevice(device);
  if (status == cudaSuccess) status = cudaGetDeviceProperties(&properties, device);
  if (status != cudaSuccess) {
    Say(error, error_size, "opening the device", status);
    return nullptr;
  }
  if (properties.major < 8) {
    std::snprintf(error, error_size, "%s has compute capability %d.%d, at least 8.0 is needed",
                  properties.name, properties.major, properties.minor);
    return nullptr;
  }
  auto* const c = new ConclaveCudaContext;
  c->device = device;
  c->multiprocessors = properties.multiProcessorCount;
  c->fast = fast != 0;
  c->shared_bytes_max = static_cast<int64_t>(properties.sharedMemPerBlockOptin);
  const char* const graphs = std::getenv("CONCLAVE_CUDA_GRAPHS");
  c->graphs.wanted = graphs == nullptr || std::strcmp(graphs, "0") != 0;
  if (const char* const seconds = std::getenv("CONCLAVE_CUDA_STEP_SECONDS"); seconds != nullptr) {
    c->wait_seconds = std::clamp(std::strtod(seconds, nullptr), 0.01, 86400.0);
  }
  status = cudaStreamCreateWithFlags(&c->stream, cudaStreamNonBlocking);
  if (status == cudaSuccess) status = cudaEventCreateWithFlags(&c->reached, cudaEventDisableTiming);
  if (status != cudaSuccess) {
    Say(error, error_size, "a stream", status);
    delete c;
    return nullptr;
  }
  return c;
}

// Nothing runs any more that might still use memory. False when that cannot be known.
bool Settled(ConclaveCudaContext* c) {
  if (c->hangs) return false;
  for (const cudaStream_t stream : {c->staging.stream, c->stream}) {
    if (stream == nullptr) continue;
    // A stream that failed does nothing either.
    if (cudaEventRecord(c->reached, stream) == cudaSuccess) Await(c, c->reached, "settling");
    if (c->hangs) return false;
  }
  return true;
}

void Close(ConclaveCudaContext* c) {
  if (!Settled(c)) {
    // What it holds is held until the process ends.
    static auto* const held = new std::vector<ConclaveCudaContext*>;
    held->push_back(c);
    return;
  }
  CloseStepGraphs(c);
  for (void* const data : c->outgrown) cudaFree(data);
  for (ConclaveCudaContext::Piece& piece : c->scratch) cudaFree(piece.data);
  for (ConclaveCudaContext::InputChunk& chunk : c->inputs) {
    cudaFreeHost(chunk.host);
    cudaFree(chunk.device);
  }
  cudaFreeHost(c->result.data);
  if (c->host_turn != nullptr) cudaEventDestroy(c->host_turn);
  cudaEventDestroy(c->reached);
  CloseStaging(c);
  cudaStreamDestroy(c->stream);
  delete c;
}

const char* Error(const ConclaveCudaContext* c) { return c->failed ? c->error : nullptr; }

int32_t MemoryInfo(ConclaveCudaContext* c, int64_t* free_bytes, int64_t* total_bytes) {
  size_t free = 0;
  size_t total = 0;
  if (cudaSetDevice(c->device) != cudaSuccess || cudaMemGetInfo(&free, &total) != cudaSuccess) {
    return 0;
  }
  *free_bytes = static_cast<int64_t>(free);
  *total_bytes = static_cast<int64_t>(total);
  return 1;
}

// Before memory changes by another way than operations: nothing is put off, nothing is remembered.
void Leave(ConclaveCudaContext* c) {
  FinishSum(c);
  LeaveStepGraph(c);
  c->rounded = {};
}

void* Allocate(ConclaveCudaContext* c, int64_t bytes) {
  void* data = nullptr;
  Leave(c);
  if (c->failed || !Check(c, cudaSetDevice(c->device), "the device")) return nullptr;
  const cudaError_t status = cudaMalloc(&data, static_cast<size_t>(bytes));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // taken note of here; the device itself is well
    return nullptr;
  }
  if (!Check(c, status, "allocating")) return nullptr;
  Check(c, cudaMemsetAsync(data, 0, static_cast<size_t>(bytes), c->stream), "clearing memory");
  AwaitStream(c, "clearing memory");  // other streams may be next to write there
  return data;
}

template <cudaError_t (*kFree)(void*)>
void Release(ConclaveCudaContext* c, void* data) {
  Leave(c);
  cudaSetDevice(c->device);
  // A step that was given up may still use it.
  if (Settled(c)) {
    kFree(data);
  } else {
    c->kept.push_back(data);
  }
}

int32_t Upload(ConclaveCudaContext* c, const void* host, int64_t bytes, void* device) {
  Leave(c);
  if (c->failed) return 0;
  Check(c, cudaSetDevice(c->device), "the device");
  Check(
      c,
      cudaMemcpyAsync(device, host, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, c->stream),
      "upload");
  return AwaitStream(c, "upload") ? 1 : 0;
}

}  // namespace

bool RoomForResult(ConclaveCudaContext* c, int64_t bytes) {
  if (bytes <= c->result.bytes) return true;
  cudaFreeHost(c->result.data);
  c->result = {};
  void* pinned = nullptr;
  if (cudaMallocHost(&pinned, static_cast<size_t>(bytes)) != cudaSuccess) {
    cudaGetLastError();
    return false;
  }
  c->result = {static_cast<char*>(pinned), bytes};
  return true;
}

void StartStep(ConclaveCudaContext* c) {
  if (c->failed) return;
  FinishSum(c);
  EndStepGraph(c);
  c->graphs.shape = nullptr;
}

namespace {

float* ReadBack(ConclaveCudaContext* c, const float* device, int64_t n) {
  if (c->failed) return nullptr;
  StartStep(c);
  const auto bytes = std::max<int64_t>(n * static_cast<int64_t>(sizeof(float)), 4);
  if (!RoomForResult(c, bytes)) {
    Fail(c, "pinned memory of results", "out of memory");
    return nullptr;
  }
  if (n > 0) {
    Check(c,
          cudaMemcpyAsync(c->result.data, device, static_cast<size_t>(n) * sizeof(float),
                          cudaMemcpyDeviceToHost, c->stream),
          "reading back");
  }
  if (AwaitStream(c, "running the step")) {
    for (void* const data : c->outgrown) cudaFree(data);
    c->outgrown.clear();
  }
  c->input_chunk = 0;
  c->input_used = 0;
  c->input_copied = 0;
  return c->failed ? nullptr : reinterpret_cast<float*>(c->result.data);
}

// To a power of two, so that lists which grow change their size rarely.
int64_t RoundedUp(int64_t count) {
  int64_t rounded = 512;
  while (rounded < count) rounded *= 2;
  return rounded;
}

// Of the inputs of a step besides: what is asked of its rows, masks, changes and lists of blocks.
int64_t RowInputBytes(const ConclaveCudaLimits& l) {
  const int64_t n = l.read_rows > 0 ? l.read_floats / l.read_rows : 0;
  return l.read_rows * (static_cast<int64_t>(sizeof(ConclaveCudaRowRequest)) +
                        CeilDiv(n, conclave::engine::kScanBlock) *
                            static_cast<int64_t>(sizeof(ConclaveCudaRowBlock))) +
         l.sequences * CeilDiv(n, 64) * 8 +
         l.row_changes * static_cast<int64_t>(sizeof(ConclaveCudaRowChange)) + 2048;
}

// Of the inputs of a step: spans, blocks and places of tokens, tiles of attention, ids, positions.
int64_t InputBytes(const ConclaveCudaLimits& l) {
  const int64_t blocks = RoundedUp(l.sequences * CeilDiv(l.context, kBlockTokens));
  const int64_t tiles = l.sequences + l.rows * l.num_heads / std::max<int64_t>(l.num_kv_heads, 1);
  const int64_t lists = 8 * l.rows * static_cast<int64_t>(sizeof(int32_t));
  return blocks * 4 + tiles * 8 + lists +
         l.sequences * static_cast<int64_t>(sizeof(ConclaveCudaSpan)) +
         (int64_t{64} << 10);  // each list is rounded, and angles have tables
}

int32_t Reserve(ConclaveCudaContext* c, const ConclaveCudaLimits* limits) {
  const ConclaveCudaLimits& l = *limits;
  Leave(c);
  if (c->failed) return 0;
  const auto take = [&](ScratchId id, int64_t bytes) {
    ConclaveCudaContext::Piece& piece = c->scratch[id];
    if (bytes <= piece.bytes) return true;
    void* data = nullptr;
    if (cudaMalloc(&data, static_cast<size_t>(bytes)) != cudaSuccess) {
      cudaGetLastError();
      return false;
    }
    if (piece.data != nullptr) c->outgrown.push_back(piece.data);
    piece = {static_cast<char*>(data), bytes};
    return true;
  };
  constexpr int64_t kInt = sizeof(int32_t);
  c->attention_bytes_max = std::min(c->attention_bytes_max, l.attention_bytes);
  const int64_t most_tiles = 4 * c->multiprocessors;  // times heads, where partial sums are used
  const int64_t partial =
      most_tiles * AttentionStrips(l.context) * kTileRows * (l.value_dim + 2) * 4;
  bool room = take(kInputInt8, l.rows * l.widest) &&
              take(kInputMeta, l.rows * (l.widest / 32 + 1) * 8) && take(kMiddleInt8, l.middle) &&
              take(kMiddleMeta, (l.middle / 32 + 1) * 8) && take(kGate, l.middle * 4) &&
              take(kUp, l.middle * 4) &&
              take(kAttentionPartial, std::min(partial, c->attention_bytes_max)) &&
              take(kExpanded, l.expanded_bytes);
  if (c->fast) {
    const int64_t middle_rows = std::max(l.rows, l.slots);
    // A matrix for each head has a row, and so a scale, for each head too.
    room = room && take(kInputHalves, l.rows * l.widest * 2) &&
           take(kInputScales, l.rows * (l.widest / 32 + 1) * 4) &&
           take(kMiddleHalves, l.middle * 2) && take(kMiddleScales, middle_rows * 4);
  }
  if (l.slots > 0) {
    room = room && take(kPart, l.slots * l.hidden * 4) && take(kSlotRow, l.slots * kInt) &&
           take(kSlotOf, l.slots * kInt) && take(kTiles, (l.slots + l.experts) * 4 * kInt) &&
           take(kTileCount, kInt);
  }
  const int64_t inputs = InputBytes(l) + RowInputBytes(l);
  if (room && c->inputs.empty()) room = AddInputChunk(c, kChunkBytes);
  // What does not fit the first goes to the second, all of it.
  if (room && inputs > kChunkBytes && c->inputs.size() == 1) room = AddInputChunk(c, inputs);
  if (l.read_rows > 0) {
    const int64_t n = l.read_floats / l.read_rows;
    room = room && take(kRowLargest, LargestBytes(l.read_rows, n)) &&
           RoomForResult(c, DigestBytes(l.read_rows, n) + BlockBytes(l.read_rows, n));
  }
  return room && (l.read_floats == 0 || RoomForResult(c, l.read_floats * 4)) ? 1 : 0;
}

void BeginStep(ConclaveCudaContext* c, const ConclaveCudaSpan* spans, int32_t num_spans,
               const int32_t* blocks, int64_t num_blocks, const int32_t* slots, int64_t rows) {
  FinishSum(c);
  Check(c, cudaSetDevice(c->device), "the device");
  c->host_spans.assign(spans, spans + num_spans);
  int64_t longest = 0;
  for (const ConclaveCudaSpan& span : c->host_spans) {
    longest = std::max<int64_t>(longest, span.position + span.rows);
  }
  const int64_t reserved = RoundedUp(num_blocks);
  BeginStepGraph(c, {rows, num_spans, AttentionStrips(longest)}, reserved * 4 < kChunkBytes / 2);
  c->spans = InputOf(c, spans, num_spans);
  c->blocks = InputOf(c, blocks, num_blocks, reserved);
  c->slots = InputOf(c, slots, rows);
  c->step_rows = rows;
  c->attention_group = 0;
}

double CopyBandwidth(ConclaveCudaContext* c, int64_t bytes) {
  constexpr int kPasses = 10;
  void* from = nullptr;
  void* to = nullptr;
  cudaEvent_t start = nullptr;
  cudaEvent_t end = nullptr;
  float ms = 0;
  const auto size = static_cast<size_t>(bytes);
  if (cudaMalloc(&from, size) == cudaSuccess && cudaMalloc(&to, size) == cudaSuccess &&
      cudaEventCreate(&start) == cudaSuccess && cudaEventCreate(&end) == cudaSuccess) {
    cudaMemsetAsync(from, 1, size, c->stream);
    cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToDevice, c->stream);
    cudaEventRecord(start, c->stream);
    for (int i = 0; i < kPasses; ++i) {
      cudaMemcpyAsync(to, from, size, cudaMemcpyDeviceToDevice, c->stream);
    }
    cudaEventRecord(end, c->stream);
    if (cudaStreamSynchronize(c->stream) != cudaSuccess ||
        cudaEventElapsedTime(&ms, start, end) != cudaSuccess) {
      ms = 0;
    }
  }
  cudaGetLastError();
  if (start != nullptr) cudaEventDestroy(start);
  if (end != nullptr) cudaEventDestroy(end);
  cudaFree(from);
  cudaFree(to);
  return ms > 0 ? 2.0 * kPasses * static_cast<double>(bytes) / (ms * 1e-3) : 0.0;
}

void AddAfterwards(ConclaveCudaContext* c, const float* x, int64_t n, float* y) {
  AddOp(c, x, n, y);
  c->rounded = {};
}

// An operation as the door has it: after a sum that was put off, and what it writes may be what was
// rounded to int8.
template <auto kOperation, typename = decltype(kOperation)>
struct Writing;
template <auto kOperation, typename... Arguments>
struct Writing<kOperation, void (*)(ConclaveCudaContext*, Arguments...)> {
  static void Run(ConclaveCudaContext* c, Arguments... arguments) {
    FinishSum(c);
    kOperation(c, arguments...);
    c->rounded = {};
  }
};
// One that writes to memory of its own, never to its inputs.
template <auto kOperation, typename = decltype(kOperation)>
struct Apart;
template <auto kOperation, typename... Arguments>
struct Apart<kOperation, void (*)(ConclaveCudaContext*, Arguments...)> {
  static void Run(ConclaveCudaContext* c, Arguments... arguments) {
    FinishSum(c);
    kOperation(c, arguments...);
  }
};

constexpr ConclaveCudaApi kApi = {CONCLAVE_CUDA_API_VERSION,
                                  Open,
                                  Close,
                                  Error,
                                  MemoryInfo,
                                  Allocate,
                                  Release<cudaFree>,
                                  Upload,
                                  ReadBack,
                                  StartStep,
                                  DigestRows,
                                  FetchBlocks,
                                  Reserve,
                                  Apart<MatmulOp>::Run,
                                  Writing<MatmulHeadsOp>::Run,
                                  Writing<FfnOp>::Run,
                                  Writing<MoeOp>::Run,
                                  RmsNormOp,
                                  Writing<LayerNormOp>::Run,
                                  Writing<ScaleOp>::Run,
                                  Writing<AddGatedOp>::Run,
                                  Writing<CopyRowsOp>::Run,
                                  AddAfterwards,
                                  Writing<ActivateOp>::Run,
                                  Writing<RopeAnglesOp>::Run,
                                  Writing<RopeOp>::Run,
                                  BeginStep,
                                  Writing<StoreKvOp>::Run,
                                  Writing<AttentionOp>::Run,
                                  Writing<ExpandedAttentionOp>::Run,
                                  Writing<EmbedRowsOp>::Run,
                                  Writing<GatherRowsOp>::Run,
                                  Apart<RouteOp>::Run,
                                  Pin,
                                  Release<cudaFreeHost>,
                                  HandOver,
                                  AwaitHostTurn,
                                  Apart<ChooseExpertsOp>::Run,
                                  Stage,
                                  AwaitStaging,
                                  UseStaged,
                                  DoneWithStaged,
                                  Exchange,
                                  Exchanged,
                                  Copy,
                                  Apart<CountExpertsOp>::Run,
                                  CopyBandwidth};

}  // namespace

CONCLAVE_EXPORT const ConclaveCudaApi* conclave_cuda_api(void) { return &kApi; }

CONCLAVE_EXPORT int32_t conclave_cuda_devices(ConclaveCudaDevice* out, int32_t max, char* error,
                                              size_t error_size) {
  int count = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&count); status != cudaSuccess) {
    std::snprintf(error, error_size, "%s", cudaGetErrorString(status));
    return -1;
  }
  for (int i = 0; i < count && i < max; ++i) {
    cudaDeviceProp properties;
    size_t free_bytes = 0;
    size_t total_bytes = 0;
    cudaError_t status = cudaGetDeviceProperties(&properties, i);
    if (status == cudaSuccess) status = cudaSetDevice(i);
    if (status == cudaSuccess) status = cudaMemGetInfo(&free_bytes, &total_bytes);
    if (status != cudaSuccess) {
      std::snprintf(error, error_size, "device %d: %s", i, cudaGetErrorString(status));
      return -1;
    }
    ConclaveCudaDevice& device = out[i];
    std::memset(&device, 0, sizeof device);
    std::snprintf(device.name, sizeof device.name, "%s", properties.name);
    device.compute_major = properties.major;
    device.compute_minor = properties.minor;
    device.multiprocessors = properties.multiProcessorCount;
    device.memory_bytes = total_bytes;
    device.memory_free_bytes = free_bytes;
  }
  return count;
}
