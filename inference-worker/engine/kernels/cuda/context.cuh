// What the module keeps for one device, and how its files launch kernels. Host code; used by one
// caller at a time, as the engine's Kernels are.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <vector>

#include "engine/kernels/cuda/module.h"

// Buffers that operations need between two launches, grown on demand.
enum ScratchId {
  kInputInt8,
  kInputMeta,
  kMiddleInt8,
  kMiddleMeta,
  kGate,
  kUp,
  kPart,
  kSlotRow,
  kSlotOf,
  kTiles,
  kTileCount,
  kAttentionTiles,
  kAttentionPartial,
  kNumScratch
};

struct ConclaveCudaContext {
  int device = 0;
  int multiprocessors = 0;
  cudaStream_t stream = nullptr;
  bool failed = false;
  char error[256] = "";

  struct Piece {
    char* data = nullptr;
    int64_t bytes = 0;
  };
  Piece scratch[kNumScratch];

  // Inputs of a step: copied to pinned memory at the call, to the device on the stream. Chunks stay
  // until the step has been read back.
  struct InputChunk {
    char* host = nullptr;
    char* device = nullptr;
    int64_t bytes = 0;
  };
  std::vector<InputChunk> inputs;
  std::vector<void*> outgrown;  // scratch that launches of this step may still read
  size_t input_chunk = 0;
  int64_t input_used = 0;
  Piece result;  // pinned

  // Of the step that runs. Device pointers into the inputs.
  const ConclaveCudaSpan* spans = nullptr;
  const int32_t* blocks = nullptr;
  const int32_t* slots = nullptr;
  int64_t step_rows = 0;
  std::vector<ConclaveCudaSpan> host_spans;
  const int2* attention_tiles = nullptr;  // for groups of attention_group heads
  int32_t attention_group = 0;
  int32_t num_attention_tiles = 0;

  // A small step like the one before it is recorded and started as one graph: less of the host's
  // time per launch, shorter gaps between kernels.
  bool use_graphs = false;
  bool capturing = false;
  int64_t step_shape[3] = {};  // rows, spans, whether attention has several splits
  cudaGraphExec_t graph = nullptr;
};

// The first error stays.
inline void Fail(ConclaveCudaContext* c, const char* what, const char* why) {
  if (c->failed) return;
  c->failed = true;
  std::snprintf(c->error, sizeof c->error, "%s: %s", what, why);
}
inline bool Check(ConclaveCudaContext* c, cudaError_t status, const char* what) {
  if (status != cudaSuccess) Fail(c, what, cudaGetErrorString(status));
  return status == cudaSuccess;
}

// At least `bytes`, contents undefined; NULL when the device has failed or has no room (then it
// fails: a step cannot be half done).
void* Scratch(ConclaveCudaContext* c, ScratchId id, int64_t bytes);
template <typename T>
T* ScratchOf(ConclaveCudaContext* c, ScratchId id, int64_t count) {
  return static_cast<T*>(Scratch(c, id, count * static_cast<int64_t>(sizeof(T))));
}

// The host's bytes in device memory, until the step is read back.
const void* Input(ConclaveCudaContext* c, const void* host, int64_t bytes);
template <typename T>
const T* InputOf(ConclaveCudaContext* c, const T* host, int64_t count) {
  return static_cast<const T*>(Input(c, host, count * static_cast<int64_t>(sizeof(T))));
}

// Arguments are converted to the kernel's own types.
template <typename... Parameters, typename... Arguments>
void Launch(ConclaveCudaContext* c, const char* name, void (*kernel)(Parameters...), dim3 grid,
            unsigned threads, Arguments... arguments) {
  if (c->failed) return;
#ifdef CONCLAVE_CUDA_EMULATOR
  emulator::Enqueue(c->stream, grid, threads, [=] { kernel(arguments...); });
#else
  // clang-format off
  kernel<<<grid, threads, 0, c->stream>>>(arguments...);
  // clang-format on
#endif
  Check(c, cudaGetLastError(), name);
}

inline unsigned CeilDiv(int64_t a, int64_t b) { return static_cast<unsigned>((a + b - 1) / b); }
