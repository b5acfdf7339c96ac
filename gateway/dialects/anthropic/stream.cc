#include "gateway/dialects/anthropic/stream.h"

#include "gateway/dialects/anthropic/errors.h"

namespace conclave::gateway::anthropic {

using base::JsonWriter;

void MessageStream::OnEvent(const v1::GenerateEvent& event, std::string* out) {
  if (event.has_accepted()) OnAccepted(event.accepted(), out);
  if (event.has_delta()) OnDelta(event.delta(), out);
  if (event.has_finished()) {
    finished_ = event.finished();
    // What max_tokens cut off is said to be cut off.
    if (call_broken_ && finished_.reason() != v1::Finished::REASON_LENGTH) Fail();
  }
}

void MessageStream::OnAccepted(const v1::Accepted& accepted, std::string* out) {
  if (std::exchange(started_, true)) return;  // a stream that was taken up elsewhere
  v1::Usage usage;
  usage.set_prompt_tokens(accepted.prompt_tokens());
  usage.set_cached_tokens(accepted.cached_tokens());
  JsonWriter json;
  json.BeginObject();
  json.Field("type", "message_start");
  json.RawField("message", MessageJson(shape_, "[]", usage, nullptr));
  json.EndObject();
  AppendSse("message_start", json.Take(), out);
  KeepAlive(out);
}

void MessageStream::OnDelta(const v1::Delta& delta, std::string* out) {
  const bool calls = delta.tool_call().state() == v1::ToolCallDelta::STATE_STARTED;
  if (call_broken_ && (calls || !delta.text().empty() || !delta.reasoning().empty())) return Fail();
  if (!delta.text().empty()) {
    if (block_ != Block::kText) Open(Block::kText, R"({"type":"text","text":""})", out);
    BlockDelta("text_delta", "text", delta.text(), out);
  }
  if (!delta.reasoning().empty()) {
    if (block_ != Block::kThinking) {
      Open(Block::kThinking, R"({"type":"thinking","thinking":"","signature":""})", out);
    }
    if (!shape_.omit_thinking) BlockDelta("thinking_delta", "thinking", delta.reasoning(), out);
  }
  if (delta.has_tool_call()) OnToolCall(delta.tool_call(), out);
}

void MessageStream::OnToolCall(const v1::ToolCallDelta& call, std::string* out) {
  if (call.state() == v1::ToolCallDelta::STATE_STARTED) {
    JsonWriter json;
    json.BeginObject();
    json.Field("type", "tool_use");
    json.Field("id", ToolUseId(call.id()));
    json.Field("name", call.name());
    json.RawField("input", "{}");
    json.EndObject();
    Open(Block::kToolUse, json.Take(), out);
    call_has_input_ = false;
    return;
  }
  std::string_view fragment = call.arguments();
  // A call without arguments is a call with none, and "" is no JSON.
  const bool succeeded = call.state() == v1::ToolCallDelta::STATE_SUCCEEDED;
  if (succeeded && fragment.empty() && !call_has_input_) fragment = "{}";
  if (!fragment.empty()) {
    call_has_input_ = true;
    BlockDelta("input_json_delta", "partial_json", fragment, out);
  }
  call_broken_ = call.state() == v1::ToolCallDelta::STATE_FAILED;
}

void MessageStream::Fail() {
  status_ = base::WithReason(
      base::Internal("the model called a tool with an input that is no JSON object"),
      "tool_call_malformed");
}

void MessageStream::Open(Block kind, std::string_view start_json, std::string* out) {
  Close(out);
  block_ = kind;
  JsonWriter json;
  json.BeginObject();
  json.Field("type", "content_block_start");
  json.Field("index", ++index_);
  json.RawField("content_block", start_json);
  json.EndObject();
  AppendSse("content_block_start", json.Take(), out);
}

void MessageStream::Close(std::string* out) {
  if (block_ == Block::kNone) return;
  if (block_ == Block::kThinking) BlockDelta("signature_delta", "signature", kSignature, out);
  block_ = Block::kNone;
  JsonWriter json;
  json.BeginObject();
  json.Field("type", "content_block_stop");
  json.Field("index", index_);
  json.EndObject();
  AppendSse("content_block_stop", json.Take(), out);
}

void MessageStream::BlockDelta(std::string_view type, std::string_view field, std::string_view text,
                               std::string* out) {
  JsonWriter json;
  json.BeginObject();
  json.Field("type", "content_block_delta");
  json.Field("index", index_);
  json.Key("delta");
  json.BeginObject();
  json.Field("type", type);
  json.Field(field, text);
  json.EndObject();
  json.EndObject();
  AppendSse("content_block_delta", json.Take(), out);
}

void MessageStream::End(std::string* out) {
  Close(out);
  JsonWriter json;
  json.BeginObject();
  json.Field("type", "message_delta");
  json.Key("delta");
  json.BeginObject();
  WriteStopReason(json, &finished_);
  json.EndObject();
  json.Key("usage");
  json.BeginObject();
  WriteUsageCounts(json, finished_.usage());
  json.EndObject();
  json.EndObject();
  AppendSse("message_delta", json.Take(), out);
  AppendSse("message_stop", R"({"type":"message_stop"})", out);
}

void MessageStream::KeepAlive(std::string* out) { AppendSse("ping", R"({"type":"ping"})", out); }

void MessageStream::Error(const ErrorInfo& error, std::string* out) {
  AppendSse("error", ErrorJson(error), out);
}

}  // namespace conclave::gateway::anthropic
