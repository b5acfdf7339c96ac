#include "engine/sample/row_digest.h"

#include "engine/sample/row_scan.h"

namespace conclave::engine {

HostDigest::HostDigest(std::span<const float> row, const RowRequest& request, const IsaTable& isa)
    : largest_((row.size() + kScanBlock - 1) / kScanBlock) {
  RowScan scan(isa);
  scan.Read(row);
  digest_.max = scan.max();
  digest_.best = scan.best();
  const auto n = static_cast<int64_t>(row.size());
  isa.largest_by_block(row.data(), n, largest_.data());
  if (request.largest) digest_.largest = largest_;
  digest_.factors = request.factors;
  std::vector<float> weights(row.size());
  for (size_t f = 0; f < kRowFactors; ++f) {
    if (request.factors[f] == 0) continue;
    sums_[f].resize(largest_.size());
    isa.weigh_by_block(row.data(), n, scan.max(), request.factors[f], weights.data(),
                       sums_[f].data());
    digest_.sums[f] = sums_[f];
  }
}

}  // namespace conclave::engine
