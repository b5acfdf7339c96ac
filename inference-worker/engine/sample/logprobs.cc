#include "engine/sample/logprobs.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace conclave::engine {

double LogSumExp(RowScan& row) {
  row.Weigh(1.0);
  return static_cast<double>(row.max()) + std::log(row.total());
}

std::vector<TokenLogprob> TopLogprobs(RowScan& row, double log_sum_exp, int32_t count) {
  struct Entry {
    TokenId id;
    float logit;
  };
  std::vector<Entry> entries;
  const auto wanted = static_cast<size_t>(std::max(count, 0));
  constexpr float kLowest = std::numeric_limits<float>::lowest();
  if (wanted > 0) {
    row.ForEachFrom(row.ReachedBy(wanted, kLowest), [&](TokenId id, float logit) {
      entries.push_back({id, logit});
    });
  }
  const size_t kept = std::min(entries.size(), wanted);
  std::partial_sort(entries.begin(), entries.begin() + static_cast<ptrdiff_t>(kept), entries.end(),
                    [](const Entry& a, const Entry& b) {
                      return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
                    });
  std::vector<TokenLogprob> top;
  top.reserve(kept);
  for (size_t i = 0; i < kept; ++i) {
    top.push_back(LogprobOf(row.logits(), log_sum_exp, entries[i].id));
  }
  return top;
}

TokenLogprob LogprobOf(std::span<const float> logits, double log_sum_exp, TokenId token) {
  const double logprob = static_cast<double>(logits[token]) - log_sum_exp;
  return {.id = token, .logprob = std::max(kMinLogprob, static_cast<float>(logprob))};
}

}  // namespace conclave::engine
