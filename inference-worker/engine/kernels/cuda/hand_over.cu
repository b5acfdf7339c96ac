// The host's turn inside a step. What is asked for before it, beside it and after it are stretches
// of the stream, each a graph of its own where steps are graphs.
#include "engine/kernels/cuda/hand_over.cuh"

#include <chrono>
#include <thread>

#include "engine/kernels/cuda/rows.cuh"

namespace {

constexpr unsigned kThreads = 256;
constexpr int kSpins = 20000;  // some ten milliseconds; then the core is lent to others

__global__ void SplitRouting(const int32_t* ids, const int32_t* places, int64_t slots,
                             int32_t* here, int32_t* there) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= slots) return;
  const int32_t place = places[ids[i]];
  here[i] = place >= 0 ? place : -1;
  there[i] = place >= 0 ? -1 : -1 - place;
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

void SplitRoutingOp(ConclaveCudaContext* c, const int32_t* ids, const int32_t* places,
                    int64_t slots, int32_t* here, int32_t* there) {
  Launch(c, "splitting a routing", SplitRouting, dim3(CeilDiv(slots, kThreads)), kThreads, ids,
         places, slots, here, there);
}

void HandOver(ConclaveCudaContext* c, const ConclaveCudaCopy* copies, int32_t num_copies) {
  FinishSum(c);
  EndStepGraph(c);
  for (int32_t i = 0; i < num_copies && !c->failed; ++i) {
    Check(c,
          cudaMemcpyAsync(copies[i].pinned, copies[i].device, static_cast<size_t>(copies[i].bytes),
                          cudaMemcpyDeviceToHost, c->stream),
          "handing over to the host");
  }
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
    if (status == cudaSuccess) return 1;
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
}

void TakeBack(ConclaveCudaContext* c, const void* pinned, int64_t bytes, void* device) {
  if (c->failed) return;
  Check(c,
        cudaMemcpyAsync(device, pinned, static_cast<size_t>(bytes), cudaMemcpyHostToDevice,
                        c->stream),
        "taking the host's result");
  NextStepGraph(c);
}
