// The host's turn inside a step. What is asked for before it, beside it and after it are stretches
// of the stream, each a graph of its own where steps are graphs.
#include "engine/kernels/cuda/hand_over.cuh"

#include <chrono>
#include <thread>

#include "engine/kernels/cuda/rows.cuh"

namespace {

constexpr unsigned kThreads = 256;
constexpr int kSpins = 20000;  // some ten milliseconds; then the core is lent to others

// A block has a row; it writes to the host's memory over the bus, each line once.
__global__ void HandOverRow(ConclaveCudaHandOver h) {
  const int64_t row = blockIdx.x;
  const float* const x = h.x + row * h.x_stride;
  for (int64_t i = threadIdx.x; i < h.cols; i += kThreads) h.their_x[row * h.cols + i] = x[i];
  for (int64_t j = threadIdx.x; j < h.top_k; j += kThreads) {
    const int64_t slot = row * h.top_k + j;
    const int32_t place = h.places[h.ids[slot]];
    h.here[slot] = place >= 0 ? place : -1;
    h.there[slot] = place >= 0 ? -1 : -1 - place;
    h.their_weights[slot] = h.weights[slot];
  }
}

}  // namespace

void* Pin(ConclaveCudaContext* c, int64_t bytes) {
  void* pinned = nullptr;
  if (c->failed || cudaMallocHost(&pinned, static_cast<size_t>(bytes)) != cudaSuccess) {
    cudaGetLastError();  // the caller says it; the device itself is well
    return nullptr;
  }
  return pinned;
}

void HandOver(ConclaveCudaContext* c, const ConclaveCudaHandOver* hand_over) {
  FinishSum(c);
  Launch(c, "handing over to the host", HandOverRow, dim3(static_cast<unsigned>(hand_over->rows)),
         kThreads, *hand_over);
  EndStepGraph(c);
  if (c->failed) return;
  if (c->host_turn == nullptr &&
      !Check(c, cudaEventCreateWithFlags(&c->host_turn, cudaEventDisableTiming), "an event")) {
    return;
  }
  Check(c, cudaEventRecord(c->host_turn, c->stream), "handing over to the host");
  NextStepGraph(c);
}

int32_t AwaitHostTurn(ConclaveCudaContext* c, double seconds) {
  FinishSum(c);
  EndStepGraph(c);
  if (c->failed) return 0;
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  for (int64_t round = 1;; ++round) {
    const cudaError_t status = cudaEventQuery(c->host_turn);
    if (status == cudaSuccess) break;
    if (status != cudaErrorNotReady) {
      Check(c, status, "running a step up to the host's turn");
      return 0;
    }
    if (round > kSpins) std::this_thread::yield();
    if (round % 64 == 0 && std::chrono::duration<double>(Clock::now() - start).count() > seconds) {
      Fail(c, "running a step up to the host's turn", "the device does not answer");
      return 0;
    }
  }
  NextStepGraph(c);
  return 1;
}
