// Work that the host shares inside a step: the module's operations of the same names (module.h).
#pragma once

#include <cstdint>

#include "engine/kernels/cuda/context.cuh"

void* Pin(ConclaveCudaContext*, int64_t bytes);
void SplitRoutingOp(ConclaveCudaContext*, const int32_t* ids, const int32_t* places, int64_t slots,
                    int32_t* here, int32_t* there);
void HandOver(ConclaveCudaContext*, const ConclaveCudaCopy* copies, int32_t num_copies);
int32_t AwaitHostTurn(ConclaveCudaContext*, double seconds);
void TakeBack(ConclaveCudaContext*, const void* pinned, int64_t bytes, void* device);
