#include "gateway/dialects/openai/chat_reply.h"

#include <string>
#include <utility>

#include "base/json.h"

namespace conclave::gateway::openai {
namespace {

using base::JsonWriter;

void WriteTokenLogprob(JsonWriter& json, const v1::TokenLogprob& token, bool with_top) {
  json.BeginObject();
  WriteTokenFields(json, token);
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

void WriteFunctionCall(JsonWriter& json, const v1::ToolCall& call) {
  json.Key("function_call");
  json.BeginObject();
  json.Field("name", call.name());
  json.Field("arguments", call.arguments());
  json.EndObject();
}

std::string_view FinishWord(const v1::Finished& finished, const ChatShape& shape) {
  const bool called = finished.reason() == v1::Finished::REASON_TOOL_CALLS;
  if (called && shape.call_words == CallWords::kFunctions) return "function_call";
  return FinishReasonName(finished.reason());
}

void WriteChoice(JsonWriter& json, size_t index, const Completion::Choice& choice,
                 const ChatShape& shape) {
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
  if (!choice.tool_calls.empty() && shape.call_words == CallWords::kFunctions) {
    WriteFunctionCall(json, choice.tool_calls.front());
  } else if (!choice.tool_calls.empty()) {
    json.Key("tool_calls");
    json.BeginArray();
    for (const v1::ToolCall& call : choice.tool_calls) {
      if (shape.custom_tools.contains(call.name())) {
        WriteCustomCall(json, call);
      } else {
        WriteToolCall(json, call);
      }
    }
    json.EndArray();
  }
  json.Key("annotations");
  json.BeginArray();
  json.EndArray();
  json.EndObject();
  WriteLogprobs(json, choice.logprobs, shape.with_logprobs);
  WriteFinishReason(json, FinishWord(choice.finished, shape));
  json.EndObject();
}

// vLLM's form: for each position the tokens by id, null for the first. A token that is not among
// the alternatives has no rank.
void WritePromptLogprobs(JsonWriter& json, const Completion::Prompt& prompt) {
  json.Key("prompt_logprobs");
  json.BeginArray();
  for (size_t i = 0; i < prompt.tokens.size(); ++i) {
    if (i == 0) {
      json.Null();
      continue;
    }
    const v1::TokenLogprob& token = prompt.tokens[i];
    const auto write = [&json](const v1::TokenLogprob& one, int rank) {
      json.Key(std::to_string(one.token_id()));
      json.BeginObject();
      json.Field("logprob", static_cast<double>(one.logprob()));
      json.Key("rank");
      if (rank > 0) {
        json.Int(rank);
      } else {
        json.Null();
      }
      json.Field("decoded_token", one.token());
      json.EndObject();
    };
    bool is_among = false;
    json.BeginObject();
    for (int k = 0; k < token.top_size(); ++k) {
      write(token.top(k), k + 1);
      is_among = is_among || token.top(k).token_id() == token.token_id();
    }
    if (!is_among) write(token, 0);
    json.EndObject();
  }
  json.EndArray();
}

}  // namespace

std::string EncodeChatCompletion(const AnswerIdentity& identity, const Completion& completion,
                                 const ChatShape& shape) {
  JsonWriter json;
  json.BeginObject();
  WriteAnswerHead(json, identity, "chat.completion", FingerprintOf(completion.accepted));
  json.Key("choices");
  json.BeginArray();
  for (size_t i = 0; i < completion.choices.size(); ++i) {
    WriteChoice(json, i, completion.choices[i], shape);
  }
  json.EndArray();
  json.Key("usage");
  WriteUsage(json, completion.usage, shape.reports.speed ? &completion.timings : nullptr);
  json.Field("service_tier", "default");
  if (!completion.prompts.empty()) WritePromptLogprobs(json, completion.prompts.front());
  if (shape.reports.timings) WriteTimings(json, completion.usage, completion.timings);
  json.EndObject();
  return json.Take();
}

void ChatStreamEncoder::SendRole(int index, std::string* out) {
  ChoiceState& choice = choices_[index];
  if (std::exchange(choice.role_sent, true)) return;
  SendDelta(index, R"({"role":"assistant","content":""})", "", out);
}

void ChatStreamEncoder::SendDelta(int index, std::string_view delta_json, std::string_view finish,
                                  std::string* out) {
  std::vector<v1::TokenLogprob>& logprobs = choices_[index].logprobs;
  const auto write_choice = [&](JsonWriter& json) {
    json.Field("index", index);
    json.RawField("delta", delta_json);
    WriteLogprobs(json, logprobs, shape_.with_logprobs);
    WriteFinishReason(json, finish);
  };
  Chunk(write_choice, out);
  logprobs.clear();
}

namespace {

// A piece of a call of the kind `type`, whose text stands in `field`.
std::string CallDelta(const v1::ToolCallDelta& call, std::string_view type, std::string_view field,
                      std::string_view text) {
  const bool started = call.state() == v1::ToolCallDelta::STATE_STARTED;
  JsonWriter json;
  json.BeginObject();
  json.Key("tool_calls");
  json.BeginArray();
  json.BeginObject();
  json.Field("index", call.index());
  if (started) {
    json.Field("id", call.id());
    json.Field("type", type);
  }
  json.Key(type);
  json.BeginObject();
  if (started) json.Field("name", call.name());
  json.Field(field, text);
  json.EndObject();
  json.EndObject();
  json.EndArray();
  json.EndObject();
  return json.Take();
}

}  // namespace

std::string ChatStreamEncoder::CustomCallDelta(const v1::ToolCallDelta& call, ChoiceState* choice) {
  const bool started = call.state() == v1::ToolCallDelta::STATE_STARTED;
  const std::string input = started ? "" : choice->inputs[call.index()].Feed(call.arguments());
  if (!started && input.empty()) return {};
  return CallDelta(call, "custom", "input", input);
}

std::string ChatStreamEncoder::ToolCallDelta(const v1::ToolCallDelta& call, ChoiceState* choice) {
  const bool started = call.state() == v1::ToolCallDelta::STATE_STARTED;
  if (started && shape_.custom_tools.contains(call.name())) choice->inputs[call.index()] = {};
  if (choice->inputs.contains(call.index())) return CustomCallDelta(call, choice);
  bool& has_arguments = choice->call_has_arguments[call.index()];
  std::string_view fragment = call.arguments();
  // A finished call without arguments is a call with none, and "" is no JSON.
  const bool succeeded = call.state() == v1::ToolCallDelta::STATE_SUCCEEDED;
  if (succeeded && fragment.empty() && !has_arguments) fragment = "{}";
  if (started) fragment = "";  // arguments must be empty in the opening chunk
  if (!started && fragment.empty()) return {};
  has_arguments = has_arguments || !fragment.empty();
  if (shape_.call_words != CallWords::kFunctions) {
    return CallDelta(call, "function", "arguments", fragment);
  }
  JsonWriter json;
  json.BeginObject();
  json.Key("function_call");
  json.BeginObject();
  if (started) json.Field("name", call.name());
  json.Field("arguments", fragment);
  json.EndObject();
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
  if (!piece.empty()) SendDelta(delta.index(), piece, "", out);
}

void ChatStreamEncoder::OnFinished(const v1::Finished& finished, std::string* out) {
  SendRole(finished.index(), out);
  SendDelta(finished.index(), "{}", FinishWord(finished, shape_), out);
}

}  // namespace conclave::gateway::openai
