// The host's turn inside a step. What is asked for before it, beside it and after it are stretches
// of the stream, each a graph of its own where steps are graphs.
#include "engine/kernels/cuda/hand_over.cuh"

#include <chrono>

#include "engine/kernels/cuda/rows.cuh"

namespace {

constexpr unsigned kThreads = 256;

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
    h.their_ids[slot] = h.ids[slot];
    h.their_weights[slot] = h.weights[slot];
  }
}

__global__ void ChooseExperts(const int32_t* ids, const int32_t* places, int64_t slots,
                              int32_t theirs, int32_t first, int32_t count, int32_t* here) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= slots) return;
  const int32_t place = places[ids[i]];
  const int32_t number = (theirs != 0 ? -1 - place : place) - first;
  here[i] = number >= 0 && number < count ? number : -1;
}

__global__ void CountExperts(const int32_t* ids, int64_t slots, int32_t* chosen) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < slots) atomicAdd(&chosen[ids[i]], 1);
}

bool OpenStaging(ConclaveCudaContext* c) {
  ConclaveCudaContext::Staging& s = c->staging;
  if (s.stream != nullptr) return true;
  if (!Check(c, cudaStreamCreateWithFlags(&s.stream, cudaStreamNonBlocking), "a stream")) {
    return false;
  }
  for (int slot = 0; slot < ConclaveCudaContext::Staging::kSlots; ++slot) {
    if (!Check(c, cudaEventCreateWithFlags(&s.copied[slot], cudaEventDisableTiming), "an event") ||
        !Check(c, cudaEventCreateWithFlags(&s.used[slot], cudaEventDisableTiming), "an event")) {
      return false;
    }
  }
  return true;
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

int32_t AwaitHostTurn(ConclaveCudaContext* c) {
  FinishSum(c);
  EndStepGraph(c);
  if (c->failed || !Await(c, c->host_turn, "running a step up to the host's turn")) {
    return 0;
  }
  NextStepGraph(c);
  return 1;
}

void ChooseExpertsOp(ConclaveCudaContext* c, const int32_t* ids, const int32_t* places,
                     int64_t slots, int32_t theirs, int32_t first, int32_t count, int32_t* here) {
  Launch(c, "choosing experts", ChooseExperts, dim3(CeilDiv(slots, kThreads)), kThreads, ids,
         places, slots, theirs, first, count, here);
}

void Stage(ConclaveCudaContext* c, int32_t slot, const void* pinned, int64_t bytes, void* device) {
  if (c->failed || !OpenStaging(c)) return;
  ConclaveCudaContext::Staging& s = c->staging;
  Check(c, cudaStreamWaitEvent(s.stream, s.used[slot], 0), "staging experts");
  Check(
      c,
      cudaMemcpyAsync(device, pinned, static_cast<size_t>(bytes), cudaMemcpyHostToDevice, s.stream),
      "staging experts");
  Check(c, cudaEventRecord(s.copied[slot], s.stream), "staging experts");
}

int32_t AwaitStaging(ConclaveCudaContext* c, int32_t slot) {
  if (c->failed || !OpenStaging(c)) return 0;
  return Await(c, c->staging.copied[slot], "staging experts") ? 1 : 0;
}

void UseStaged(ConclaveCudaContext* c, int32_t slot) {
  FinishSum(c);
  LeaveStepGraph(c);
  if (c->failed) return;
  Check(c, cudaStreamWaitEvent(c->stream, c->staging.copied[slot], 0), "using staged experts");
}

void DoneWithStaged(ConclaveCudaContext* c, int32_t slot) {
  FinishSum(c);
  LeaveStepGraph(c);
  if (c->failed || !OpenStaging(c)) return;
  Check(c, cudaEventRecord(c->staging.used[slot], c->stream), "using staged experts");
}

void CloseStaging(ConclaveCudaContext* c) {
  for (int slot = 0; slot < ConclaveCudaContext::Staging::kSlots; ++slot) {
    if (c->staging.copied[slot] != nullptr) cudaEventDestroy(c->staging.copied[slot]);
    if (c->staging.used[slot] != nullptr) cudaEventDestroy(c->staging.used[slot]);
  }
  if (c->staging.stream != nullptr) cudaStreamDestroy(c->staging.stream);
}

int32_t Exchange(ConclaveCudaContext* c, int32_t slot, const ConclaveCudaCopy* in, int32_t num_in,
                 const ConclaveCudaCopy* out, int32_t num_out) {
  FinishSum(c);
  LeaveStepGraph(c);
  if (c->failed || !OpenStaging(c)) return 0;
  ConclaveCudaContext::Staging& s = c->staging;
  const int event = 2 + slot;
  if (!Check(c, cudaEventRecord(s.used[event], c->stream), "moving experts") ||
      !Check(c, cudaStreamWaitEvent(s.stream, s.used[event], 0), "moving experts")) {
    return 0;
  }
  s.started[slot] = ConclaveCudaContext::Staging::Clock::now();
  bool all = true;
  const auto put = [&](const ConclaveCudaCopy& copy, cudaMemcpyKind kind) {
    all = all && cudaMemcpyAsync(copy.to, copy.from, static_cast<size_t>(copy.bytes), kind,
                                 s.stream) == cudaSuccess;
  };
  for (int32_t i = 0; i < num_in; ++i) put(in[i], cudaMemcpyHostToDevice);
  for (int32_t i = 0; i < num_out; ++i) put(out[i], cudaMemcpyDeviceToHost);
  if (!all) cudaGetLastError();  // the caller says it; what is wrong with the device shows again
  return Check(c, cudaEventRecord(s.copied[event], s.stream), "moving experts") && all ? 1 : 0;
}

int32_t Exchanged(ConclaveCudaContext* c, int32_t slot) {
  if (c->failed) return -1;
  if (c->staging.stream == nullptr) return 1;
  const cudaError_t status = cudaEventQuery(c->staging.copied[2 + slot]);
  if (status == cudaErrorNotReady) {
    const auto since = ConclaveCudaContext::Staging::Clock::now() - c->staging.started[slot];
    if (std::chrono::duration<double>(since).count() < c->wait_seconds) return 0;
    Hang(c, "moving experts");
    return -1;
  }
  return Check(c, status, "moving experts") ? 1 : -1;
}

void Copy(ConclaveCudaContext* c, const ConclaveCudaCopy* copies, int32_t num) {
  FinishSum(c);
  LeaveStepGraph(c);
  c->rounded = {};
  for (int32_t i = 0; i < num && !c->failed; ++i) {
    Check(c,
          cudaMemcpyAsync(copies[i].to, copies[i].from, static_cast<size_t>(copies[i].bytes),
                          cudaMemcpyDeviceToDevice, c->stream),
          "copying on the device");
  }
}

void CountExpertsOp(ConclaveCudaContext* c, const int32_t* ids, int64_t slots, int32_t* chosen) {
  Launch(c, "counting experts", CountExperts, dim3(CeilDiv(slots, kThreads)), kThreads, ids, slots,
         chosen);
}
