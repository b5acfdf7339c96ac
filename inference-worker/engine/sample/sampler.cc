#include "engine/sample/sampler.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "engine/sample/philox.h"

namespace conclave::engine {
namespace {

absl::Status OutOfRange(const char* field, double value, const char* range) {
  return base::InvalidArgument(absl::StrCat(field, ": ", value, " is outside ", range));
}

// Refuses NaN too: every comparison with it is false.
bool Within(double value, double low, double high) { return value >= low && value <= high; }

// What is e^-80 times less probable than the best cannot be drawn in a lifetime.
constexpr double kLeastLog = -80.0;

// Candidates are sorted into bins by their distance from the first, in nats, and only the bin in
// which a cut falls is sorted itself.
constexpr double kBinsPerNat = 64;
constexpr size_t kNumBins = static_cast<size_t>(-kLeastLog * kBinsPerNat) + 1;
size_t BinOf(double nats) {
  return nats < -kLeastLog ? static_cast<size_t>(nats * kBinsPerNat) : kNumBins - 1;
}

bool CutsMass(const SamplingParams& params) { return params.typical_p < 1 || params.top_p < 1; }

}  // namespace

absl::Status Validate(const SamplingParams& params, int32_t vocab_size) {
  if (!Within(params.temperature, 0, 2)) {
    return OutOfRange("temperature", params.temperature, "[0, 2]");
  }
  if (params.top_k < 0) return OutOfRange("top_k", params.top_k, "[0, vocabulary]; 0 is off");
  if (!(params.typical_p > 0 && params.typical_p <= 1)) {
    return OutOfRange("typical_p", params.typical_p, "(0, 1]");
  }
  if (!(params.top_p > 0 && params.top_p <= 1)) return OutOfRange("top_p", params.top_p, "(0, 1]");
  if (!Within(params.min_p, 0, 1)) return OutOfRange("min_p", params.min_p, "[0, 1]");
  if (!(params.repetition_penalty > 0 && params.repetition_penalty <= 10)) {
    return OutOfRange("repetition_penalty", params.repetition_penalty, "(0, 10]");
  }
  if (!Within(params.frequency_penalty, -2, 2)) {
    return OutOfRange("frequency_penalty", params.frequency_penalty, "[-2, 2]");
  }
  if (!Within(params.presence_penalty, -2, 2)) {
    return OutOfRange("presence_penalty", params.presence_penalty, "[-2, 2]");
  }
  if (params.penalty_last_n < -1) {
    return OutOfRange("penalty_last_n", params.penalty_last_n, "[-1, …); -1 is all, 0 is none");
  }
  if (params.min_tokens < 0) return OutOfRange("min_tokens", params.min_tokens, "[0, max_tokens]");
  for (const auto& [token, bias] : params.logit_bias) {
    if (token < 0 || token >= vocab_size) {
      return base::InvalidArgument(
          absl::StrCat("logit_bias: token ", token, " is outside the vocabulary of ", vocab_size));
    }
    if (!Within(bias, -100, 100)) {
      return base::InvalidArgument(
          absl::StrCat("logit_bias[", token, "]: ", bias, " is outside [-100, 100]"));
    }
  }
  return absl::OkStatus();
}

Sampler::Needs Sampler::NeedsOf(const SamplingParams& params) {
  if (params.temperature == 0) return {};
  const bool cuts_mass = CutsMass(params);
  const bool weighs = params.top_k == 0 && (cuts_mass || params.min_p == 0);
  return {.largest = params.top_k > 0 || params.min_p > 0 || cuts_mass,
          .factor = weighs ? 1.0 / static_cast<double>(params.temperature) : 0,
          .blocks = params.typical_p < 1 && params.top_k == 0};
}

std::optional<TokenId> Sampler::Sample(RowScan& row, const SamplingParams& params,
                                       uint64_t position) {
  const TokenId best = row.best();
  if (best < 0 || params.temperature == 0 || std::isinf(row.max())) return best;
  const double uniform = UniformAt(params.seed, position, params.stream);
  const double factor = 1.0 / static_cast<double>(params.temperature);
  const bool cuts_mass = CutsMass(params);
  if (params.top_k == 0 && params.min_p == 0 && !cuts_mass) {
    row.Weigh(factor);
    return row.IdAt(uniform);
  }
  const bool collected = params.top_k == 0 && cuts_mass
                             ? CollectByMass(row, params, factor)
                             : CollectByRank(row, params, factor, cuts_mass);
  if (!collected) return std::nullopt;
  if (params.typical_p < 1) CutTypical(row.max(), factor, static_cast<double>(params.typical_p));
  if (params.top_p < 1) CutTopP(row.max(), factor, static_cast<double>(params.top_p));
  if (cuts_mass && params.min_p > 0) CutMinP(static_cast<double>(params.min_p));
  return Draw(uniform);
}

// The candidates that top_k leaves and, where nothing has to see the whole distribution before it,
// min_p.
bool Sampler::CollectByRank(RowScan& row, const SamplingParams& params, double factor,
                            bool cuts_mass) {
  // min_p is a bound on the weight itself, as the most probable token has weight 1.
  const bool cut_min_p = params.min_p > 0 && !cuts_mass;
  const double least_log = cut_min_p ? std::log(static_cast<double>(params.min_p)) : kLeastLog;
  const double max = static_cast<double>(row.max());
  // A little below the bound, for the rounding to fp32.
  const auto bound = static_cast<float>(max + least_log / factor - 1e-5 * (1 + std::abs(max)));
  const auto top_k = static_cast<size_t>(params.top_k);
  const float least = top_k > 0 ? row.ReachedBy(top_k, bound) : bound;
  if (!row.HasFrom(least)) return false;
  candidates_.clear();
  row.ForEachFrom(least, [&](TokenId id, float logit) {
    const double log_weight = (static_cast<double>(logit) - max) * factor;
    if (log_weight < least_log && logit != row.max()) return;
    candidates_.push_back({.id = id, .logit = logit, .weight = log_weight});
  });
  if (top_k > 0 && candidates_.size() > top_k) {
    const auto last = candidates_.begin() + params.top_k;
    std::nth_element(candidates_.begin(), last - 1, candidates_.end(), MoreProbable);
    candidates_.erase(last, candidates_.end());
    std::sort(candidates_.begin(), candidates_.end(), ById);
  }
  for (Candidate& candidate : candidates_) candidate.weight = std::exp(candidate.weight);
  total_ = TotalWeight();
  return true;
}

// The candidates that typical_p or top_p may leave: all there are, or the most probable ones whose
// share surely reaches top_p.
bool Sampler::CollectByMass(RowScan& row, const SamplingParams& params, double factor) {
  row.Weigh(factor);
  total_ = row.total();
  const auto bound = [&](double log_weight) {
    return static_cast<float>(static_cast<double>(row.max()) + log_weight / factor);
  };
  if (params.typical_p < 1) {
    if (!row.HasFrom(bound(kLeastLog))) return false;
    CollectFrom(row, bound(kLeastLog));
    return true;
  }
  // The head is usually short: then most blocks are not visited.
  const double wanted = static_cast<double>(params.top_p) * total_;
  for (const double log_weight : {-3.0, -9.0}) {
    const float least = bound(log_weight);
    if (row.MassFrom(least) < wanted) continue;
    if (!row.HasFrom(least)) return false;
    if (CollectFrom(row, least) >= wanted) return true;
  }
  if (!row.HasFrom(bound(kLeastLog))) return false;
  const auto max = static_cast<double>(row.max());
  mass_.assign(kNumBins, 0.0);
  row.ForEachWeighed(bound(kLeastLog), [&](TokenId, float logit, float weight) {
    mass_[BinOf((max - static_cast<double>(logit)) * factor)] += static_cast<double>(weight);
  });
  // One bin more: the bound is rounded.
  CollectFrom(row, bound(-static_cast<double>(Edge(wanted).bin + 2) / kBinsPerNat));
  return true;
}

// Returns the sum of the weights.
double Sampler::CollectFrom(RowScan& row, float least) {
  candidates_.clear();
  double collected = 0;
  row.ForEachWeighed(least, [&](TokenId id, float logit, float rounded) {
    const auto weight = static_cast<double>(rounded);
    candidates_.push_back({.id = id, .logit = logit, .weight = weight});
    collected += weight;
  });
  return collected;
}

double Sampler::TotalWeight() const {
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  return total;
}

// Where the masses of the bins, the nearest first, reach `wanted`.
Sampler::BinEdge Sampler::Edge(double wanted) const {
  BinEdge edge;
  while (edge.bin + 1 < kNumBins && edge.before + mass_[edge.bin] < wanted) {
    edge.before += mass_[edge.bin++];
  }
  return edge;
}

// Leaves the smallest set of candidates, those first that come before others, whose weights reach
// `wanted`. No candidate may come before a nearer one.
template <typename Distance, typename Before>
void Sampler::KeepMass(double wanted, const Distance& distance, const Before& before) {
  mass_.assign(kNumBins, 0.0);
  for (const Candidate& candidate : candidates_) {
    mass_[BinOf(distance(candidate))] += candidate.weight;
  }
  const BinEdge edge = Edge(wanted);
  edge_.clear();
  size_t kept = 0;
  for (const Candidate& candidate : candidates_) {
    const size_t bin = BinOf(distance(candidate));
    if (bin == edge.bin) edge_.push_back(candidate);
    if (bin < edge.bin) candidates_[kept++] = candidate;
  }
  std::sort(edge_.begin(), edge_.end(), before);
  double sum = edge.before;
  size_t reached = 0;
  while (reached < edge_.size() && sum < wanted) sum += edge_[reached++].weight;
  edge_.resize(reached, Candidate{});
  std::sort(edge_.begin(), edge_.end(), ById);
  candidates_.resize(kept, Candidate{});
  const auto middle = candidates_.insert(candidates_.end(), edge_.begin(), edge_.end());
  std::inplace_merge(candidates_.begin(), middle, candidates_.end(), ById);
}

// Locally typical sampling (Meister et al., TACL 2023): keeps the smallest set of candidates whose
// information is nearest to the distribution's entropy and whose share reaches typical_p.
void Sampler::CutTypical(float max, double factor, double typical_p) {
  double weighted = 0;
  for (const Candidate& candidate : candidates_) {
    weighted += candidate.weight * LogWeight(candidate, max, factor);
  }
  // A candidate's information is ln(total) − ln(weight), the entropy their mean.
  const double mean = weighted / total_;
  for (Candidate& candidate : candidates_) {
    candidate.atypical = std::abs(LogWeight(candidate, max, factor) - mean);
  }
  KeepMass(
      typical_p * total_, [](const Candidate& candidate) { return candidate.atypical; },
      [](const Candidate& a, const Candidate& b) {
        return a.atypical != b.atypical ? a.atypical < b.atypical : a.id < b.id;
      });
  total_ = TotalWeight();
}

// Keeps the smallest set of most probable candidates whose share reaches top_p.
void Sampler::CutTopP(float max, double factor, double top_p) {
  KeepMass(
      top_p * total_,
      [&](const Candidate& candidate) { return -LogWeight(candidate, max, factor); }, MoreProbable);
}

void Sampler::CutMinP(double min_p) {
  double most = 0;  // not 1 where the most probable token was not typical
  for (const Candidate& candidate : candidates_) most = std::max(most, candidate.weight);
  std::erase_if(candidates_,
                [&](const Candidate& candidate) { return candidate.weight < min_p * most; });
}

TokenId Sampler::Draw(double uniform) const {
  double left = uniform * TotalWeight();
  for (const Candidate& candidate : candidates_) {
    left -= candidate.weight;
    if (left < 0) return candidate.id;
  }
  return candidates_.back().id;  // rounding: the last sliver belongs to the last candidate
}

}  // namespace conclave::engine
