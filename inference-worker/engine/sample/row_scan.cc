#include "engine/sample/row_scan.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "base/check.h"
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
  size_ = logits.size();
  digest_ = nullptr;
  blocks_ = {};
  wanted_.clear();
  own_largest_.resize((logits.size() + kScanBlock - 1) / kScanBlock);
  isa_->largest_by_block(logits.data(), static_cast<int64_t>(logits.size()), own_largest_.data());
  largest_ = own_largest_;
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

void RowScan::Read(const RowDigest& digest, size_t size, std::span<const float* const> blocks) {
  logits_ = {};
  size_ = size;
  digest_ = &digest;
  blocks_ = blocks;
  wanted_.clear();
  largest_ = digest.largest;
  best_ = digest.best;
  max_ = digest.max;
}

std::optional<float> RowScan::LogitOf(TokenId token) {
  if (token == best_) return max_;
  const size_t block = static_cast<size_t>(token) / kScanBlock;
  if (!HasBlock(block)) return std::nullopt;
  return LogitsOf(block)[static_cast<size_t>(token) % kScanBlock];
}

float RowScan::ReachedBy(size_t count, float otherwise) {
  // Each of the `count` largest blocks has one that reaches the least of their largest.
  if (count == 0 || count > largest_.size()) return otherwise;
  scratch_.assign(largest_.begin(), largest_.end());
  const auto last = scratch_.begin() + static_cast<ptrdiff_t>(count - 1);
  std::nth_element(scratch_.begin(), last, scratch_.end(), std::greater<>());
  return std::max(*last, otherwise);
}

float RowScan::FactorOf(double factor) { return static_cast<float>(std::min(factor, kFactorMax)); }

void RowScan::Weigh(double factor) {
  factor_ = FactorOf(factor);
  weights_.resize(size_);
  if (digest_ != nullptr) {
    const auto known = std::find(digest_->factors.begin(), digest_->factors.end(), factor_);
    CHECK(known != digest_->factors.end());
    sums_ = digest_->sums[static_cast<size_t>(known - digest_->factors.begin())];
    weighed_.assign(blocks_.size(), false);
  } else {
    own_sums_.resize(largest_.size());
    isa_->weigh_by_block(logits_.data(), static_cast<int64_t>(size_), max_, factor_,
                         weights_.data(), own_sums_.data());
    sums_ = own_sums_;
  }
  total_ = 0;
  for (const float sum : sums_) total_ += static_cast<double>(sum);
}

const float* RowScan::WeightsOf(size_t block) {
  float* const weights = weights_.data() + block * kScanBlock;
  if (digest_ != nullptr && !weighed_[block]) {
    float sum = 0;  // the digest has it
    isa_->weigh_by_block(LogitsOf(block), static_cast<int64_t>(CountOf(block)), max_, factor_,
                         weights, &sum);
    weighed_[block] = true;
  }
  return weights;
}

double RowScan::MassFrom(float least) const {
  double mass = 0;
  ForEachBlockFrom(least, [&](size_t block) { mass += static_cast<double>(sums_[block]); });
  // Sums are fp32, of 16 lanes of 16.
  return mass * (1 + 1e-5);
}

std::optional<TokenId> RowScan::IdAt(double share) {
  double left = share * total_;
  size_t chosen = 0;
  for (size_t block = 0; block < sums_.size(); ++block) {
    const auto sum = static_cast<double>(sums_[block]);
    if (sum == 0) continue;
    chosen = block;
    if (left < sum) break;
    left -= sum;
  }
  if (!HasBlock(chosen)) return std::nullopt;
  TokenId last = best_;  // rounding: the last sliver of a block is its last token's
  const float* const weights = WeightsOf(chosen);
  const size_t count = CountOf(chosen);
  for (size_t i = 0; i < count; ++i) {
    if (weights[i] == 0) continue;
    last = static_cast<TokenId>(chosen * kScanBlock + i);
    left -= static_cast<double>(weights[i]);
    if (left < 0) break;
  }
  return last;
}

}  // namespace conclave::engine
