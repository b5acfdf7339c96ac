#include "engine/sample/logits.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace conclave::engine {
namespace {

constexpr float kMasked = -std::numeric_limits<float>::infinity();

bool HasPenalties(const SamplingParams& params) {
  return params.penalty_last_n != 0 &&
         (params.repetition_penalty != 1.0f || params.frequency_penalty != 0.0f ||
          params.presence_penalty != 0.0f);
}

}  // namespace

void MaskLogits(const AllowedTokens& allowed, std::span<float> logits) {
  constexpr size_t kBits = 64;
  std::vector<std::pair<TokenId, float>> stops;
  for (const TokenId id : allowed.stop_ids) {
    if (id < 0 || static_cast<size_t>(id) >= logits.size()) continue;
    stops.emplace_back(id, allowed.may_end ? logits[static_cast<size_t>(id)] : kMasked);
  }
  for (size_t begin = 0; begin < logits.size(); begin += kBits) {
    const size_t word = begin / kBits;
    const uint64_t bits = word < allowed.words.size() ? allowed.words[word] : 0;
    if (bits == ~uint64_t{0}) continue;
    const size_t end = std::min(begin + kBits, logits.size());
    for (size_t i = begin; i < end; ++i) {
      if ((bits >> (i - begin) & 1) == 0) logits[i] = kMasked;
    }
  }
  for (const auto& [id, logit] : stops) logits[static_cast<size_t>(id)] = logit;
}

LogitsProcessor::LogitsProcessor(int32_t vocab_size) : counts_(vocab_size) {}

void LogitsProcessor::Apply(const SamplingParams& params, const LogitsContext& context,
                            std::span<float> logits) {
  CHECK(logits.size() == counts_.size());
  if (HasPenalties(params)) ApplyPenalties(params, context, logits);
  for (const auto& [token, bias] : params.logit_bias) {
    if (static_cast<size_t>(token) < logits.size()) logits[token] += bias;
  }
  if (context.output.size() < static_cast<size_t>(params.min_tokens)) {
    for (const TokenId token : context.stop_ids) {
      if (static_cast<size_t>(token) < logits.size()) logits[token] = kMasked;
    }
  }
}

void LogitsProcessor::ApplyPenalties(const SamplingParams& params, const LogitsContext& context,
                                     std::span<float> logits) {
  std::span<const TokenId> prompt = context.prompt;
  std::span<const TokenId> output = context.output;
  if (params.penalty_last_n > 0) {
    size_t window = static_cast<size_t>(params.penalty_last_n);
    output = output.last(std::min(window, output.size()));
    window -= output.size();
    prompt = prompt.last(std::min(window, prompt.size()));
  }
  Count(prompt, false);
  Count(output, true);
  for (const TokenId token : touched_) {
    const Counts counts = counts_[token];
    counts_[token] = {};
    float& logit = logits[token];
    // CTRL's rule: always away from likely, whatever the sign of the logit.
    logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    if (counts.output > 0) {
      logit -= static_cast<float>(counts.output) * params.frequency_penalty;
      logit -= params.presence_penalty;
    }
  }
  touched_.clear();
}

void LogitsProcessor::Count(std::span<const TokenId> tokens, bool is_output) {
  for (const TokenId token : tokens) {
    if (static_cast<size_t>(token) >= counts_.size()) continue;
    Counts& counts = counts_[token];
    if (counts.seen++ == 0) touched_.push_back(token);
    if (is_output) ++counts.output;
  }
}

}  // namespace conclave::engine
