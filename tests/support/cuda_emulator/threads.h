// Runs the threads of a launch.
#pragma once

#include <cuda_runtime.h>

#include <functional>

namespace emulator {

// Calls `kernel` once for each thread of each block, and returns when all have ended. One caller at
// a time: shared memory is static, registers are globals.
void RunGrid(dim3 grid, unsigned threads, const std::function<void()>& kernel);

}  // namespace emulator
