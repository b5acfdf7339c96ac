// Finds and loads libconclave_cuda.so, once per process. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

struct ConclaveCudaApi;

namespace conclave::engine {

struct CudaDevice {
  std::string name;
  int32_t compute_major = 0;
  int32_t compute_minor = 0;
  int32_t multiprocessors = 0;
  uint64_t memory_bytes = 0;
  uint64_t memory_free_bytes = 0;
};

// The GPUs of this machine. NOT_FOUND: this build has no CUDA module (or it does not load, with the
// linker's word); FAILED_PRECONDITION: the module is there, the driver is not.
//
// The module is looked for beside the executable, then in ../lib, then by the system's rules;
// CONCLAVE_CUDA_MODULE names another file.
absl::StatusOr<std::vector<CudaDevice>> CudaDevices();

// The module's table of operations (module.h). NOT_FOUND as above, or when the module found is of
// another version.
absl::StatusOr<const ConclaveCudaApi*> LoadCudaApi();

}  // namespace conclave::engine
