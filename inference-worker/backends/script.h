// The script of the scripted backend: which answer belongs to which prompt. Pure and deterministic;
// scripted.cc gives it time.
//
// A script is a JSON object; every field is optional:
//   {"context_length": 32768, "slots": 64, "max_queued": 256, "token_ms": 0, "prefill_ms": 0,
//    "step_ms": 20,                          tokens of all sequences come together, as an engine's
//    "aliases": ["gpt-test"], "capabilities": ["completion", "tools", "thinking"],
//    "rules": [
//      {"when": {"last_contains": "weather", "last_role": "user", "prompt_contains": "…",
//                "has_tools": true},
//       "times": 1,                          for the first so many matches only
//       "refuse": {"code": "UNAVAILABLE", "message": "…", "reason": "…", "retry_after_ms": 500},
//       "mode": "steps",                     or echo (default), counts, dice
//       "count": 32,                         of counts and dice
//       "steps": [{"reasoning": "…"}, {"text": "…"}, {"delay_ms": 50},
//                 {"tool_call": {"name": "get_weather", "arguments": {"city": "Rome"}}},
//                 {"fail": {"code": "INTERNAL", "message": "…"}}, {"hang": true}],
//       "finish": "stop",                    or length
//       "token_ms": 5, "prefill_ms": 20}]}
// The first rule whose conditions hold answers; without one the last message is echoed.
//
//   echo    the content of the last message
//   counts  "T:0 T:1 … T:n-1", T being the last word of the last message: an answer that names the
//           prompt it belongs to, so that a stream that got another's text is found out
//   dice    n numbers drawn from (seed, position): equal seeds, equal text
//
// A token is one Unicode code point, and its id is the code point: ids turn into text without a
// table, in any process.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/backend.h"

namespace conclave::backends {

// Ids past the code points stand for the edges of a tool call, so that every delta has its id.
inline constexpr TokenId kScriptCallBegin = 0x110000;
inline constexpr TokenId kScriptCallEnd = 0x110001;
inline constexpr TokenId kScriptVocabSize = 0x110002;

struct ScriptStep {
  enum class Kind { kText, kReasoning, kToolCall, kDelay, kFail, kHang };
  Kind kind = Kind::kText;
  std::string text;  // of text and reasoning; the arguments of a tool call
  std::string name;  // of a tool call
  int64_t delay_ms = 0;
  absl::Status status;  // of kFail
};

struct ScriptRule {
  enum class Mode { kSteps, kEcho, kCounts, kDice };
  std::string last_contains;
  std::string last_role;
  std::string prompt_contains;
  std::optional<bool> has_tools;
  int64_t times = -1;  // -1 = always
  absl::Status refuse;
  Mode mode = Mode::kEcho;
  int64_t count = 32;
  std::vector<ScriptStep> steps;
  Finished::Reason finish = Finished::Reason::kStop;
  std::optional<int64_t> token_ms;
  std::optional<int64_t> prefill_ms;
};

struct Script {
  int32_t context_length = 32'768;
  int32_t slots = 64;
  int32_t max_queued = 256;
  int64_t token_ms = 0;
  int64_t prefill_ms = 0;
  int64_t step_ms = 0;  // 0 = no common steps
  std::vector<std::string> aliases;
  std::vector<std::string> capabilities = {"completion", "tools", "thinking"};
  std::vector<ScriptRule> rules;
  uint64_t fingerprint = 0;  // of the text it was parsed from

  // When a token that is due at `due` comes, both on any one clock: at the next common step.
  std::chrono::nanoseconds StepAfter(std::chrono::nanoseconds due) const;
};

// INVALID_ARGUMENT naming the field; unknown fields are refused, as a misspelt one would be
// silence.
absl::StatusOr<Script> ParseScript(std::string_view json);

// What a script sees of a prompt.
struct ScriptPrompt {
  std::string text;       // the whole prompt, "role: content\n" per message of a conversation
  std::string last;       // content of the last message, or the whole text
  std::string last_role;  // "" for text and token prompts
  bool has_tools = false;
  std::string forced_tool;  // a call the request insists on; "" = none
  int32_t num_tokens = 0;
};
// INVALID_ARGUMENT: an empty prompt, an id that is no code point.
absl::StatusOr<ScriptPrompt> ReadScriptPrompt(const GenerateRequest& request);

bool Matches(const ScriptRule& rule, const ScriptPrompt& prompt);

// One thing that happens: a token with its piece of output, or a pause, failure or halt.
struct ScriptAction {
  enum class Kind { kText, kReasoning, kCallBegin, kCallArguments, kCallEnd, kDelay, kFail, kHang };
  Kind kind = Kind::kText;
  TokenId id = 0;    // of the kinds that emit
  std::string text;  // one character; the name with kCallBegin
  int32_t call_index = 0;
  int64_t delay_ms = 0;
  absl::Status status;

  bool emits() const { return kind <= Kind::kCallEnd; }
};

struct ScriptAnswer {
  std::vector<ScriptAction> actions;
  Finished::Reason reason = Finished::Reason::kStop;
  std::string matched_stop;
  TokenId matched_stop_id = -1;
};

// The whole answer of `rule` (nullptr = echo), stop conditions applied. `seed` decides dice and the
// ids of tool calls; `room` is what is left of the context.
ScriptAnswer MakeAnswer(const ScriptRule* rule, const ScriptPrompt& prompt,
                        const StopConditions& stop, uint64_t seed, int32_t room);

// "call_" and 24 hex digits, a function of the arguments: a resumed stream repeats the same id.
std::string ToolCallId(uint64_t seed, uint64_t prompt_hash, int32_t index);

// FNV-1a.
uint64_t HashBytes(std::string_view bytes);
// SplitMix64 of (seed, counter).
uint64_t Draw(uint64_t seed, uint64_t counter);

// Code points of valid UTF-8; invalid bytes become U+FFFD.
std::vector<TokenId> CodePoints(std::string_view text);
// The UTF-8 of one id; "" for the two that stand for tool call edges.
std::string CodePointText(TokenId id);

}  // namespace conclave::backends
