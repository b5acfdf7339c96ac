#include "gateway/dialects/llama_stack/answer.h"

#include <set>

namespace conclave::gateway::llama_stack {
namespace {

using base::JsonWriter;

// {"role":"assistant","content","stop_reason","tool_calls"}
void WriteMessage(JsonWriter& json, const Wire& wire, const Completion::Choice& choice) {
  std::string content = choice.text;
  std::vector<const v1::ToolCall*> calls;
  for (const v1::ToolCall& call : choice.tool_calls) {
    if (HasObjectArguments(call)) {
      calls.push_back(&call);
    } else {
      content += call.arguments();  // shown as text rather than lost
    }
  }
  json.BeginObject();
  json.Field("role", "assistant");
  json.Field("content", content);
  json.Field("stop_reason", StopReason(choice.finished));
  json.Key("tool_calls");
  json.BeginArray();
  for (const v1::ToolCall* call : calls) json.Raw(ToolCallJson(wire, *call));
  json.EndArray();
  if (!choice.reasoning.empty()) json.Field("reasoning_content", choice.reasoning);
  json.EndObject();
}

void WriteChatMembers(JsonWriter& json, const Wire& wire, const Completion::Choice& choice) {
  json.Key("completion_message");
  WriteMessage(json, wire, choice);
  WriteLogprobs(json, choice.logprobs);
}

void WriteCompletionMembers(JsonWriter& json, const Wire& wire, const Completion::Choice& choice) {
  if (wire.completion_message) {
    json.Key("completion_message");
    WriteMessage(json, wire, choice);
  }
  json.Field("content", choice.text);
  json.Field("stop_reason", StopReason(choice.finished));
  WriteLogprobs(json, choice.logprobs);
}

using WriteMembers = void (*)(JsonWriter& json, const Wire& wire, const Completion::Choice& choice);

std::string EncodeBatch(const Wire& wire, const Completion& completion, WriteMembers write) {
  JsonWriter json;
  json.BeginObject();
  json.Key(wire.whole_batch ? "batch" : "completion_message_batch");
  json.BeginArray();
  for (const Completion::Choice& choice : completion.choices) {
    if (wire.whole_batch) {
      json.BeginObject();
      write(json, wire, choice);
      json.EndObject();
    } else {
      WriteMessage(json, wire, choice);
    }
  }
  json.EndArray();
  WriteMetrics(json, wire, completion.usage);
  json.EndObject();
  return json.Take();
}

}  // namespace

std::string JsonText(std::string_view text) {
  JsonWriter json;
  json.String(text);
  return json.Take();
}

std::string_view StopReason(const v1::Finished& finished) {
  switch (finished.reason()) {
    case v1::Finished::REASON_LENGTH:
      return "out_of_tokens";
    case v1::Finished::REASON_TOOL_CALLS:
      return "end_of_message";
    default:
      return "end_of_turn";
  }
}

void WriteLogprobs(JsonWriter& json, const std::vector<v1::TokenLogprob>& logprobs) {
  json.Key("logprobs");
  if (logprobs.empty()) return json.Null();
  json.BeginArray();
  for (const v1::TokenLogprob& token : logprobs) {
    json.BeginObject();
    json.Key("logprobs_by_token");
    json.BeginObject();
    // Tokens that are no UTF-8 may read alike; the first, the likelier one, stands for them.
    std::set<std::string> seen;
    const auto add = [&](const v1::TokenLogprob& one) {
      if (!seen.insert(JsonText(one.token())).second) return;
      json.Field(one.token(), static_cast<double>(one.logprob()));
    };
    add(token);
    for (const v1::TokenLogprob& other : token.top()) add(other);
    json.EndObject();
    json.EndObject();
  }
  json.EndArray();
}

std::string ToolCallJson(const Wire& wire, const v1::ToolCall& call) {
  JsonWriter json;
  json.BeginObject();
  json.Field("call_id", call.id());
  json.Field("tool_name", call.name());
  json.RawField("arguments", call.arguments());
  if (wire.arguments_json) json.Field("arguments_json", call.arguments());
  json.EndObject();
  return json.Take();
}

void WriteMetrics(JsonWriter& json, const Wire& wire, const v1::Usage& usage) {
  if (!wire.metrics) return;
  const auto write = [&json](std::string_view name, int64_t value) {
    json.BeginObject();
    json.Field("metric", name);
    json.Field("value", value);
    json.Field("unit", "tokens");
    json.EndObject();
  };
  json.Key("metrics");
  json.BeginArray();
  write("prompt_tokens", usage.prompt_tokens());
  write("completion_tokens", usage.completion_tokens());
  write("total_tokens", usage.prompt_tokens() + usage.completion_tokens());
  json.EndArray();
}

std::string EncodeChat(const Wire& wire, const Completion& completion) {
  JsonWriter json;
  json.BeginObject();
  WriteChatMembers(json, wire, completion.choices.front());
  WriteMetrics(json, wire, completion.usage);
  json.EndObject();
  return json.Take();
}

std::string EncodeCompletion(const Wire& wire, const Completion& completion) {
  JsonWriter json;
  json.BeginObject();
  WriteCompletionMembers(json, wire, completion.choices.front());
  WriteMetrics(json, wire, completion.usage);
  json.EndObject();
  return json.Take();
}

std::string EncodeChatBatch(const Wire& wire, const Completion& completion) {
  return EncodeBatch(wire, completion, WriteChatMembers);
}

std::string EncodeCompletionBatch(const Wire& wire, const Completion& completion) {
  return EncodeBatch(wire, completion, WriteCompletionMembers);
}

}  // namespace conclave::gateway::llama_stack
