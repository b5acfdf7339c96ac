// A row of logits, looked at in blocks: what is chosen from, and summed, is found without sorting
// or even visiting most of it. The same bits on every instruction set, and whether the row is here
// or on a device that has made a digest of it.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/kernels/cpu/isa/isa.h"
#include "engine/kernels/row_reader.h"
#include "engine/request.h"

namespace conclave::engine {

// Keeps scratch between rows; owned by one thread.
class RowScan final {
 public:
  RowScan();
  explicit RowScan(const IsaTable& isa) : isa_(&isa) {}

  // Borrows `logits` until the next Read; they must not change meanwhile. NaN counts as −inf.
  void Read(std::span<const float> logits);
  // A row of `size` logits of which the digest is here and those blocks that are not null; borrows
  // both. What visits a block asks for it first: Has….
  void Read(const RowDigest& digest, size_t size, std::span<const float* const> blocks);

  // The first of the largest; −1 when nothing is finite or +inf.
  TokenId best() const { return best_; }
  float max() const { return max_; }

  // Whether the blocks of all logits of at least `least` are here. Those that are not are wanted.
  bool HasFrom(float least) {
    bool has = true;
    if (blocks_.empty()) return has;
    ForEachBlockFrom(least, [&](size_t block) { has = HasBlock(block) && has; });
    return has;
  }
  // By number, with repetitions; of a row whose blocks are all here: none.
  std::span<const int32_t> wanted() const { return wanted_; }
  // None where its block is not here: it is wanted.
  std::optional<float> LogitOf(TokenId token);

  // Calls visit(id, logit), ids ascending, for every logit of at least `least` (not −inf).
  template <typename Visit>
  void ForEachFrom(float least, const Visit& visit) const {
    ForEachBlockFrom(least, [&](size_t block) {
      const size_t begin = block * kScanBlock;
      const float* const logits = LogitsOf(block);
      const size_t count = CountOf(block);
      for (size_t i = 0; i < count; ++i) {
        if (logits[i] >= least) visit(static_cast<TokenId>(begin + i), logits[i]);
      }
    });
  }
  // The same with visit(id, logit, weight), of the last Weigh.
  template <typename Visit>
  void ForEachWeighed(float least, const Visit& visit) {
    ForEachBlockFrom(least, [&](size_t block) {
      const size_t begin = block * kScanBlock;
      const float* const logits = LogitsOf(block);
      const float* const weights = WeightsOf(block);
      const size_t count = CountOf(block);
      for (size_t i = 0; i < count; ++i) {
        if (logits[i] >= least) visit(static_cast<TokenId>(begin + i), logits[i], weights[i]);
      }
    });
  }
  // A logit that at least `count` logits reach, hardly more than that many when `count` is far
  // below the number of blocks; `otherwise` where that cannot be told.
  float ReachedBy(size_t count, float otherwise);

  // exp((logit − max) · factor) of all, 0 below e^−80. Needs a finite max; factor > 0, one of the
  // digest's where that is what there is.
  void Weigh(double factor);
  static float FactorOf(double factor);
  // Of the last Weigh:
  double total() const { return total_; }
  std::span<const float> weights() const { return weights_; }  // of a row that is here
  // More than logits of at least `least` can weigh together.
  double MassFrom(float least) const;
  // The id at which the sum of the weights, in ascending order, passes `share` of the total. None
  // where its block is not here: it is wanted.
  std::optional<TokenId> IdAt(double share);

 private:
  template <typename Visit>
  void ForEachBlockFrom(float least, const Visit& visit) const {
    if (std::isinf(least)) return;
    for (size_t block = 0; block < largest_.size(); ++block) {
      if (largest_[block] >= least) visit(block);
    }
  }
  bool HasBlock(size_t block) {
    if (blocks_.empty() || blocks_[block] != nullptr) return true;
    wanted_.push_back(static_cast<int32_t>(block));
    return false;
  }
  size_t CountOf(size_t block) const {
    return std::min(static_cast<size_t>(kScanBlock), size_ - block * kScanBlock);
  }
  const float* LogitsOf(size_t block) const {
    return blocks_.empty() ? logits_.data() + block * kScanBlock : blocks_[block];
  }
  const float* WeightsOf(size_t block);

  const IsaTable* isa_;
  size_t size_ = 0;
  std::span<const float> logits_;
  const RowDigest* digest_ = nullptr;     // of a row that is not here
  std::span<const float* const> blocks_;  // of that; empty: logits_ is all
  std::vector<int32_t> wanted_;
  TokenId best_ = -1;
  float max_ = 0;
  float factor_ = 0;
  double total_ = 0;
  std::span<const float> largest_;  // by block, as are sums_
  std::span<const float> sums_;
  std::vector<float> own_largest_;
  std::vector<float> own_sums_;
  std::vector<float> weights_;
  std::vector<bool> weighed_;  // blocks of a row that is not here whose weights_ are known
  std::vector<float> scratch_;
};

}  // namespace conclave::engine
