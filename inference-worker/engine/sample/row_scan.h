// A row of logits, looked at in blocks: what is chosen from, and summed, is found without sorting
// or even visiting most of it. The same bits on every instruction set.
#pragma once

#include <cmath>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/kernels/cpu/isa/isa.h"
#include "engine/request.h"

namespace conclave::engine {

// Keeps scratch between rows; owned by one thread.
class RowScan final {
 public:
  RowScan();
  explicit RowScan(const IsaTable& isa) : isa_(&isa) {}

  // Borrows `logits` until the next Read; they must not change meanwhile. NaN counts as −inf.
  void Read(std::span<const float> logits);

  std::span<const float> logits() const { return logits_; }
  // The first of the largest; −1 when nothing is finite or +inf.
  TokenId best() const { return best_; }
  float max() const { return max_; }

  // Calls visit(id, logit), ids ascending, for every logit of at least `least` (not −inf).
  template <typename Visit>
  void ForEachFrom(float least, const Visit& visit) const {
    for (size_t block = 0; block < largest_.size(); ++block) {
      if (!(largest_[block] >= least) || std::isinf(least)) continue;
      const size_t begin = block * kScanBlock;
      const size_t end = std::min(logits_.size(), begin + kScanBlock);
      for (size_t i = begin; i < end; ++i) {
        if (logits_[i] >= least) visit(static_cast<TokenId>(i), logits_[i]);
      }
    }
  }
  // A logit that at least `count` logits reach, hardly more than that many when `count` is far
  // below the number of blocks; `otherwise` where that cannot be told.
  float ReachedBy(size_t count, float otherwise);

  // exp((logit − max) · factor) of all, 0 below e^−80. Needs a finite max; factor > 0.
  void Weigh(double factor);
  // Of the last Weigh:
  double total() const { return total_; }
  std::span<const float> weights() const { return weights_; }
  // The id at which the sum of the weights, in ascending order, passes `share` of the total.
  TokenId IdAt(double share) const;

 private:
  const IsaTable* isa_;
  std::span<const float> logits_;
  TokenId best_ = -1;
  float max_ = 0;
  double total_ = 0;
  std::vector<float> largest_;  // by block, as are sums_
  std::vector<float> sums_;
  std::vector<float> weights_;
  std::vector<float> scratch_;
};

}  // namespace conclave::engine
