// The C door between the engine and libconclave_cuda.so. The engine loads the module at run time,
// so a binary starts on machines without CUDA; the module alone links the CUDA libraries. No CUDA
// types here: both sides include this header.
#pragma once

#include <cstddef>
#include <cstdint>

extern "C" {

struct ConclaveCudaDevice {
  char name[256];
  int32_t compute_major;
  int32_t compute_minor;
  int32_t multiprocessors;
  uint64_t memory_bytes;
  uint64_t memory_free_bytes;
};

// Fills up to `max` entries and gives the number of devices; -1 with a message in `error` when the
// driver is missing or does not answer.
int32_t conclave_cuda_devices(ConclaveCudaDevice* out, int32_t max, char* error, size_t error_size);

}  // extern "C"
