#include "gateway/dialects/llama_stack/stream.h"

#include <utility>

#include "gateway/dialects/llama_stack/errors.h"

namespace conclave::gateway::llama_stack {
namespace {

using base::JsonWriter;

void WriteStopReason(JsonWriter& json, std::string_view reason) {
  if (reason.empty()) return json.NullField("stop_reason");
  json.Field("stop_reason", reason);
}

}  // namespace

void InferenceStream::OnEvent(const v1::GenerateEvent& event, std::string* out) {
  if (event.has_accepted()) OnAccepted(out);
  if (event.has_delta()) {
    const v1::Delta& delta = event.delta();
    logprobs_.insert(logprobs_.end(), delta.logprobs().begin(), delta.logprobs().end());
    OnDelta(delta, out);
  }
  if (event.has_finished()) OnFinished(event.finished(), out);
}

void InferenceStream::Error(const ErrorInfo& error, std::string* out) {
  AppendSse(StreamErrorJson(error), out);
}

void InferenceStream::WritePendingLogprobs(JsonWriter& json) {
  WriteLogprobs(json, logprobs_);
  if (!cumulative_) logprobs_.clear();
}

std::string ChatStream::TextDelta(std::string_view text) const {
  if (!wire().typed_deltas) return JsonText(text);
  JsonWriter json;
  json.BeginObject();
  json.Field("type", "text");
  json.Field("text", text);
  json.EndObject();
  return json.Take();
}

std::string ChatStream::CallDelta(std::string_view content, std::string_view status) const {
  JsonWriter json;
  json.BeginObject();
  if (wire().typed_deltas) json.Field("type", "tool_call");
  json.RawField(wire().typed_deltas ? "tool_call" : "content", content);
  json.Field("parse_status", status);
  json.EndObject();
  return json.Take();
}

void ChatStream::Send(const Event& event, std::string* out) {
  JsonWriter json;
  json.BeginObject();
  json.Key("event");
  json.BeginObject();
  json.Field("event_type", event.type);
  json.RawField("delta", event.delta);
  WritePendingLogprobs(json);
  WriteStopReason(json, event.stop_reason);
  if (!event.reasoning.empty()) json.Field("reasoning_content", event.reasoning);
  json.EndObject();
  if (event.usage != nullptr) WriteMetrics(json, wire(), *event.usage);
  json.EndObject();
  AppendSse(json.Take(), out);
}

void ChatStream::OnAccepted(std::string* out) {
  if (std::exchange(started_, true)) return;  // a stream that was taken up elsewhere
  Send({.type = "start", .delta = TextDelta("")}, out);
}

void ChatStream::OnDelta(const v1::Delta& delta, std::string* out) {
  if (!delta.text().empty()) {
    in_call_ = false;
    Send({.type = "progress", .delta = TextDelta(delta.text())}, out);
  }
  if (!delta.reasoning().empty()) {
    Send({.type = "progress", .delta = TextDelta(""), .reasoning = delta.reasoning()}, out);
  }
  if (delta.has_tool_call()) OnToolCall(delta.tool_call(), out);
}

// Whole calls are told when all is said, together with the reason to stop.
void ChatStream::OnToolCall(const v1::ToolCallDelta& delta, std::string* out) {
  in_call_ = true;
  Call& known = calls_[delta.index()];
  if (delta.state() == v1::ToolCallDelta::STATE_STARTED) {
    known.call.set_id(delta.id());
    known.call.set_name(delta.name());
    return Send({.type = "progress", .delta = CallDelta("\"\"", "started")}, out);
  }
  known.call.mutable_arguments()->append(delta.arguments());
  known.broken = delta.state() == v1::ToolCallDelta::STATE_FAILED;
  if (delta.arguments().empty()) return;
  Send({.type = "progress", .delta = CallDelta(JsonText(delta.arguments()), "in_progress")}, out);
}

void ChatStream::OnFinished(const v1::Finished& finished, std::string* out) {
  const std::string_view reason = StopReason(finished);
  // The token that ended the turn has no text, and was an event of its own all the same.
  if (finished.reason() != v1::Finished::REASON_LENGTH) {
    const std::string nothing = in_call_ ? CallDelta("\"\"", "in_progress") : TextDelta("");
    Send({.type = "progress", .delta = nothing, .stop_reason = reason}, out);
  }
  for (auto& [index, known] : calls_) {
    if (known.call.arguments().empty()) known.call.set_arguments("{}");
    const bool whole = !known.broken && HasObjectArguments(known.call);
    const std::string delta =
        whole ? CallDelta(ToolCallJson(wire(), known.call), wire().call_succeeded)
              : CallDelta("\"\"", wire().call_failed);
    Send({.type = "progress", .delta = delta, .stop_reason = reason}, out);
  }
  Send({.type = "complete",
        .delta = TextDelta(""),
        .stop_reason = reason,
        .usage = &finished.usage()},
       out);
}

void CompletionStream::OnDelta(const v1::Delta& delta, std::string* out) {
  if (!delta.text().empty()) Send(delta.text(), nullptr, out);
}

void CompletionStream::OnFinished(const v1::Finished& finished, std::string* out) {
  Send("", &finished, out);
}

void CompletionStream::Send(std::string_view text, const v1::Finished* finished, std::string* out) {
  JsonWriter json;
  json.BeginObject();
  json.Field("delta", text);
  WriteStopReason(json, finished == nullptr ? std::string_view() : StopReason(*finished));
  WritePendingLogprobs(json);
  if (finished != nullptr) WriteMetrics(json, wire(), finished->usage());
  json.EndObject();
  AppendSse(json.Take(), out);
}

}  // namespace conclave::gateway::llama_stack
