// Rows of logits that lie in a device's memory, read in part. The device makes a digest of each
// row, from which the host sees what of it matters; only those blocks come over. A digest has the
// bits that the processors' kernels (largest_by_block and weigh_by_block of cpu/isa/isa.h) give for
// the same row.
//
//   reader->Start();                                     // the device computes, the host prepares
//   ASSIGN_OR_RETURN(const float* blocks, reader->Read({.x = x, .n = n, .rows = requests}));
//   ASSIGN_OR_RETURN(blocks, reader->Fetch(wanted));
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "engine/kernels/types.h"

namespace conclave::engine {

// One list after the other. Within a list those of one id are neighbours and happen in order.
using RowChanges = std::array<std::vector<RowChange>, kChangeLists>;

// What is done to a row first, and what its digest shall say.
struct RowRequest {
  // A bit per number, a whole row's words: numbers without become −inf, before all changes. Empty:
  // all stay.
  std::span<const uint64_t> allowed;
  const RowChanges* changes = nullptr;  // or none
  bool largest = false;
  std::array<float, kRowFactors> factors = {};  // of weigh_by_block; 0 = none
};

// Of a row as it is after its changes.
struct RowDigest {
  float max = 0;      // −inf when nothing is finite or +inf
  int32_t best = -1;  // the first of the largest; −1 when nothing is
  // Per block of kScanBlock numbers; empty where not asked for.
  std::span<const float> largest;
  std::array<std::span<const float>, kRowFactors> sums;
  std::array<float, kRowFactors> factors = {};
};

struct RowBlock {
  int32_t row = 0;
  int32_t block = 0;
};

// Used by the thread that computes the steps.
class RowReader {
 public:
  struct Rows {
    float* x = nullptr;  // rows of n without gaps
    int64_t n = 0;
    std::span<const RowRequest> rows;
    std::span<const RowBlock> blocks;  // that are surely wanted
  };

  virtual ~RowReader() = default;

  // Has the device begin with what was asked for, where it does not yet.
  virtual void Start() = 0;
  // Waits for every operation so far, the changes and the digests. Gives the blocks, kScanBlock
  // floats each, numbers beyond the row −inf; they and the digests live until the next Read or
  // HostView, and the blocks are the caller's to change. UNAVAILABLE when the device has failed.
  virtual absl::StatusOr<float*> Read(const Rows& rows) = 0;
  virtual RowDigest digest(int64_t row) const = 0;
  // More blocks of the rows that were read. Each block is asked for once.
  virtual absl::StatusOr<float*> Fetch(std::span<const RowBlock> blocks) = 0;

  // A step of no more floats than this is read whole sooner than in part.
  virtual int64_t whole_floats() const = 0;
  // All rows of a step together may have so many.
  virtual int64_t changes_max() const = 0;
};

}  // namespace conclave::engine
