#include "engine/models/blocks/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

namespace conclave::engine {
namespace {

// The pair that makes `turns` full turns within the original context.
double PairOfTurns(const RopeParams& params, double turns) {
  return params.dim * std::log(params.original_context / (2 * std::numbers::pi * turns)) /
         (2 * std::log(params.base));
}

}  // namespace

std::vector<float> YarnDivisors(const RopeParams& params) {
  double low = PairOfTurns(params, params.beta_fast);
  double high = PairOfTurns(params, params.beta_slow);
  if (params.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(0.0, low);
  high = std::min(params.dim - 1.0, high);
  const double slow = 1.0 / params.factor;
  std::vector<float> divisors(static_cast<size_t>(params.dim / 2));
  for (size_t i = 0; i < divisors.size(); ++i) {
    const double along = (static_cast<double>(i) - low) / std::max(0.001, high - low);
    const double keep = 1.0 - std::clamp(along, 0.0, 1.0);
    divisors[i] = static_cast<float>(1.0 / (slow * (1.0 - keep) + keep));
  }
  return divisors;
}

absl::StatusOr<Rope> Rope::Bind(Binder& binder, const RopeParams& params, RopeStyle style) {
  ASSIGN_OR_RETURN(std::vector<float> divisors,
                   binder.GetOptionalVector("rope_freqs.weight", params.dim / 2));
  if (std::any_of(divisors.begin(), divisors.end(), [](float d) { return !(d > 0); })) {
    return base::InvalidArgument(std::string(binder.source().path()) +
                                 ": rope_freqs.weight: every factor must be above 0");
  }
  double scale = 1.0;
  double magnitude = 1.0;
  if (params.scaling == RopeScaling::kLinear) scale = 1.0 / params.factor;
  if (params.scaling == RopeScaling::kYarn) {
    const std::vector<float> yarn = YarnDivisors(params);
    if (divisors.empty()) divisors.assign(yarn.size(), 1.0f);
    std::transform(divisors.begin(), divisors.end(), yarn.begin(), divisors.begin(),
                   std::multiplies<>());
    magnitude = params.attention_factor;
    if (params.log_multiplier == 0) magnitude *= 1.0 + 0.1 * std::log(params.factor);
  }
  return Rope(RopeTable(params.dim, params.base, scale, divisors), style,
              static_cast<float>(magnitude));
}

}  // namespace conclave::engine
