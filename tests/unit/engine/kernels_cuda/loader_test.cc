#include "engine/kernels/cuda/loader.h"

#include <catch2/catch.hpp>

namespace conclave::engine {

TEST_CASE("GPUs are listed with their memory, or the reason is told") {
  const auto devices = CudaDevices();
  if (!devices.ok()) {
    const bool told = devices.status().code() == absl::StatusCode::kNotFound ||
                      devices.status().code() == absl::StatusCode::kFailedPrecondition;
    CHECK(told);
    CHECK_FALSE(devices.status().message().empty());
    return;
  }
  for (const CudaDevice& device : *devices) {
    CHECK_FALSE(device.name.empty());
    CHECK(device.compute_major >= 7);
    CHECK(device.memory_free_bytes <= device.memory_bytes);
  }
}

}  // namespace conclave::engine
