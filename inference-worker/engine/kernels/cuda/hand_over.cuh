// Work that the host shares inside a step: the module's operations of the same names (module.h).
#pragma once

#include <cstdint>

#include "engine/kernels/cuda/context.cuh"

void* Pin(ConclaveCudaContext*, int64_t bytes);
void HandOver(ConclaveCudaContext*, const ConclaveCudaHandOver*);
int32_t AwaitHostTurn(ConclaveCudaContext*);

void ChooseExpertsOp(ConclaveCudaContext*, const int32_t* ids, const int32_t* places, int64_t slots,
                     int32_t theirs, int32_t first, int32_t count, int32_t* here);
void Stage(ConclaveCudaContext*, int32_t slot, const void* pinned, int64_t bytes, void* device);
int32_t AwaitStaging(ConclaveCudaContext*, int32_t slot);
void UseStaged(ConclaveCudaContext*, int32_t slot);
void DoneWithStaged(ConclaveCudaContext*, int32_t slot);
void CloseStaging(ConclaveCudaContext*);

int32_t Exchange(ConclaveCudaContext*, int32_t slot, const ConclaveCudaCopy* in, int32_t num_in,
                 const ConclaveCudaCopy* out, int32_t num_out);
int32_t Exchanged(ConclaveCudaContext*, int32_t slot);
void Copy(ConclaveCudaContext*, const ConclaveCudaCopy* copies, int32_t num);
void CountExpertsOp(ConclaveCudaContext*, const int32_t* ids, int64_t slots, int32_t* chosen);
