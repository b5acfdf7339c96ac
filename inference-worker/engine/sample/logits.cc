#include "engine/sample/logits.h"

#include <algorithm>
#include <limits>

#include "base/check.h"

namespace conclave::engine {
namespace {

using Kind = RowChange::Kind;

constexpr float kMasked = -std::numeric_limits<float>::infinity();
constexpr size_t kBits = 64;  // of a mask's word

bool HasPenalties(const SamplingParams& params) {
  return params.penalty_last_n != 0 &&
         (params.repetition_penalty != 1.0f || params.frequency_penalty != 0.0f ||
          params.presence_penalty != 0.0f);
}

}  // namespace

void ListAllowed(const AllowedTokens& allowed, size_t vocab_size, std::vector<uint64_t>& words) {
  const size_t num_words = (vocab_size + kBits - 1) / kBits;
  words.assign(
      allowed.words.begin(),
      allowed.words.begin() + static_cast<ptrdiff_t>(std::min(num_words, allowed.words.size())));
  words.resize(num_words, 0);
  for (const TokenId id : allowed.stop_ids) {
    if (id < 0 || static_cast<size_t>(id) >= vocab_size) continue;
    const uint64_t bit = uint64_t{1} << static_cast<size_t>(id) % kBits;
    uint64_t& word = words[static_cast<size_t>(id) / kBits];
    word = allowed.may_end ? word | bit : word & ~bit;
  }
}

void MaskLogits(const AllowedTokens& allowed, std::span<float> logits) {
  std::vector<uint64_t> words;
  ListAllowed(allowed, logits.size(), words);
  for (size_t begin = 0; begin < logits.size(); begin += kBits) {
    const uint64_t bits = words[begin / kBits];
    if (bits == ~uint64_t{0}) continue;
    const size_t end = std::min(begin + kBits, logits.size());
    for (size_t i = begin; i < end; ++i) {
      if ((bits >> (i - begin) & 1) == 0) logits[i] = kMasked;
    }
  }
}

LogitsProcessor::LogitsProcessor(int32_t vocab_size) : counts_(vocab_size) {}

void LogitsProcessor::Apply(const SamplingParams& params, const LogitsContext& context,
                            std::span<float> logits) {
  CHECK(logits.size() == counts_.size());
  ForEachChange(params, context, [&](ChangeList, TokenId id, Kind kind, float value) {
    float& logit = logits[static_cast<size_t>(id)];
    switch (kind) {
      case Kind::kAdd:
        logit += value;
        break;
      case Kind::kRepel:
        logit = logit > 0 ? logit / value : logit * value;
        break;
      case Kind::kSet:
        logit = value;
        break;
    }
  });
}

void LogitsProcessor::List(const SamplingParams& params, const LogitsContext& context,
                           RowChanges& changes) {
  for (std::vector<RowChange>& list : changes) list.clear();
  ForEachChange(params, context, [&](ChangeList list, TokenId id, Kind kind, float value) {
    changes[list].push_back({.id = id, .kind = kind, .value = value});
  });
  // Who asks for it may name an id twice.
  const auto by_id = [](const RowChange& a, const RowChange& b) { return a.id < b.id; };
  for (const ChangeList list : {kBiases, kMasks}) {
    std::stable_sort(changes[list].begin(), changes[list].end(), by_id);
  }
}

template <typename Visit>
void LogitsProcessor::ForEachChange(const SamplingParams& params, const LogitsContext& context,
                                    const Visit& visit) {
  if (HasPenalties(params)) ForEachPenalty(params, context, visit);
  for (const auto& [token, bias] : params.logit_bias) {
    if (static_cast<size_t>(token) < counts_.size()) visit(kBiases, token, Kind::kAdd, bias);
  }
  if (context.output.size() < static_cast<size_t>(params.min_tokens)) {
    for (const TokenId token : context.stop_ids) {
      if (static_cast<size_t>(token) < counts_.size()) visit(kMasks, token, Kind::kSet, kMasked);
    }
  }
}

template <typename Visit>
void LogitsProcessor::ForEachPenalty(const SamplingParams& params, const LogitsContext& context,
                                     const Visit& visit) {
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
    // CTRL's rule: always away from likely, whatever the sign of the logit.
    if (params.repetition_penalty != 1) {
      visit(kPenalties, token, Kind::kRepel, params.repetition_penalty);
    }
    if (counts.output == 0) continue;
    visit(kPenalties, token, Kind::kAdd,
          -static_cast<float>(counts.output) * params.frequency_penalty);
    visit(kPenalties, token, Kind::kAdd, -params.presence_penalty);
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
