// Activations as quantised weights want them: int8 in groups of 32 inputs with one fp32 scale each.
// One form serves every quantised format, so a row is quantised once however many matrices read it.
// A row is quantised from itself alone: nothing of a batch or of the thread count enters.
//
//   scale = max|x| / 127;  q = round-half-even(x · (1/scale)), 0 where the group is all zeros
//
// `negative_sums` holds −Σq over each half group of 16: unsigned weights u stand for u − offset,
// and Σ(u − offset)·q = Σu·q + offset · negative_sum.
#pragma once

#include <cstdint>

namespace conclave::engine {

// Borrowed memory for `m` rows of `cols` inputs (a multiple of 32), each plane row after row.
struct Int8Rows {
  int8_t* q = nullptr;               // [m][cols]
  float* scales = nullptr;           // [m][cols / 32]
  int32_t* negative_sums = nullptr;  // [m][cols / 16]
  int64_t cols = 0;

  int64_t groups() const { return cols / 32; }
  // Bytes that `m` rows take, each plane rounded to 64.
  static int64_t Bytes(int64_t m, int64_t cols);
  // Lays the planes into `memory` (64-byte aligned, Bytes(m, cols) of it).
  static Int8Rows In(void* memory, int64_t m, int64_t cols);
};

}  // namespace conclave::engine
