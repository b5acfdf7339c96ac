// Runs the threads of a launch.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <functional>

namespace emulator {

// Of a launch that asks for more than its kernel declares: as much as the smaller of the devices
// that the module knows have.
constexpr size_t kSharedMax = 99 << 10;

// Calls `kernel` once for each thread of each block, and returns when all have ended. One caller at
// a time: shared memory is static, registers are globals.
void RunGrid(dim3 grid, unsigned threads, size_t shared_bytes, const std::function<void()>& kernel);

}  // namespace emulator
