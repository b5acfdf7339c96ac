#include "engine/sample/logprobs.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace conclave::engine {
namespace {

// What the `count` most probable tokens reach; +inf for none.
float LeastOfTop(RowScan& row, int32_t count) {
  if (count <= 0) return std::numeric_limits<float>::infinity();
  return row.ReachedBy(static_cast<size_t>(count), std::numeric_limits<float>::lowest());
}

}  // namespace

double LogSumExp(RowScan& row) {
  row.Weigh(1.0);
  return static_cast<double>(row.max()) + std::log(row.total());
}

bool HasTop(RowScan& row, int32_t count) { return row.HasFrom(LeastOfTop(row, count)); }

std::vector<TokenLogprob> TopLogprobs(RowScan& row, double log_sum_exp, int32_t count) {
  struct Entry {
    TokenId id;
    float logit;
  };
  std::vector<Entry> entries;
  const auto wanted = static_cast<size_t>(std::max(count, 0));
  row.ForEachFrom(LeastOfTop(row, count), [&](TokenId id, float logit) {
    entries.push_back({id, logit});
  });
  const size_t kept = std::min(entries.size(), wanted);
  std::partial_sort(entries.begin(), entries.begin() + static_cast<ptrdiff_t>(kept), entries.end(),
                    [](const Entry& a, const Entry& b) {
                      return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
                    });
  std::vector<TokenLogprob> top;
  top.reserve(kept);
  for (size_t i = 0; i < kept; ++i) {
    top.push_back(LogprobOf(entries[i].id, entries[i].logit, log_sum_exp));
  }
  return top;
}

TokenLogprob LogprobOf(TokenId token, float logit, double log_sum_exp) {
  const double logprob = static_cast<double>(logit) - log_sum_exp;
  return {.id = token, .logprob = std::max(kMinLogprob, static_cast<float>(logprob))};
}

}  // namespace conclave::engine
