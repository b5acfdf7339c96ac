// What is done to a row of logits before a token is chosen from it.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "engine/kernels/row_reader.h"
#include "engine/request.h"

namespace conclave::engine {

// What the processors know of the sequence whose row it is. Borrowed for the call.
struct LogitsContext {
  std::span<const TokenId> prompt;
  std::span<const TokenId> output;    // resumed tokens included
  std::span<const TokenId> stop_ids;  // every id that would end the generation
};

// Masks what a grammar does not allow. A stop id is allowed where the output may end, and only
// there. Ids beyond the mask are not allowed.
struct AllowedTokens {
  std::span<const uint64_t> words;  // a bit per id
  bool may_end = false;
  std::span<const TokenId> stop_ids;
};
void MaskLogits(const AllowedTokens& allowed, std::span<float> logits);
// The same as a bit per id, of `vocab_size` in whole words.
void ListAllowed(const AllowedTokens& allowed, size_t vocab_size, std::vector<uint64_t>& words);

// Penalties, then logit_bias, then the mask of min_tokens. Keeps only scratch between calls.
class LogitsProcessor final {
 public:
  explicit LogitsProcessor(int32_t vocab_size);

  size_t vocab_size() const { return counts_.size(); }

  // In place: `logits` has vocab_size values. Ids in `context` outside the vocabulary are ignored.
  void Apply(const SamplingParams& params, const LogitsContext& context, std::span<float> logits);
  // What Apply would do, for a row that is not here.
  void List(const SamplingParams& params, const LogitsContext& context, RowChanges& changes);

 private:
  enum ChangeList { kPenalties, kBiases, kMasks };

  // Calls visit(list, id, kind, value) for all that changes.
  template <typename Visit>
  void ForEachChange(const SamplingParams& params, const LogitsContext& context,
                     const Visit& visit);
  template <typename Visit>
  void ForEachPenalty(const SamplingParams& params, const LogitsContext& context,
                      const Visit& visit);
  void Count(std::span<const TokenId> tokens, bool is_output);

  struct Counts {
    int32_t seen = 0;    // in prompt or output, within the window
    int32_t output = 0;  // in the output, within the window
  };
  std::vector<Counts> counts_;    // per token; all zero between calls
  std::vector<TokenId> touched_;  // which of counts_ are not
};

}  // namespace conclave::engine
