// How often experts are chosen of late, and which should change places for it.
//
//   ExpertHotness hotness({128, 128}, 4096);
//   hotness.Add(64, chosen);   // 64 tokens later
//   for (const ExpertExchange& e : PlanExchanges(hotness.values(), device)) …
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/kernels/expert_mover.h"

namespace conclave::engine {

// Selections with exponential decay: what was chosen `half_life` tokens ago counts half.
class ExpertHotness final {
 public:
  using Values = std::vector<std::vector<double>>;  // [layer][expert]

  // `half_life` > 0.
  explicit ExpertHotness(double half_life) : half_life_(half_life) {}

  // What the last `tokens` tokens chose.
  void Add(int64_t tokens, const ExpertCounts& chosen);

  const Values& values() const { return values_; }
  // Of the selections, as they count now, those of the given experts [layer][…]; 0 without any.
  double ShareOf(const std::vector<std::vector<int32_t>>& experts) const;

 private:
  const double half_life_;
  Values values_;
};

// When an exchange is worth it. All in selections as ExpertHotness counts them.
struct ExchangeRules {
  // Bytes cross the bus twice and are laid out anew: what is won must pay for that.
  double least = 8;
  // Of what the one that leaves has: near equals stay where they are.
  double margin = 0.1;
  // Counts are samples: differences of so many standard deviations are none.
  double deviations = 2;
};

// For each layer the hottest of the processors' experts against the coldest of the device's, while
// the rules allow; those that win most first. Layers of which there is nothing to exchange have no
// experts in `device`.
std::vector<ExpertExchange> PlanExchanges(const ExpertHotness::Values& hotness,
                                          const std::vector<std::vector<int32_t>>& device,
                                          const ExchangeRules& rules = {});

}  // namespace conclave::engine
