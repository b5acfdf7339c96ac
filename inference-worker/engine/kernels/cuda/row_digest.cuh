// Rows of logits that are read in part: launches of row_digest.cu, and what they take.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "engine/kernels/cuda/context.cuh"

// Of the functions of the same names (module.h), for rows of n.
int64_t LargestBytes(int64_t rows, int64_t n);  // on the device
int64_t DigestBytes(int64_t rows, int64_t n);   // of results
int64_t BlockBytes(int64_t rows, int64_t n);    // of results: all blocks there are

const float* DigestRows(ConclaveCudaContext*, const ConclaveCudaRows*);
float* FetchBlocks(ConclaveCudaContext*, const ConclaveCudaRowBlock* blocks, int64_t count);
