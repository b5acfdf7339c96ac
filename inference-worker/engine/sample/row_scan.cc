#include "engine/sample/row_scan.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "engine/kernels/cpu/cpu_kernels.h"

namespace conclave::engine {
namespace {

// 0 · factor must stay 0, and a logit next to the largest far away, whatever the temperature.
constexpr double kFactorMax = 1e30;

// Kernels that choose from rows have been created with the same rules, or are not of processors.
const IsaTable& IsaOfRows() {
  const absl::StatusOr<const IsaTable*> chosen = ChooseIsa("");
  return chosen.ok() ? **chosen : ScalarTable();
}

}  // namespace

RowScan::RowScan() : RowScan(IsaOfRows()) {}

void RowScan::Read(std::span<const float> logits) {
  logits_ = logits;
  largest_.resize((logits.size() + kScanBlock - 1) / kScanBlock);
  isa_->largest_by_block(logits.data(), static_cast<int64_t>(logits.size()), largest_.data());
  best_ = -1;
  max_ = -std::numeric_limits<float>::infinity();
  size_t where = 0;
  for (size_t block = 0; block < largest_.size(); ++block) {
    if (largest_[block] > max_) {
      max_ = largest_[block];
      where = block;
    }
  }
  if (std::isinf(max_) && max_ < 0) return;
  size_t i = where * kScanBlock;
  while (logits[i] != max_) ++i;
  best_ = static_cast<TokenId>(i);
}

float RowScan::ReachedBy(size_t count, float otherwise) {
  // Each of the `count` largest blocks has one that reaches the least of their largest.
  if (count == 0 || count > largest_.size()) return otherwise;
  scratch_ = largest_;
  const auto last = scratch_.begin() + static_cast<ptrdiff_t>(count - 1);
  std::nth_element(scratch_.begin(), last, scratch_.end(), std::greater<>());
  return std::max(*last, otherwise);
}

void RowScan::Weigh(double factor) {
  weights_.resize(logits_.size());
  sums_.resize(largest_.size());
  isa_->weigh_by_block(logits_.data(), static_cast<int64_t>(logits_.size()), max_,
                       static_cast<float>(std::min(factor, kFactorMax)), weights_.data(),
                       sums_.data());
  total_ = 0;
  for (const float sum : sums_) total_ += static_cast<double>(sum);
}

TokenId RowScan::IdAt(double share) const {
  double left = share * total_;
  size_t chosen = 0;
  for (size_t block = 0; block < sums_.size(); ++block) {
    const auto sum = static_cast<double>(sums_[block]);
    if (sum == 0) continue;
    chosen = block;
    if (left < sum) break;
    left -= sum;
  }
  TokenId last = best_;  // rounding: the last sliver of a block is its last token's
  const size_t begin = chosen * kScanBlock;
  const size_t end = std::min(weights_.size(), begin + kScanBlock);
  for (size_t i = begin; i < end; ++i) {
    if (weights_[i] == 0) continue;
    last = static_cast<TokenId>(i);
    left -= static_cast<double>(weights_[i]);
    if (left < 0) break;
  }
  return last;
}

}  // namespace conclave::engine
