#include "gateway/dialects/ollama/stream.h"

#include <utility>

#include "gateway/dialects/ollama/errors.h"
#include "gateway/dialects/ollama/names.h"

namespace conclave::gateway::ollama {
namespace {

using base::JsonWriter;

void WriteToolCalls(JsonWriter& json, const Piece& piece) {
  if (piece.tool_calls.empty()) return;
  json.Key("tool_calls");
  json.BeginArray();
  for (size_t i = 0; i < piece.tool_calls.size(); ++i) {
    const v1::ToolCall& call = piece.tool_calls[i];
    json.BeginObject();
    json.Field("id", call.id());
    json.Key("function");
    json.BeginObject();
    json.Field("index", piece.tool_indexes[i]);
    json.Field("name", call.name());
    json.RawField("arguments", HasObjectArguments(call) ? call.arguments() : "{}");
    json.EndObject();
    json.EndObject();
  }
  json.EndArray();
}

void WriteLogprob(JsonWriter& json, const v1::TokenLogprob& token, bool with_top) {
  json.BeginObject();
  WriteTokenFields(json, token);
  if (with_top && !token.top().empty()) {
    json.Key("top_logprobs");
    json.BeginArray();
    for (const v1::TokenLogprob& other : token.top()) WriteLogprob(json, other, false);
    json.EndArray();
  }
  json.EndObject();
}

void WritePiece(JsonWriter& json, const ReplyShape& shape, const Piece& piece) {
  json.Field("model", shape.model);
  json.Field("created_at", Rfc3339(shape.clock->UnixMillis()));
  if (shape.kind == ReplyShape::Kind::kChat) {
    json.Key("message");
    json.BeginObject();
    json.Field("role", "assistant");
    json.Field("content", piece.text);
    if (!piece.thinking.empty()) json.Field("thinking", piece.thinking);
    WriteToolCalls(json, piece);
    json.EndObject();
  } else {
    json.Field("response", piece.text);
    if (!piece.thinking.empty()) json.Field("thinking", piece.thinking);
  }
}

void WriteLogprobs(JsonWriter& json, const Piece& piece) {
  if (piece.logprobs.empty()) return;
  json.Key("logprobs");
  json.BeginArray();
  for (const v1::TokenLogprob& token : piece.logprobs) WriteLogprob(json, token, true);
  json.EndArray();
}

void WriteEnding(JsonWriter& json, const Ending& ending) {
  json.Field("done_reason", ending.done_reason);
  if (!ending.context.empty()) {
    json.Key("context");
    json.BeginArray();
    for (const int32_t id : ending.context) json.Int(id);
    json.EndArray();
  }
  if (!ending.usage) return;
  WriteDuration(json, "total_duration", ending.timings.total_ms());
  WriteLoadDuration(json, ending.timings);
  json.Field("prompt_eval_count", ending.usage->prompt_tokens());
  WriteDuration(json, "prompt_eval_duration", ending.timings.prefill_ms());
  json.Field("eval_count", ending.usage->completion_tokens());
  WriteDuration(json, "eval_duration", ending.timings.decode_ms());
}

}  // namespace

void WriteDuration(JsonWriter& json, std::string_view key, double ms) {
  const auto nanoseconds = static_cast<int64_t>(ms * 1e6);
  if (nanoseconds > 0) json.Field(key, nanoseconds);
}

void WriteLoadDuration(JsonWriter& json, const v1::Timings& timings) {
  WriteDuration(json, "load_duration", timings.load_ms() + timings.queue_ms());
}

std::string EncodePiece(const ReplyShape& shape, const Piece& piece) {
  JsonWriter json;
  json.BeginObject();
  WritePiece(json, shape, piece);
  json.Field("done", false);
  WriteLogprobs(json, piece);
  json.EndObject();
  return json.Take();
}

std::string EncodeLast(const ReplyShape& shape, const Piece& piece, const Ending& ending) {
  JsonWriter json;
  json.BeginObject();
  WritePiece(json, shape, piece);
  json.Field("done", true);
  WriteEnding(json, ending);
  WriteLogprobs(json, piece);
  json.EndObject();
  return json.Take();
}

Ending EndingOf(const v1::Finished& finished, const v1::Usage& usage) {
  Ending ending;
  if (finished.reason() == v1::Finished::REASON_LENGTH) ending.done_reason = "length";
  ending.usage = usage;
  ending.timings = finished.timings();
  return ending;
}

Piece PieceOf(const Completion& completion) {
  Piece piece;
  const Completion::Choice& choice = completion.choices.front();
  piece.text = choice.text;
  piece.thinking = choice.reasoning;
  for (size_t i = 0; i < choice.tool_calls.size(); ++i) {
    const v1::ToolCall& call = choice.tool_calls[i];
    if (HasObjectArguments(call)) {
      piece.tool_calls.push_back(call);
      piece.tool_indexes.push_back(static_cast<int>(i));
    } else {
      piece.text += call.arguments();  // shown as text rather than lost, as in a stream
    }
  }
  piece.logprobs = choice.logprobs;
  return piece;
}

void StreamEncoder::Line(const std::string& json, std::string* out) {
  *out += json;
  *out += '\n';
}

void StreamEncoder::OnEvent(const v1::GenerateEvent& event, std::string* out) {
  if (event.has_delta()) OnDelta(event.delta(), out);
  if (event.has_finished()) ending_ = EndingOf(event.finished(), event.finished().usage());
}

// A call goes out whole: this wire has no fragments of arguments.
void StreamEncoder::OnToolCall(const v1::ToolCallDelta& delta, Piece* piece) {
  v1::ToolCall& call = calls_[delta.index()];
  if (!delta.id().empty()) call.set_id(delta.id());
  if (!delta.name().empty()) call.set_name(delta.name());
  call.mutable_arguments()->append(delta.arguments());
  if (delta.state() == v1::ToolCallDelta::STATE_SUCCEEDED) {
    piece->tool_calls.push_back(call);
    piece->tool_indexes.push_back(delta.index());
    calls_.erase(delta.index());
  } else if (delta.state() == v1::ToolCallDelta::STATE_FAILED) {
    // No object: shown as text rather than lost.
    piece->text = call.arguments();
    calls_.erase(delta.index());
  }
}

void StreamEncoder::OnDelta(const v1::Delta& delta, std::string* out) {
  generated_ids_.insert(generated_ids_.end(), delta.token_ids().begin(), delta.token_ids().end());
  logprobs_.insert(logprobs_.end(), delta.logprobs().begin(), delta.logprobs().end());
  Piece piece;
  piece.text = delta.text();
  piece.thinking = delta.reasoning();
  if (delta.has_tool_call()) OnToolCall(delta.tool_call(), &piece);
  if (piece.text.empty() && piece.thinking.empty() && piece.tool_calls.empty()) return;
  piece.logprobs = std::exchange(logprobs_, {});
  Line(EncodePiece(shape_, piece), out);
}

void StreamEncoder::End(std::string* out) {
  if (!prompt_ids_.empty()) {
    ending_.context = std::move(prompt_ids_);
    ending_.context.insert(ending_.context.end(), generated_ids_.begin(), generated_ids_.end());
  }
  Piece rest;
  rest.logprobs = std::exchange(logprobs_, {});
  Line(EncodeLast(shape_, rest, ending_), out);
}

void StreamEncoder::KeepAlive(std::string* out) { Line(EncodePiece(shape_, Piece()), out); }

void StreamEncoder::Error(const ErrorInfo& error, std::string* out) { Line(ErrorJson(error), out); }

}  // namespace conclave::gateway::ollama
