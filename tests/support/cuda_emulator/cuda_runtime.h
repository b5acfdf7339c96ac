// The CUDA module's sources compiled for the host: the part of the language and of the runtime that
// they use. Threads of a block are fibers that meet at barriers and shuffles; blocks run one after
// another; what is put on a stream runs when somebody waits for it or asks for an event; device
// memory can be touched only meanwhile, ends at a guard page and starts out as NaN.
//
// Settings, from the environment: CONCLAVE_EMULATOR_MEMORY bytes of device memory in all (1 GiB);
// CONCLAVE_EMULATOR_FAIL_LAUNCH=n makes the n-th launch of a stream, and all after it, fail;
// CONCLAVE_EMULATOR_HANG_LAUNCH=n makes the n-th never end: who then waits without a deadline ends
// the program. CONCLAVE_EMULATOR_FAIL_ALLOC=n and _FAIL_PIN=n make the n-th allocation from now on,
// of device memory and of pinned memory, fail, that one alone. Of streams that only copy:
// CONCLAVE_EMULATOR_FAIL_COPY=n refuses the n-th copy from now on, _BREAK_COPY=n makes the stream
// fail when it comes to it, and _SLOW_COPIES=n answers the n first questions for an event with "not
// yet".
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <functional>

#define __global__
#define __device__
#define __host__
#define __shared__ static
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

// --- the runtime ---------------------------------------------------------------------------------

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorNotReady = 600,
  cudaErrorLaunchFailure = 719
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice };
constexpr unsigned cudaStreamNonBlocking = 1;
struct cudaDeviceProp {
  char name[256];
  int major, minor, multiProcessorCount;
  size_t sharedMemPerBlockOptin;
};
namespace emulator {
struct Stream;
struct Event;
struct Graph;
}  // namespace emulator
using cudaStream_t = emulator::Stream*;
using cudaEvent_t = emulator::Event*;
using cudaGraph_t = emulator::Graph*;
using cudaGraphExec_t = emulator::Graph*;
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaStreamCaptureMode { cudaStreamCaptureModeRelaxed = 2 };

const char* cudaGetErrorString(cudaError_t);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDeviceCount(int*);
cudaError_t cudaSetDevice(int);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp*, int);
// Launches may ask for as much as the device has without it; a mistake is the caller's.
template <typename Kernel>
cudaError_t cudaFuncSetAttribute(Kernel*, cudaFuncAttribute, int) {
  return cudaSuccess;
}
cudaError_t cudaMemGetInfo(size_t* free, size_t* total);
cudaError_t cudaMalloc(void**, size_t);
cudaError_t cudaFree(void*);
cudaError_t cudaMallocHost(void**, size_t);
cudaError_t cudaFreeHost(void*);
cudaError_t cudaMemsetAsync(void*, int value, size_t, cudaStream_t);
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t, cudaMemcpyKind, cudaStream_t);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t*, unsigned);
cudaError_t cudaStreamDestroy(cudaStream_t);
cudaError_t cudaStreamSynchronize(cudaStream_t);
constexpr unsigned cudaEventDisableTiming = 2;
cudaError_t cudaEventCreate(cudaEvent_t*);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t*, unsigned);
// Runs the stream up to the event, and no further.
cudaError_t cudaEventQuery(cudaEvent_t);
// Runs the other stream up to the event when this stream comes to it.
cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned);
cudaError_t cudaEventDestroy(cudaEvent_t);
cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t);
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t, cudaEvent_t);

// What is put on a stream that records goes into the graph instead.
cudaError_t cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode);
cudaError_t cudaStreamEndCapture(cudaStream_t, cudaGraph_t*);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t*, cudaGraph_t, unsigned);
cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t);
cudaError_t cudaGraphDestroy(cudaGraph_t);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t);

// --- inside a kernel -----------------------------------------------------------------------------

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

namespace emulator {

void Enqueue(cudaStream_t, dim3 grid, unsigned threads, size_t shared_bytes,
             std::function<void()> kernel);
// What a launch has asked for, of the block that runs: NaN at its beginning, and ends at a guard
// page.
void* SharedMemory();

// Gives `bits` to the warp and takes what lane `from` gave. All 32 lanes come.
uint32_t Exchange(uint32_t bits, int from);
int Lane();
// mma.m16n8k32 (registers = 4) and .m16n8k16 (2) of signed bytes, fragments as in mma.cuh.
void Mma(int (&c)[4], const uint32_t (&a)[4], int registers, uint32_t b0, uint32_t b1);
// mma.m16n8k16 of halves with sums in fp32.
void MmaHalf(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
// mma.m16n8k8 of tf32 values with sums in fp32.
void MmaTf32(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
// ldmatrix.x4 of 16-bit elements, as shared_memory.cuh has it; `turned`: .trans.
void LoadMatrices(uint32_t (&m)[4], const void* row, bool turned);
// cp.async: what was there is gone at once, and nothing comes before the thread has waited.
void CopyAsync(void* to, const void* from, size_t bytes);
void CommitCopies();
void WaitCopies(int64_t pending);
// Meets the other lanes of the warp, and those of the block that have not ended.
void SyncWarp();
void SyncBlock();

}  // namespace emulator

inline void __syncthreads() { emulator::SyncBlock(); }
inline void __syncwarp() { emulator::SyncWarp(); }
template <typename T>
T __shfl_xor_sync(unsigned, T value, int mask) {
  return std::bit_cast<T>(
      emulator::Exchange(std::bit_cast<uint32_t>(value), emulator::Lane() ^ mask));
}
template <typename T>
T __shfl_up_sync(unsigned, T value, int distance) {
  const int from = emulator::Lane() - distance;
  return std::bit_cast<T>(
      emulator::Exchange(std::bit_cast<uint32_t>(value), from < 0 ? emulator::Lane() : from));
}
template <typename T>
T __shfl_sync(unsigned, T value, int lane) {
  return std::bit_cast<T>(emulator::Exchange(std::bit_cast<uint32_t>(value), lane));
}

template <typename T>
T __ldg(const T* at) {
  return *at;
}
inline int atomicAdd(int* at, int value) {
  const int old = *at;
  *at += value;
  return old;
}
inline int __dp4a(int a, int b, int sum) {
  for (int i = 0; i < 32; i += 8) {
    sum += static_cast<int8_t>(a >> i) * static_cast<int8_t>(b >> i);
  }
  return sum;
}
inline float __fmul_rn(float a, float b) { return a * b; }
inline int __float2int_rn(float x) { return static_cast<int>(std::nearbyintf(x)); }
inline uint32_t __float_as_uint(float x) { return std::bit_cast<uint32_t>(x); }
// Four of the eight bytes of {high, low}, one per digit of `places`; the lowest digit first.
inline uint32_t __byte_perm(uint32_t low, uint32_t high, uint32_t places) {
  const uint64_t bytes = static_cast<uint64_t>(high) << 32 | low;
  uint32_t result = 0;
  for (uint32_t i = 0; i < 4; ++i) {
    const uint64_t byte = bytes >> (places >> 4 * i & 7u) * 8 & 0xffu;
    result |= static_cast<uint32_t>(byte) << 8 * i;
  }
  return result;
}
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline float __uint_as_float(uint32_t x) { return std::bit_cast<float>(x); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a < b ? b : a; }
