// What goes into the engine and what comes out: plain structs, token ids only. Text lives in the
// tokenizer and chat folders around the engine. A leaf header: it includes nothing of ours.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace conclave::engine {

using TokenId = int32_t;

namespace grammar {
class TokenGrammar;  // grammar/token_grammar.h
}

// Ranges are checked by Validate in sample/sampler.h; the defaults change nothing.
struct SamplingParams {
  float temperature = 1.0f;         // [0, 2]; 0 = argmax, ties to the lowest id
  int32_t top_k = 0;                // 0 = off
  float typical_p = 1.0f;           // (0, 1]
  float top_p = 1.0f;               // (0, 1]
  float min_p = 0.0f;               // [0, 1]; relative to the most probable token
  float repetition_penalty = 1.0f;  // (0, 10]; over the prompt and the output
  float frequency_penalty = 0.0f;   // [-2, 2]; over the output
  float presence_penalty = 0.0f;    // [-2, 2]; over the output
  int32_t penalty_last_n = -1;      // how many last tokens the penalties see; -1 = all
  // Counter-based RNG: the draw for output position i depends on (seed, stream, i) alone. Each
  // answer of a request draws from the stream of its index; a request's own value is not read.
  uint64_t seed = 0;
  uint32_t stream = 0;
  std::vector<std::pair<TokenId, float>> logit_bias;  // [-100, 100] each
  int32_t min_tokens = 0;  // stop ids are masked before that many output tokens
  bool ignore_eos = false;
};

inline constexpr int32_t kAnswersMax = 16;

struct ResumedAnswer {
  std::vector<TokenId> output;
  bool ended = false;  // nothing is generated or told of it
};

struct GenerateRequest {
  std::string id;               // unique among live requests; for logs and Cancel
  std::vector<TokenId> prompt;  // at least one token
  // Output of an earlier, interrupted attempt: continued after, never emitted again. Positions of
  // the RNG and the penalties count it as output.
  std::vector<TokenId> resumed;
  SamplingParams sampling;
  // Answers to the prompt, 1 to kAnswersMax. The prompt is computed once, its full blocks are
  // shared.
  int32_t n = 1;
  // The same of several answers: by index, n of them, not all ended. Empty = all begin anew.
  std::vector<ResumedAnswer> answers;
  int32_t max_tokens = 0;         // of output, resumed ones included; 0 = up to the context
  bool prompt_only = false;       // nothing is generated: kLength once the prompt is computed
  std::vector<TokenId> stop_ids;  // besides the model's end-of-generation ids
  int32_t num_logprobs = -1;      // -1 = none, 0 = the chosen token, n = and n alternatives
  // The same for the tokens of the prompt, the first excepted. They are computed even where the
  // prefix cache knows them, as it keeps no logits.
  int32_t num_prompt_logprobs = -1;
  // What the output must be a text of; null = anything. Stop ids end it only where it is whole, and
  // it ends by itself where nothing can follow.
  std::shared_ptr<const grammar::TokenGrammar> grammar;
  std::string cache_salt;  // prefix cache entries are shared within one salt only
};

struct TokenLogprob {
  TokenId id = 0;
  float logprob = 0.0f;  // natural log, of the distribution after penalties and bias, before cuts
};

// A token of the prompt and what the model expected in its place.
struct ScoredToken {
  TokenLogprob logprob;                    // of the model's own distribution: no penalty, no bias
  std::vector<TokenLogprob> alternatives;  // most probable first
};

enum class FinishReason { kStop, kLength, kCancelled, kError };

// Where the time of a request went.
struct Timings {
  double queue_ms = 0;
  double prefill_ms = 0;
  double decode_ms = 0;
};

struct Usage {
  int32_t prompt_tokens = 0;
  int32_t cached_tokens = 0;  // of the prompt, taken from the prefix cache; told by answer 0
  int32_t output_tokens = 0;
};

struct Event {
  enum class Kind { kAccepted, kPrefill, kPromptLogprobs, kToken, kFinished };
  Kind kind = Kind::kToken;
  int32_t index = 0;  // of the answer

  // kAccepted: once for each answer, when a slot was given.
  // kPrefill: prompt tokens computed so far, after each chunk but the last.
  int32_t prefill_done = 0;
  int32_t prefill_total = 0;

  // kPromptLogprobs: of answer 0, before its first token. Consecutive tokens, as they are computed.
  int32_t position = 0;  // in the prompt, of the first of `scores`; the first event begins at 1
  std::vector<ScoredToken> scores;

  // kToken
  TokenId token = 0;
  TokenLogprob logprob;                    // when num_logprobs >= 0
  std::vector<TokenLogprob> alternatives;  // num_logprobs of them, most probable first

  // kFinished: the last event of an answer. A stop id is not emitted as a token; `token` repeats it
  // here, with its logprobs (-1 when another reason ended the answer).
  FinishReason reason = FinishReason::kStop;
  absl::Status status;  // why, when reason is kError
  Usage usage;
  Timings timings;
};

// What the receiver of a token asks of the engine.
enum class SinkAction {
  kContinue,
  kStop,   // the text around the tokens says it is over (a stop string): finish this answer now
  kPause,  // the reader is slow: no further step for this request until Engine::Resume(id)
};

// Receives the events of one request, in order, on the engine's step thread: it must not block.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual SinkAction OnEvent(const Event& event) = 0;
};

}  // namespace conclave::engine
