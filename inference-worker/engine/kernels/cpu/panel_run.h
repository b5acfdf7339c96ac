// Small helpers to fill a PanelRun (isa/isa.h), shared by the matrix operations.
#pragma once

#include "engine/kernels/cpu/isa/isa.h"
#include "engine/kernels/packed_matrix.h"

namespace conclave::engine {

// `count` panels of one matrix from `first_panel` on; activations and output still to be set.
PanelRun RunOver(const PackedMatrix& weight, int64_t matrix, int64_t first_panel, int64_t count);

// How many activation rows to visit before going on to the next panel.
int64_t RowsPerBlock(const PackedMatrix& weight);

// The rows from `row` on.
inline Int8Rows RowsFrom(const Int8Rows& rows, int64_t row) {
  if (rows.q == nullptr) return rows;
  Int8Rows tail = rows;
  tail.q += row * rows.cols;
  tail.scales += row * (rows.cols / 32);
  tail.negative_sums += row * (rows.cols / 16);
  return tail;
}

}  // namespace conclave::engine
