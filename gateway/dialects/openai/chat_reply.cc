#include "gateway/dialects/openai/chat_reply.h"

#include <utility>

#include "base/json.h"
#include "gateway/dialects/openai/errors.h"

namespace conclave::gateway::openai {
namespace {

using base::JsonWriter;

void WriteTokenLogprob(JsonWriter& json, const v1::TokenLogprob& token, bool with_top) {
  json.BeginObject();
  json.Field("token", token.token());
  json.Field("logprob", static_cast<double>(token.logprob()));
  json.Key("bytes");
  json.BeginArray();
  for (const char byte : token.token()) json.Int(static_cast<unsigned char>(byte));
  json.EndArray();
  if (with_top) {
    json.Key("top_logprobs");
    json.BeginArray();
    for (const v1::TokenLogprob& other : token.top()) WriteTokenLogprob(json, other, false);
    json.EndArray();
  }
  json.EndObject();
}

// The value of "logprobs": an object, or null when not asked for or nothing is there.
template <typename Logprobs>
void WriteLogprobs(JsonWriter& json, const Logprobs& logprobs, bool wanted) {
  json.Key("logprobs");
  if (!wanted || logprobs.empty()) return json.Null();
  json.BeginObject();
  json.Key("content");
  json.BeginArray();
  for (const v1::TokenLogprob& token : logprobs) WriteTokenLogprob(json, token, true);
  json.EndArray();
  json.NullField("refusal");
  json.EndObject();
}

void WriteHead(JsonWriter& json, const AnswerIdentity& identity, std::string_view object,
               const std::string& fingerprint) {
  json.Field("id", identity.id);
  json.Field("object", object);
  json.Field("created", identity.created);
  json.Field("model", identity.model);
  if (!fingerprint.empty()) json.Field("system_fingerprint", fingerprint);
}

void WriteToolCall(JsonWriter& json, const v1::ToolCall& call) {
  json.BeginObject();
  json.Field("id", call.id());
  json.Field("type", "function");
  json.Key("function");
  json.BeginObject();
  json.Field("name", call.name());
  json.Field("arguments", call.arguments());
  json.EndObject();
  json.EndObject();
}

void WriteChoice(JsonWriter& json, size_t index, const Completion::Choice& choice,
                 bool with_logprobs) {
  json.BeginObject();
  json.Field("index", index);
  json.Key("message");
  json.BeginObject();
  json.Field("role", "assistant");
  if (choice.text.empty() && !choice.tool_calls.empty()) {
    json.NullField("content");
  } else {
    json.Field("content", choice.text);
  }
  json.NullField("refusal");
  if (!choice.reasoning.empty()) json.Field("reasoning_content", choice.reasoning);
  if (!choice.tool_calls.empty()) {
    json.Key("tool_calls");
    json.BeginArray();
    for (const v1::ToolCall& call : choice.tool_calls) WriteToolCall(json, call);
    json.EndArray();
  }
  json.Key("annotations");
  json.BeginArray();
  json.EndArray();
  json.EndObject();
  WriteLogprobs(json, choice.logprobs, with_logprobs);
  json.Field("finish_reason", FinishReasonName(choice.finished.reason()));
  json.EndObject();
}

}  // namespace

std::string_view FinishReasonName(v1::Finished::Reason reason) {
  switch (reason) {
    case v1::Finished::REASON_LENGTH:
      return "length";
    case v1::Finished::REASON_TOOL_CALLS:
      return "tool_calls";
    default:
      return "stop";
  }
}

std::string FingerprintOf(const v1::Accepted& accepted) {
  constexpr size_t kDigits = 12;
  std::string_view revision = accepted.model_revision();
  const size_t colon = revision.rfind(':');
  if (colon != std::string_view::npos) revision.remove_prefix(colon + 1);
  if (revision.empty()) return {};
  return "fp_" + std::string(revision.substr(0, kDigits));
}

void AppendSse(std::string_view data, std::string* out) {
  *out += "data: ";
  *out += data;
  *out += "\n\n";
}

void WriteUsage(JsonWriter& json, const v1::Usage& usage) {
  json.BeginObject();
  json.Field("prompt_tokens", usage.prompt_tokens());
  json.Field("completion_tokens", usage.completion_tokens());
  json.Field("total_tokens", usage.prompt_tokens() + usage.completion_tokens());
  json.Key("prompt_tokens_details");
  json.BeginObject();
  json.Field("cached_tokens", usage.cached_tokens());
  json.Field("audio_tokens", 0);
  json.EndObject();
  json.Key("completion_tokens_details");
  json.BeginObject();
  json.Field("reasoning_tokens", usage.reasoning_tokens());
  json.Field("audio_tokens", 0);
  json.Field("accepted_prediction_tokens", 0);
  json.Field("rejected_prediction_tokens", 0);
  json.EndObject();
  json.EndObject();
}

std::string EncodeChatCompletion(const AnswerIdentity& identity, const Completion& completion,
                                 bool with_logprobs) {
  JsonWriter json;
  json.BeginObject();
  WriteHead(json, identity, "chat.completion", FingerprintOf(completion.accepted));
  json.Key("choices");
  json.BeginArray();
  for (size_t i = 0; i < completion.choices.size(); ++i) {
    WriteChoice(json, i, completion.choices[i], with_logprobs);
  }
  json.EndArray();
  json.Key("usage");
  WriteUsage(json, completion.usage);
  json.Field("service_tier", "default");
  json.EndObject();
  return json.Take();
}

ChatStreamEncoder::ChatStreamEncoder(AnswerIdentity identity, bool include_usage,
                                     bool with_logprobs)
    : identity_(std::move(identity)),
      include_usage_(include_usage),
      with_logprobs_(with_logprobs) {}

std::string_view ChatStreamEncoder::content_type() const {
  return "text/event-stream; charset=utf-8";
}

void ChatStreamEncoder::Begin(std::string*) {}

void ChatStreamEncoder::OnEvent(const v1::GenerateEvent& event, std::string* out) {
  switch (event.event_case()) {
    case v1::GenerateEvent::kAccepted:
      fingerprint_ = FingerprintOf(event.accepted());
      return SendRole(0, out);
    case v1::GenerateEvent::kDelta:
      return OnDelta(event.delta(), out);
    case v1::GenerateEvent::kFinished:
      return OnFinished(event.finished(), out);
    default:
      return;
  }
}

void ChatStreamEncoder::SendRole(int index, std::string* out) {
  ChoiceState& choice = choices_[index];
  if (std::exchange(choice.role_sent, true)) return;
  Chunk(index, R"({"role":"assistant","content":""})", "", out);
}

void ChatStreamEncoder::Chunk(int index, std::string_view delta_json, std::string_view finish,
                              std::string* out) {
  JsonWriter json;
  json.BeginObject();
  WriteHead(json, identity_, "chat.completion.chunk", fingerprint_);
  json.Key("choices");
  json.BeginArray();
  json.BeginObject();
  json.Field("index", index);
  json.RawField("delta", delta_json);
  std::vector<v1::TokenLogprob>& logprobs = choices_[index].logprobs;
  WriteLogprobs(json, logprobs, with_logprobs_);
  logprobs.clear();
  if (finish.empty()) {
    json.NullField("finish_reason");
  } else {
    json.Field("finish_reason", finish);
  }
  json.EndObject();
  json.EndArray();
  if (include_usage_) json.NullField("usage");
  json.EndObject();
  AppendSse(json.Take(), out);
}

std::string ChatStreamEncoder::ToolCallDelta(const v1::ToolCallDelta& call, ChoiceState* choice) {
  const bool started = call.state() == v1::ToolCallDelta::STATE_STARTED;
  bool& has_arguments = choice->call_has_arguments[call.index()];
  std::string_view fragment = call.arguments();
  // A finished call without arguments is a call with none, and "" is no JSON.
  const bool succeeded = call.state() == v1::ToolCallDelta::STATE_SUCCEEDED;
  if (succeeded && fragment.empty() && !has_arguments) fragment = "{}";
  if (started) fragment = "";  // arguments must be empty in the opening chunk
  if (!started && fragment.empty()) return {};
  has_arguments = has_arguments || !fragment.empty();
  JsonWriter json;
  json.BeginObject();
  json.Key("tool_calls");
  json.BeginArray();
  json.BeginObject();
  json.Field("index", call.index());
  if (started) {
    json.Field("id", call.id());
    json.Field("type", "function");
  }
  json.Key("function");
  json.BeginObject();
  if (started) json.Field("name", call.name());
  json.Field("arguments", fragment);
  json.EndObject();
  json.EndObject();
  json.EndArray();
  json.EndObject();
  return json.Take();
}

void ChatStreamEncoder::OnDelta(const v1::Delta& delta, std::string* out) {
  SendRole(delta.index(), out);
  ChoiceState& choice = choices_[delta.index()];
  choice.logprobs.insert(choice.logprobs.end(), delta.logprobs().begin(), delta.logprobs().end());
  const auto one_field = [](std::string_view key, const std::string& text) {
    JsonWriter json;
    json.BeginObject();
    json.Field(key, text);
    json.EndObject();
    return json.Take();
  };
  std::string piece;
  if (!delta.text().empty()) piece = one_field("content", delta.text());
  if (!delta.reasoning().empty()) piece = one_field("reasoning_content", delta.reasoning());
  if (delta.has_tool_call()) piece = ToolCallDelta(delta.tool_call(), &choice);
  if (!piece.empty()) Chunk(delta.index(), piece, "", out);
}

void ChatStreamEncoder::OnFinished(const v1::Finished& finished, std::string* out) {
  SendRole(finished.index(), out);
  AddUsage(finished.usage(), &usage_);
  Chunk(finished.index(), "{}", FinishReasonName(finished.reason()), out);
}

void ChatStreamEncoder::End(std::string* out) {
  if (include_usage_) {
    JsonWriter json;
    json.BeginObject();
    WriteHead(json, identity_, "chat.completion.chunk", fingerprint_);
    json.Key("choices");
    json.BeginArray();
    json.EndArray();
    json.Key("usage");
    WriteUsage(json, usage_);
    json.EndObject();
    AppendSse(json.Take(), out);
  }
  AppendSse("[DONE]", out);
}

// No blank line after the comment: a decoder that saw an id would take it for an empty event.
void ChatStreamEncoder::KeepAlive(std::string* out) { *out += ": ping\n"; }

// And no [DONE]: that would say the answer is complete.
void ChatStreamEncoder::Error(const ErrorInfo& error, std::string* out) {
  AppendSse(ErrorJson(error), out);
}

}  // namespace conclave::gateway::openai
