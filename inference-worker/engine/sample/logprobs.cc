#include "engine/sample/logprobs.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace conclave::engine {

double LogSumExp(std::span<const float> logits) {
  const double max = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - max);
  return max + std::log(sum);
}

std::vector<TokenLogprob> TopLogprobs(std::span<const float> logits, double log_sum_exp,
                                      int32_t count) {
  std::vector<TokenId> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  const size_t kept = std::min(ids.size(), static_cast<size_t>(std::max(count, 0)));
  std::partial_sort(
      ids.begin(), ids.begin() + static_cast<ptrdiff_t>(kept), ids.end(),
      [&](TokenId a, TokenId b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; });
  std::vector<TokenLogprob> top;
  top.reserve(kept);
  for (size_t i = 0; i < kept; ++i) top.push_back(LogprobOf(logits, log_sum_exp, ids[i]));
  return top;
}

TokenLogprob LogprobOf(std::span<const float> logits, double log_sum_exp, TokenId token) {
  const double logprob = static_cast<double>(logits[token]) - log_sum_exp;
  return {.id = token, .logprob = std::max(kMinLogprob, static_cast<float>(logprob))};
}

}  // namespace conclave::engine
