// One request's timeline: its tokens, how many of them have keys and values, and the blocks these
// lie in. Data with a few questions; the scheduler moves it, the step loop appends to it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "engine/grammar/matcher.h"
#include "engine/kv/block.h"
#include "engine/kv/prefix_cache.h"
#include "engine/request.h"
#include "engine/sample/stopping.h"

namespace conclave::engine {

struct Sequence {
  enum class State { kWaiting, kRunning, kFinished };

  // Prompt and resumed output become the tokens; what is in `new_request` besides stays readable.
  Sequence(GenerateRequest new_request, StoppingCriteria new_stopping);

  std::span<const TokenId> prompt() const { return std::span(tokens).first(prompt_size()); }
  std::span<const TokenId> output() const { return std::span(tokens).subspan(prompt_size()); }
  int32_t num_tokens() const { return static_cast<int32_t>(tokens.size()); }
  int32_t num_output() const { return num_tokens() - static_cast<int32_t>(prompt_size()); }
  // Tokens whose keys and values are still to be computed; at least 1 until the sequence ends, as
  // the token chosen last is always among them.
  int32_t num_left() const { return num_tokens() - num_computed; }
  // Decoding: nothing is left but the token chosen last.
  bool is_decode() const { return num_left() == 1 && has_emitted; }
  size_t prompt_size() const { return request.prompt.size(); }
  // The prompt's rows that tell a logprob: each but the last, whose token is the output's first.
  int32_t num_scorable() const {
    return request.num_prompt_logprobs < 0 ? 0 : static_cast<int32_t>(prompt_size()) - 1;
  }

  GenerateRequest request;
  int32_t index = 0;  // among the answers to the request
  StoppingCriteria stopping;
  std::unique_ptr<grammar::Matcher> matcher;  // follows the output; null = no grammar
  std::shared_ptr<EventSink> sink;
  std::vector<TokenId> tokens;  // prompt, resumed output, new output

  State state = State::kWaiting;
  uint64_t arrival = 0;  // the order of queueing; set by the scheduler
  bool paused = false;
  uint64_t paused_at_step = 0;

  int32_t num_computed = 0;
  int32_t num_scored = 0;  // leading rows of the prompt whose logprobs were told
  std::vector<Block> blocks;
  std::vector<int32_t> block_numbers;  // the same, as the kernels want them
  PrefixCache::Cursor cursor;          // where the cache's chain stands
  int32_t num_blocks_inserted = 0;     // leading blocks that the cache knows

  bool was_admitted = false;  // once at least
  bool stop_asked = false;    // by the sink, while the sequence was already in a step
  bool has_emitted = false;   // a token was chosen in this life of the request
  int32_t cached_tokens = 0;  // of the prompt, at first admission

  base::SteadyTime submitted_at;
  base::SteadyTime admitted_at;
  base::SteadyTime first_token_at;
};

}  // namespace conclave::engine
