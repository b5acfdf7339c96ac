// What the module keeps for one device, and how its files launch kernels. Host code; used by one
// caller at a time, as the engine's Kernels are.
#pragma once

#include <cuda_runtime.h>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "engine/kernels/cuda/graph.cuh"
#include "engine/kernels/cuda/module.h"

// Buffers that operations need between two launches, grown on demand.
enum ScratchId {
  kInputInt8,
  kInputMeta,
  kMiddleInt8,
  kMiddleMeta,
  kInputHalves,
  kInputScales,
  kMiddleHalves,
  kMiddleScales,
  kGate,
  kUp,
  kPart,
  kSlotRow,
  kSlotOf,
  kTiles,
  kTileCount,
  kAttentionTiles,
  kAttentionPartial,
  kRowLargest,
  kExpanded,
  kNumScratch
};

struct ConclaveCudaContext {
  int device = 0;
  int multiprocessors = 0;
  bool fast = false;                // many rows take other products than few
  int64_t shared_bytes_max = 0;     // of a block that asks for it
  bool latent_kernels_ask[2] = {};  // have been allowed that much
  cudaStream_t stream = nullptr;
  bool failed = false;
  bool hangs = false;  // failed for not answering: any call of the driver might wait for good
  char error[256] = "";
  double wait_seconds = 120;
  cudaEvent_t reached = nullptr;  // of AwaitStream

  struct Piece {
    char* data = nullptr;
    int64_t bytes = 0;
  };
  Piece scratch[kNumScratch];
  int64_t attention_bytes_max = int64_t{256} << 20;  // of kAttentionPartial

  // Inputs of a step: copied to pinned memory at the call, to the device on the stream. Chunks stay
  // until the step has been read back.
  struct InputChunk {
    char* host = nullptr;
    char* device = nullptr;
    int64_t bytes = 0;
  };
  std::vector<InputChunk> inputs;
  std::vector<void*> outgrown;  // scratch that launches of this step may still read
  std::vector<void*> kept;      // of a device that hangs: never given back
  size_t input_chunk = 0;
  int64_t input_used = 0;
  int64_t input_copied = 0;  // of the first chunk
  Piece result;              // pinned

  // The rows last digested; what was made of them lies in `result`, then the blocks fetched.
  struct DigestedRows {
    const float* x = nullptr;
    int64_t n = 0;
    int64_t used = 0;  // bytes of result
  };
  DigestedRows digested;

  // Experts on their way: copies run on a stream of their own (hand_over.cu). Two slots are for
  // those that go through, the others for those that change places.
  struct Staging {
    using Clock = std::chrono::steady_clock;
    static constexpr int kSlots = 2 + CONCLAVE_CUDA_MOVE_SLOTS;
    cudaStream_t stream = nullptr;
    cudaEvent_t copied[kSlots] = {};
    cudaEvent_t used[kSlots] = {};
    Clock::time_point started[CONCLAVE_CUDA_MOVE_SLOTS] = {};
  };
  Staging staging;

  cudaEvent_t host_turn = nullptr;  // the copies of the last hand_over are done

  // Of the step that runs. Device pointers into the inputs.
  const ConclaveCudaSpan* spans = nullptr;
  const int32_t* blocks = nullptr;
  const int32_t* slots = nullptr;
  int64_t step_rows = 0;
  std::vector<ConclaveCudaSpan> host_spans;
  const int2* attention_tiles = nullptr;  // of that many rows, for groups of that many heads
  int32_t attention_tile_rows = 0;
  int32_t attention_group = 0;
  int32_t attention_span_rows = 0;  // of spans that have tiles, at most
  int32_t num_attention_tiles = 0;

  StepGraphs graphs;

  // What kInputInt8 and kInputMeta hold: these rows as int8. No operation has written to them
  // since.
  struct Rounded {
    const float* x = nullptr;
    int64_t stride = 0;
    int64_t rows = 0;
    int64_t cols = 0;
  };
  Rounded rounded;
  bool rounds_norms = false;  // quantised weights have asked for it

  // y += x, asked for and not launched yet: the norm that comes next does it along the way.
  struct Sum {
    const float* x = nullptr;
    int64_t n = 0;
    float* y = nullptr;
  };
  Sum pending_sum;
};

