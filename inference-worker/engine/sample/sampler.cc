#include "engine/sample/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "engine/sample/philox.h"

namespace conclave::engine {
namespace {

absl::Status OutOfRange(const char* field, double value, const char* range) {
  return base::InvalidArgument(absl::StrCat(field, ": ", value, " is outside ", range));
}

// Refuses NaN too: every comparison with it is false.
bool Within(double value, double low, double high) { return value >= low && value <= high; }

// Most probable first, equal ones by id: the order of candidates never depends on how they were
// found.
template <typename C>
bool MoreProbable(const C& a, const C& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

template <typename C>
bool ById(const C& a, const C& b) {
  return a.id < b.id;
}

// The first of the largest, skipping NaN; -1 when nothing is finite or +inf.
TokenId ArgMax(std::span<const float> logits) {
  float best = -std::numeric_limits<float>::infinity();
  TokenId token = -1;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] > best) {
      best = logits[i];
      token = static_cast<TokenId>(i);
    }
  }
  return token;
}

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

TokenId Sampler::Sample(std::span<const float> logits, const SamplingParams& params,
                        uint64_t position) {
  const TokenId best = ArgMax(logits);
  if (best < 0 || params.temperature == 0 || std::isinf(logits[best])) return best;
  CollectCandidates(logits, params, logits[best]);
  return Draw(UniformAt(params.seed, position, params.stream));
}

// Leaves the candidates that survive the cuts, with weights exp((logit - max) / temperature).
void Sampler::CollectCandidates(std::span<const float> logits, const SamplingParams& params,
                                float max_logit) {
  const double inverse_temperature = 1.0 / static_cast<double>(params.temperature);
  // What is e^-80 times less probable than the best cannot be drawn in a lifetime. min_p is a bound
  // on the weight itself, as the most probable token has weight 1; it may cut here already unless
  // typical_p or top_p still have to see the whole distribution.
  const double min_p_log = params.min_p > 0 ? std::log(static_cast<double>(params.min_p)) : -80.0;
  const bool cuts_mass = params.typical_p < 1 || params.top_p < 1;
  const double min_weight_log = cuts_mass ? -80.0 : min_p_log;
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    const double log_weight =
        (static_cast<double>(logits[i]) - static_cast<double>(max_logit)) * inverse_temperature;
    if (log_weight >= min_weight_log || logits[i] == max_logit) {
      candidates_.push_back(
          {.id = static_cast<TokenId>(i), .logit = logits[i], .weight = log_weight});
    }
  }
  const bool cut_k = params.top_k > 0 && candidates_.size() > static_cast<size_t>(params.top_k);
  if (cut_k) {
    const auto last = candidates_.begin() + params.top_k;
    std::nth_element(candidates_.begin(), last - 1, candidates_.end(), MoreProbable<Candidate>);
    candidates_.erase(last, candidates_.end());
  }
  // The sums below run in one fixed order: nth_element leaves the kept ones in any.
  if (cut_k) std::sort(candidates_.begin(), candidates_.end(), ById<Candidate>);
  for (Candidate& candidate : candidates_) candidate.weight = std::exp(candidate.weight);
  if (params.typical_p < 1) CutTypical(static_cast<double>(params.typical_p));
  if (params.top_p < 1) CutTopP(static_cast<double>(params.top_p), TotalWeight());
  if (!cuts_mass || params.min_p == 0) return;
  double most = 0;  // not 1 where the most probable token was not typical
  for (const Candidate& candidate : candidates_) most = std::max(most, candidate.weight);
  std::erase_if(candidates_, [&](const Candidate& candidate) {
    return candidate.weight < static_cast<double>(params.min_p) * most;
  });
}

double Sampler::TotalWeight() const {
  double total = 0;
  for (const Candidate& candidate : candidates_) total += candidate.weight;
  return total;
}

// Locally typical sampling (Meister et al., TACL 2023): keeps the smallest set of candidates whose
// information is nearest to the distribution's entropy and whose share reaches typical_p.
void Sampler::CutTypical(double typical_p) {
  const double total = TotalWeight();
  double entropy = 0;
  for (const Candidate& candidate : candidates_) {
    const double p = candidate.weight / total;
    if (p > 0) entropy -= p * std::log(p);
  }
  for (Candidate& candidate : candidates_) {
    candidate.atypical = std::abs(-std::log(candidate.weight / total) - entropy);
  }
  std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
    return a.atypical != b.atypical ? a.atypical < b.atypical : a.id < b.id;
  });
  double sum = 0;
  size_t kept = 0;
  while (kept < candidates_.size() && sum < typical_p * total) sum += candidates_[kept++].weight;
  candidates_.resize(kept, Candidate{});
  std::sort(candidates_.begin(), candidates_.end(), ById<Candidate>);
}

// Keeps the smallest set of most probable candidates whose share reaches top_p. The head is usually
// short, so it is sorted in growing pieces instead of all at once.
void Sampler::CutTopP(double top_p, double total) {
  const double wanted = top_p * total;
  double sum = 0;
  size_t sorted = 0;
  for (size_t piece = 64; sorted < candidates_.size(); piece *= 8) {
    const size_t end = std::min(candidates_.size(), sorted + piece);
    std::partial_sort(candidates_.begin() + static_cast<ptrdiff_t>(sorted),
                      candidates_.begin() + static_cast<ptrdiff_t>(end), candidates_.end(),
                      MoreProbable<Candidate>);
    for (; sorted < end; ++sorted) {
      sum += candidates_[sorted].weight;
      if (sum >= wanted) {
        candidates_.resize(sorted + 1, Candidate{});
        return;
      }
    }
  }
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
