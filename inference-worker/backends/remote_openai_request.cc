#include "backends/remote_openai_request.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/status.h"

namespace conclave::backends {
namespace {

using base::JsonWriter;

absl::Status Refuse(std::string_view field) {
  return base::WithParam(base::Unimplemented(absl::StrCat(
                             std::string(field), ": the remote server has no such parameter")),
                         field);
}

void WriteMessage(const engine::Message& message, JsonWriter& json) {
  json.BeginObject();
  json.Field("role", message.role);
  if (message.content_is_null) {
    json.NullField("content");
  } else {
    json.Field("content", message.content);
  }
  if (!message.reasoning.empty()) json.Field("reasoning_content", message.reasoning);
  if (!message.name.empty()) json.Field("name", message.name);
  if (!message.tool_call_id.empty()) json.Field("tool_call_id", message.tool_call_id);
  if (!message.tool_calls.empty()) {
    json.Key("tool_calls");
    json.BeginArray();
    for (const engine::ToolCall& call : message.tool_calls) {
      json.BeginObject();
      json.Field("id", call.id);
      json.Field("type", "function");
      json.Key("function");
      json.BeginObject();
      json.Field("name", call.name);
      json.Field("arguments", call.arguments);
      json.EndObject();
      json.EndObject();
    }
    json.EndArray();
  }
  json.EndObject();
}

void WriteTools(const ChatPrompt& chat, JsonWriter& json) {
  if (chat.conversation.tools.empty()) return;
  json.Key("tools");
  json.BeginArray();
  for (const engine::Tool& tool : chat.conversation.tools) {
    json.BeginObject();
    json.Field("type", "function");
    json.Key("function");
    json.BeginObject();
    json.Field("name", tool.name);
    if (!tool.description.empty()) json.Field("description", tool.description);
    if (!tool.parameters.empty()) json.RawField("parameters", tool.parameters);
    if (tool.strict) json.Field("strict", true);
    json.EndObject();
    json.EndObject();
  }
  json.EndArray();
  if (!chat.parallel_tool_calls) json.Field("parallel_tool_calls", false);
  switch (chat.tool_choice.mode) {
    case ToolChoice::Mode::kAuto:
      return json.Field("tool_choice", "auto");
    case ToolChoice::Mode::kNone:
      return json.Field("tool_choice", "none");
    case ToolChoice::Mode::kRequired:
      return json.Field("tool_choice", "required");
    case ToolChoice::Mode::kNamed:
      break;
  }
  json.Key("tool_choice");
  json.BeginObject();
  json.Field("type", "function");
  json.Key("function");
  json.BeginObject();
  json.Field("name", chat.tool_choice.name);
  json.EndObject();
  json.EndObject();
}

void WriteConversation(const ChatPrompt& chat, JsonWriter& json) {
  json.Key("messages");
  json.BeginArray();
  for (const engine::Message& message : chat.conversation.messages) WriteMessage(message, json);
  json.EndArray();
  WriteTools(chat, json);
  if (!chat.conversation.add_generation_prompt) json.Field("add_generation_prompt", false);
  if (chat.conversation.continue_final_message) json.Field("continue_final_message", true);
  if (chat.reasoning_budget) json.Field("thinking_budget", *chat.reasoning_budget);
  if (chat.conversation.template_variables.empty()) return;
  json.Key("chat_template_kwargs");
  json.BeginObject();
  for (const auto& [name, value] : chat.conversation.template_variables) json.RawField(name, value);
  json.EndObject();
}

void WritePrompt(const GenerateRequest& request, JsonWriter& json) {
  if (const auto* chat = std::get_if<ChatPrompt>(&request.prompt)) {
    return WriteConversation(*chat, json);
  }
  if (const auto* text = std::get_if<TextPrompt>(&request.prompt)) {
    json.Field("prompt", text->text);
    if (request.infill) json.Field("suffix", request.infill->suffix);
    return;
  }
  json.Key("prompt");
  json.BeginArray();
  for (const TokenId id : std::get<TokenPrompt>(request.prompt).ids) json.Int(id);
  json.EndArray();
}

void WriteSampling(const Sampling& sampling, JsonWriter& json) {
  const auto number = [&](std::string_view key, const std::optional<float>& value) {
    if (value) json.Field(key, static_cast<double>(*value));
  };
  number("temperature", sampling.temperature);
  number("top_p", sampling.top_p);
  number("min_p", sampling.min_p);
  number("typical_p", sampling.typical_p);
  number("repetition_penalty", sampling.repetition_penalty);
  number("frequency_penalty", sampling.frequency_penalty);
  number("presence_penalty", sampling.presence_penalty);
  if (sampling.top_k) json.Field("top_k", *sampling.top_k);
  if (sampling.seed) {
    json.Key("seed");
    json.Uint(*sampling.seed);
  }
  if (sampling.logit_bias.empty()) return;
  json.Key("logit_bias");
  json.BeginObject();
  for (const auto& [id, bias] : sampling.logit_bias) {
    json.Field(std::to_string(id), static_cast<double>(bias));
  }
  json.EndObject();
}

void WriteStop(const StopConditions& stop, const OpenAiDialect& dialect, JsonWriter& json) {
  if (stop.max_tokens) json.Field(dialect.max_tokens_field, *stop.max_tokens);
  if (stop.min_tokens > 0) json.Field("min_tokens", stop.min_tokens);
  if (stop.ignore_eos) json.Field("ignore_eos", true);
  if (!stop.strings.empty()) {
    json.Key("stop");
    json.BeginArray();
    for (const std::string& text : stop.strings) json.String(text);
    json.EndArray();
  }
  if (!stop.token_ids.empty()) {
    json.Key("stop_token_ids");
    json.BeginArray();
    for (const TokenId id : stop.token_ids) json.Int(id);
    json.EndArray();
  }
}

absl::Status WriteFormat(const ResponseFormat& format, const OpenAiDialect& dialect,
                         JsonWriter& json) {
  using Kind = ResponseFormat::Kind;
  if (format.kind == Kind::kText) return absl::OkStatus();
  if (format.kind == Kind::kGbnf || format.kind == Kind::kRegex) {
    if (!dialect.guided) return Refuse("response_format");
    json.Field(format.kind == Kind::kGbnf ? "guided_grammar" : "guided_regex", format.definition);
    return absl::OkStatus();
  }
  json.Key("response_format");
  json.BeginObject();
  if (format.kind == Kind::kJsonObject) {
    json.Field("type", "json_object");
  } else {
    json.Field("type", "json_schema");
    json.Key("json_schema");
    json.BeginObject();
    json.Field("name", "answer");
    json.RawField("schema", format.definition);
    json.Field("strict", true);
    json.EndObject();
  }
  json.EndObject();
  return absl::OkStatus();
}

void WriteLogprobs(int32_t top, bool chat, JsonWriter& json) {
  if (top < 0) return;
  if (!chat) return json.Field("logprobs", top);
  json.Field("logprobs", true);
  if (top > 0) json.Field("top_logprobs", top);
}

}  // namespace

absl::StatusOr<OpenAiCall> EncodeOpenAiCall(const GenerateRequest& request,
                                            const std::string& model,
                                            const OpenAiDialect& dialect) {
  if (request.sampling.penalty_last_n) return Refuse("penalty_last_n");
  if (request.prompt_report) return Refuse("echo");
  const bool is_text = std::holds_alternative<TextPrompt>(request.prompt);
  if (request.infill && !is_text) return Refuse("suffix");
  if (request.infill && !request.infill->files.empty()) return Refuse("input_extra");
  OpenAiCall call;
  call.chat = std::holds_alternative<ChatPrompt>(request.prompt);
  JsonWriter json;
  json.BeginObject();
  json.Field("model", model);
  WritePrompt(request, json);
  WriteSampling(request.sampling, json);
  WriteStop(request.stop, dialect, json);
  WriteLogprobs(request.top_logprobs, call.chat, json);
  RETURN_IF_ERROR(WriteFormat(request.response_format, dialect, json));
  json.Field("stream", true);
  json.Key("stream_options");
  json.BeginObject();
  json.Field("include_usage", true);
  json.EndObject();
  json.EndObject();
  call.body = json.Take();
  return call;
}

std::string EncodeTokenizeCall(const std::variant<ChatPrompt, TextPrompt>& input,
                               const TokenizeOptions& options, const std::string& model) {
  JsonWriter json;
  json.BeginObject();
  json.Field("model", model);
  if (const auto* chat = std::get_if<ChatPrompt>(&input)) {
    WriteConversation(*chat, json);
  } else {
    const std::string& text = std::get<TextPrompt>(input).text;
    json.Field("prompt", text);   // vLLM, SGLang, Conclave
    json.Field("content", text);  // llama-server
  }
  json.Field("add_special_tokens", options.add_special);
  json.Field("add_special", options.add_special);
  json.EndObject();
  return json.Take();
}

}  // namespace conclave::backends
