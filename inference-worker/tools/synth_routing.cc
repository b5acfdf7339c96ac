#include "tools/synth_routing.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "tools/synth_values.h"

namespace conclave::engine {
namespace {

// A row's scores are symmetric around 0, so no scale has them above a positive bound more often
// than half of the time.
constexpr double kMostShare = 0.4;
constexpr int kHalvings = 60;

// The x at which `falling` crosses `value`, between low and high.
template <typename Function>
double Crossing(double low, double high, double value, const Function& falling) {
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (low + high) / 2;
    (falling(middle) > value ? low : high) = middle;
  }
  return low;
}

// How often a standard normal number is above x.
double Above(double x) { return std::erfc(x / std::sqrt(2.0)) / 2; }

}  // namespace

std::vector<double> ZipfShares(int32_t experts, int32_t used, double exponent) {
  std::vector<double> shares(static_cast<size_t>(experts));
  const auto fill = [&](double most) {
    double sum = 0;
    for (size_t i = 0; i < shares.size(); ++i) {
      shares[i] = std::min(kMostShare, most * std::pow(static_cast<double>(i + 1), -exponent));
      sum += shares[i];
    }
    return sum;
  };
  // A sum that falls as its argument grows, for Crossing.
  fill(1 / Crossing(1e-9, 1e9, used, [&](double inverse) { return fill(1 / inverse); }));
  return shares;
}

std::vector<float> ZipfRouterScales(uint64_t seed, std::string_view name, int32_t experts,
                                    int32_t used, double exponent) {
  const std::vector<double> shares = ZipfShares(experts, used, exponent);
  const auto count = static_cast<size_t>(experts);
  std::vector<uint64_t> order(count);
  for (size_t e = 0; e < count; ++e) {
    order[e] = TensorSeed(seed, std::string(name) + "/" + std::to_string(e));
  }
  std::vector<size_t> by_rank(count);
  std::iota(by_rank.begin(), by_rank.end(), 0);
  std::sort(by_rank.begin(), by_rank.end(),
            [&](size_t a, size_t b) { return order[a] < order[b]; });
  std::vector<float> scales(count);
  for (size_t rank = 0; rank < count; ++rank) {
    // Scores of deviation s are above 1 as often as a standard normal number is above 1/s.
    scales[by_rank[rank]] = static_cast<float>(1 / Crossing(0, 40, shares[rank], Above));
  }
  return scales;
}

}  // namespace conclave::engine
