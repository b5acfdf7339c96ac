// Which GPUs the driver shows.

#include <cuda_runtime.h>

#include <cstdio>
#include <cstring>

#include "engine/kernels/cuda/module.h"

extern "C" __attribute__((visibility("default"))) int32_t conclave_cuda_devices(
    ConclaveCudaDevice* out, int32_t max, char* error, size_t error_size) {
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
