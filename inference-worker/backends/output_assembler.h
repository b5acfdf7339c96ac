// From token ids to deltas: bytes become whole characters, text becomes content, reasoning and tool
// calls, content stops at a stop string. A pure function of the ids, so feeding the ids of an
// interrupted stream again rebuilds its state and numbers.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backends/backend.h"
#include "engine/chat/parsers/parser.h"
#include "engine/chat/stop_matcher.h"
#include "engine/tokenizer/incremental_decoder.h"
#include "engine/tokenizer/tokenizer.h"

namespace conclave::backends {

struct AssemblerOptions {
  const engine::Tokenizer* tokenizer = nullptr;  // outlives the assembler
  std::unique_ptr<engine::OutputParser> parser;  // null = everything is content
  engine::StopMatcher stops;
  bool reasoning_open = false;   // the prompt ended inside a reasoning block
  bool stop_after_call = false;  // one tool call is all the caller wants
};

// One per output. Not thread-safe.
class OutputAssembler final {
 public:
  explicit OutputAssembler(AssemblerOptions options);

  // At least one delta; the first carries the id (and logprobs, when given).
  void Append(TokenId id, std::vector<TokenLogprob> logprobs, std::vector<Delta>* deltas);
  // The output ended by itself: what was held back. Nothing after stopped().
  void Finish(std::vector<Delta>* deltas);

  // The output is over though the model goes on: a stop string, or the one tool call.
  bool stopped() const { return stopped_; }
  std::string_view matched_stop() const { return matched_stop_; }
  bool has_called() const { return has_called_; }
  int64_t next_seq() const { return next_seq_; }
  int32_t num_tokens() const { return num_tokens_; }
  int32_t reasoning_tokens() const { return reasoning_tokens_; }

 private:
  void FeedText(std::string_view text);
  void Take(std::vector<engine::OutputEvent>& events);
  void TakeContent(std::string_view text);
  void TakeToolCall(engine::OutputEvent& event);
  void FlushContent();
  void AddText(std::string_view text);
  void AddReasoning(std::string_view text);
  void AddCall(ToolCallDelta call);
  Delta& NewPiece();
  void Emit(std::vector<Delta>* deltas);

  AssemblerOptions options_;
  const engine::StopMatcher fresh_stops_;
  engine::IncrementalDecoder decoder_;
  std::vector<engine::OutputEvent> events_;
  std::vector<Delta> pieces_;  // of the token at hand
  int64_t next_seq_ = 0;
  int32_t num_tokens_ = 0;
  int32_t reasoning_tokens_ = 0;
  bool in_reasoning_ = false;
  bool stopped_ = false;
  bool has_called_ = false;
  std::string matched_stop_;
};

}  // namespace conclave::backends
