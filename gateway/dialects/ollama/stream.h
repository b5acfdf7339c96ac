// NDJSON: one object to a line; ollama-python parses every line, so there are no comments and no
// blank lines, and a keep-alive is an object that adds nothing.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "gateway/dialects/generation.h"

namespace conclave::gateway::ollama {

// What chat and generate put around their text.
struct ReplyShape {
  enum class Kind { kChat, kGenerate } kind = Kind::kChat;
  std::string model;  // as the request named it
  const base::Clock* clock = &base::Clock::System();
};

// A piece of an answer on its way out.
struct Piece {
  std::string text;
  std::string thinking;
  std::vector<v1::ToolCall> tool_calls;
  std::vector<int> tool_indexes;
  std::vector<v1::TokenLogprob> logprobs;
};

// How an answer ended: the fields of its last object.
struct Ending {
  std::string done_reason = "stop";  // "length", "load", "unload"
  std::optional<v1::Usage> usage;
  v1::Timings timings;
  std::vector<int32_t> context;  // generate only; empty = left out
};

// Nanoseconds; a duration of nothing is left out, as Ollama does.
void WriteDuration(base::JsonWriter& json, std::string_view key, double ms);
// Until the model took the request up: loading it, and waiting for it. Ollama's is never nothing,
// and its clients divide by the durations or show them.
void WriteLoadDuration(base::JsonWriter& json, const v1::Timings& timings);

std::string EncodePiece(const ReplyShape& shape, const Piece& piece);
// One object with everything (not streamed), or the last line of a stream (empty piece).
std::string EncodeLast(const ReplyShape& shape, const Piece& piece, const Ending& ending);

Ending EndingOf(const v1::Finished& finished, const v1::Usage& usage);
// A whole completion as one piece.
Piece PieceOf(const Completion& completion);

class StreamEncoder final : public GenerationEncoder {
 public:
  // `context` gives generate's context from the ids that were generated, at the end.
  explicit StreamEncoder(ReplyShape shape) : shape_(std::move(shape)) {}

  // The tokens in front of the generated ones; with them the last line has a context.
  void set_prompt_ids(std::vector<int32_t> ids) { prompt_ids_ = std::move(ids); }

  // Of another name than its own (profile kt-legacy).
  void set_content_type(std::string_view type) { content_type_ = type; }

  std::string_view content_type() const override { return content_type_; }
  void Begin(std::string*) override {}
  void OnEvent(const v1::GenerateEvent& event, std::string* out) override;
  void End(std::string* out) override;
  void KeepAlive(std::string* out) override;
  void Error(const ErrorInfo& error, std::string* out) override;

 private:
  void OnDelta(const v1::Delta& delta, std::string* out);
  void OnToolCall(const v1::ToolCallDelta& delta, Piece* piece);
  void Line(const std::string& json, std::string* out);

  const ReplyShape shape_;
  std::string_view content_type_ = "application/x-ndjson";
  std::vector<int32_t> prompt_ids_;
  std::vector<int32_t> generated_ids_;
  std::map<int, v1::ToolCall> calls_;       // not yet whole, by index
  std::vector<v1::TokenLogprob> logprobs_;  // of text still held back
  Ending ending_;
};

}  // namespace conclave::gateway::ollama
