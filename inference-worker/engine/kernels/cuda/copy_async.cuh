// Copies from device memory to shared memory beside a thread's other work (PTX ISA, "cp.async").
// What a thread has asked for up to CommitCopies is one group; the newest `kPending` groups may
// still be under way after WaitCopies<kPending>, and a barrier must follow before others read what
// is there.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

// Both addresses are multiples of kBytes.
template <int kBytes>
__device__ inline void CopyAsync(void* shared, const void* global) {
  static_assert(kBytes == 8 || kBytes == 16);
#ifdef CONCLAVE_CUDA_EMULATOR
  emulator::CopyAsync(shared, global, kBytes);
#else
  const auto to = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  if constexpr (kBytes == 16) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to), "l"(global) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"(to), "l"(global) : "memory");
  }
#endif
}

__device__ inline void CommitCopies() {
#ifdef CONCLAVE_CUDA_EMULATOR
  emulator::CommitCopies();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int kPending>
__device__ inline void WaitCopies() {
#ifdef CONCLAVE_CUDA_EMULATOR
  emulator::WaitCopies(kPending);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}