// The first error stays.
inline void Fail(ConclaveCudaContext* c, const char* what, const char* why) {
  if (c->failed) return;
  c->failed = true;
  std::snprintf(c->error, sizeof c->error, "%s: %s", what, why);
}
inline void Hang(ConclaveCudaContext* c, const char* what) {
  c->hangs = true;
  Fail(c, what, "the device does not answer");
}
inline bool Check(ConclaveCudaContext* c, cudaError_t status, const char* what) {
  if (status != cudaSuccess) Fail(c, what, cudaGetErrorString(status));
  return status == cudaSuccess;
}

// Waits for an event, or for all that has been asked for. False when the device has failed, or
// fails now because it does not answer.
bool Await(ConclaveCudaContext* c, cudaEvent_t event, const char* what);
bool AwaitStream(ConclaveCudaContext* c, const char* what);

// So much pinned memory for results, contents undefined; false when there is none: the device
// itself is well.
bool RoomForResult(ConclaveCudaContext* c, int64_t bytes);

// Starts the step's graph, if there is one; what follows is launched as it comes.
void StartStep(ConclaveCudaContext* c);

// At least `bytes`, contents undefined; NULL when the device has failed or has no room (then it
// fails: a step cannot be half done).
void* Scratch(ConclaveCudaContext* c, ScratchId id, int64_t bytes);
template <typename T>
T* ScratchOf(ConclaveCudaContext* c, ScratchId id, int64_t count) {
  return static_cast<T*>(Scratch(c, id, count * static_cast<int64_t>(sizeof(T))));
}

// The host's bytes in device memory, until the step is read back. What grows from step to step
// takes the room of at least `reserved` bytes, so that what follows keeps its place.
const void* Input(ConclaveCudaContext* c, const void* host, int64_t bytes, int64_t reserved);
template <typename T>
const T* InputOf(ConclaveCudaContext* c, const T* host, int64_t count, int64_t reserved = 0) {
  constexpr auto kSize = static_cast<int64_t>(sizeof(T));
  return static_cast<const T*>(Input(c, host, count * kSize, reserved * kSize));
}

// What a kernel's launch is, to its own types.
template <typename... Parameters>
void LaunchExactly(ConclaveCudaContext* c, const char* name, void (*kernel)(Parameters...),
                   dim3 grid, unsigned threads, size_t shared_bytes, Parameters... arguments) {
  const auto start = [=](cudaStream_t stream) {
#ifdef CONCLAVE_CUDA_EMULATOR
    emulator::Enqueue(stream, grid, threads, shared_bytes, [=] { kernel(arguments...); });
#else
    // clang-format off
    kernel<<<grid, threads, shared_bytes, stream>>>(arguments...);
    // clang-format on
#endif
  };
  if (c->graphs.mode != StepGraphs::Mode::kOff) {
    LaunchWords& words = c->graphs.words;
    words.kernel = reinterpret_cast<const void*>(kernel);
    words.grid = grid;
    words.threads = threads;
    words.arguments.clear();
    (words.Add(arguments), ...);
    if (c->graphs.mode == StepGraphs::Mode::kRecording) {
      Record(c, start);
    } else if (IsExpected(c)) {
      return;
    } else {
      LeaveStepGraph(c);
      if (c->failed) return;
    }
  }
  start(c->stream);
  Check(c, cudaGetLastError(), name);
}

// Arguments are converted to the kernel's own types. Structs among them have no gaps between their
// fields: their bytes are compared.
template <typename... Parameters, typename... Arguments>
void Launch(ConclaveCudaContext* c, const char* name, void (*kernel)(Parameters...), dim3 grid,
            unsigned threads, Arguments... arguments) {
  if (c->failed) return;
  LaunchExactly<Parameters...>(c, name, kernel, grid, threads, 0,
                               static_cast<Parameters>(arguments)...);
}
// With shared memory beyond what the kernel declares. How much follows from the arguments: recorded
// steps compare those alone.
template <typename... Parameters, typename... Arguments>
void LaunchShared(ConclaveCudaContext* c, const char* name, void (*kernel)(Parameters...),
                  dim3 grid, unsigned threads, size_t shared_bytes, Arguments... arguments) {
  if (c->failed) return;
  LaunchExactly<Parameters...>(c, name, kernel, grid, threads, shared_bytes,
                               static_cast<Parameters>(arguments)...);
}

inline unsigned CeilDiv(int64_t a, int64_t b) { return static_cast<unsigned>((a + b - 1) / b); }
