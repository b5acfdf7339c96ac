#include "gateway/dialects/anthropic/answer.h"

#include <algorithm>

namespace conclave::gateway::anthropic {
namespace {

using base::JsonWriter;

std::string_view StopReason(const v1::Finished& finished) {
  switch (finished.reason()) {
    case v1::Finished::REASON_LENGTH:
      return "max_tokens";
    case v1::Finished::REASON_TOOL_CALLS:
      return "tool_use";
    default:
      return finished.matched_stop().empty() ? "end_turn" : "stop_sequence";
  }
}

void WriteTextBlock(JsonWriter& json, std::string_view text) {
  json.BeginObject();
  json.Field("type", "text");
  json.Field("text", text);
  json.EndObject();
}

void WriteThinkingBlock(JsonWriter& json, std::string_view thinking) {
  json.BeginObject();
  json.Field("type", "thinking");
  json.Field("thinking", thinking);
  json.Field("signature", kSignature);
  json.EndObject();
}

void WriteCallBlock(JsonWriter& json, const v1::ToolCall& call) {
  // No object is no input of a tool: shown as text rather than lost.
  if (!HasObjectArguments(call)) return WriteTextBlock(json, call.arguments());
  json.BeginObject();
  json.Field("type", "tool_use");
  json.Field("id", ToolUseId(call.id()));
  json.Field("name", call.name());
  json.RawField("input", call.arguments());
  json.EndObject();
}

std::string ContentJson(const MessageShape& shape, const Completion::Choice& choice) {
  JsonWriter json;
  json.BeginArray();
  if (!choice.reasoning.empty()) {
    WriteThinkingBlock(json, shape.omit_thinking ? std::string_view() : choice.reasoning);
  }
  if (!choice.text.empty()) WriteTextBlock(json, choice.text);
  for (const v1::ToolCall& call : choice.tool_calls) WriteCallBlock(json, call);
  json.EndArray();
  return json.Take();
}

}  // namespace

std::string ToolUseId(std::string_view call_id) {
  constexpr std::string_view kPrefix = "call_";
  if (call_id.substr(0, kPrefix.size()) == kPrefix) call_id.remove_prefix(kPrefix.size());
  return "toolu_" + std::string(call_id);
}

void WriteUsageCounts(JsonWriter& json, const v1::Usage& usage) {
  const int64_t cached = std::min(usage.cached_tokens(), usage.prompt_tokens());
  json.Field("input_tokens", usage.prompt_tokens() - cached);
  json.Field("cache_creation_input_tokens", 0);
  json.Field("cache_read_input_tokens", cached);
  json.Field("output_tokens", usage.completion_tokens());
  json.Key("output_tokens_details");
  json.BeginObject();
  json.Field("thinking_tokens", usage.reasoning_tokens());
  json.EndObject();
}

void WriteStopReason(JsonWriter& json, const v1::Finished* finished) {
  json.Key("stop_reason");
  finished == nullptr ? json.Null() : json.String(StopReason(*finished));
  json.Key("stop_sequence");
  const bool matched = finished != nullptr && StopReason(*finished) == "stop_sequence";
  matched ? json.String(finished->matched_stop()) : json.Null();
}

std::string MessageJson(const MessageShape& shape, std::string_view content, const v1::Usage& usage,
                        const v1::Finished* finished) {
  JsonWriter json;
  json.BeginObject();
  json.Field("id", shape.id);
  json.Field("type", "message");
  json.Field("role", "assistant");
  json.Field("model", shape.model);
  json.RawField("content", content);
  WriteStopReason(json, finished);
  json.Key("usage");
  json.BeginObject();
  WriteUsageCounts(json, usage);
  json.Field("service_tier", "standard");
  json.EndObject();
  json.EndObject();
  return json.Take();
}

std::string EncodeMessage(const MessageShape& shape, const Completion& completion) {
  const Completion::Choice& choice = completion.choices.front();
  v1::Finished finished = choice.finished;
  const auto& calls = choice.tool_calls;
  if (std::none_of(calls.begin(), calls.end(), HasObjectArguments) &&
      finished.reason() == v1::Finished::REASON_TOOL_CALLS) {
    finished.set_reason(v1::Finished::REASON_STOP);
  }
  return MessageJson(shape, ContentJson(shape, choice), completion.usage, &finished);
}

}  // namespace conclave::gateway::anthropic
