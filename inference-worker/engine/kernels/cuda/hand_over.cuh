// Work that the host shares inside a step: the module's operations of the same names (module.h).
#pragma once

#include <cstdint>

#include "engine/kernels/cuda/context.cuh"

void* Pin(ConclaveCudaContext*, int64_t bytes);
void HandOver(ConclaveCudaContext*, const ConclaveCudaHandOver*);
int32_t AwaitHostTurn(ConclaveCudaContext*, double seconds);
