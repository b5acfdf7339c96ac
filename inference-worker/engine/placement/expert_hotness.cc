#include "engine/placement/expert_hotness.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace conclave::engine {

void ExpertHotness::Add(int64_t tokens, const ExpertCounts& chosen) {
  if (chosen.size() > values_.size()) values_.resize(chosen.size());
  const double decay = std::exp2(-static_cast<double>(tokens) / half_life_);
  for (size_t layer = 0; layer < chosen.size(); ++layer) {
    std::vector<double>& values = values_[layer];
    if (chosen[layer].size() > values.size()) values.resize(chosen[layer].size());
    for (size_t e = 0; e < chosen[layer].size(); ++e) {
      values[e] = values[e] * decay + static_cast<double>(chosen[layer][e]);
    }
  }
}

double ExpertHotness::ShareOf(const std::vector<std::vector<int32_t>>& experts) const {
  double all = 0, theirs = 0;
  for (size_t layer = 0; layer < values_.size(); ++layer) {
    for (const double value : values_[layer]) all += value;
    if (layer >= experts.size()) continue;
    for (const int32_t e : experts[layer]) theirs += values_[layer][static_cast<size_t>(e)];
  }
  return all > 0 ? theirs / all : 0;
}

std::vector<ExpertExchange> PlanExchanges(const ExpertHotness::Values& hotness,
                                          const std::vector<std::vector<int32_t>>& device,
                                          const ExchangeRules& rules) {
  std::vector<std::pair<double, ExpertExchange>> found;  // −what is won
  for (size_t layer = 0; layer < std::min(hotness.size(), device.size()); ++layer) {
    const std::vector<double>& hot = hotness[layer];
    const auto value = [&](int32_t e) { return hot[static_cast<size_t>(e)]; };
    std::vector<int32_t> leaving = device[layer];
    std::vector<int32_t> coming;
    std::vector<bool> here(hot.size());
    for (const int32_t e : leaving) here[static_cast<size_t>(e)] = true;
    for (size_t e = 0; e < hot.size(); ++e) {
      if (!here[e]) coming.push_back(static_cast<int32_t>(e));
    }
    std::stable_sort(leaving.begin(), leaving.end(),
                     [&](int32_t a, int32_t b) { return value(a) < value(b); });
    std::stable_sort(coming.begin(), coming.end(),
                     [&](int32_t a, int32_t b) { return value(a) > value(b); });
    for (size_t i = 0; i < std::min(leaving.size(), coming.size()); ++i) {
      const double in = value(coming[i]), out = value(leaving[i]);
      const double noise = rules.deviations * std::sqrt(in + out);
      if (in - out < rules.least + rules.margin * out + noise) break;
      found.emplace_back(
          out - in,
          ExpertExchange{.layer = static_cast<int32_t>(layer), .in = coming[i], .out = leaving[i]});
    }
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<ExpertExchange> exchanges;
  exchanges.reserve(found.size());
  for (const auto& [won, exchange] : found) exchanges.push_back(exchange);
  return exchanges;
}

}  // namespace conclave::engine
