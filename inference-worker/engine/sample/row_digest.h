// The digest of a row that is here: what a device has to say of the same row, to the bit.
#pragma once

#include <array>
#include <span>
#include <vector>

#include "engine/kernels/cpu/isa/isa.h"
#include "engine/kernels/row_reader.h"

namespace conclave::engine {

class HostDigest final {
 public:
  // Of the row as it is; the request's changes are not made. Borrows nothing.
  HostDigest(std::span<const float> row, const RowRequest& request, const IsaTable& isa);
  HostDigest(const HostDigest&) = delete;
  HostDigest& operator=(const HostDigest&) = delete;

  const RowDigest& digest() const { return digest_; }

 private:
  std::vector<float> largest_;
  std::array<std::vector<float>, kRowFactors> sums_;
  RowDigest digest_;
};

}  // namespace conclave::engine
