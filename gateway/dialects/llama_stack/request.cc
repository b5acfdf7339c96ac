#include "gateway/dialects/llama_stack/request.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gateway/dialects/llama_stack/content.h"
#include "gateway/dialects/llama_stack/tools.h"
#include "gateway/dialects/openai/sampling.h"
#include "gateway/dialects/rerank_call.h"

namespace conclave::gateway::llama_stack {
namespace {

using base::JsonDocument;
using base::JsonValue;

constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();
constexpr size_t kStopMax = 4;
constexpr size_t kCallsMax = 128;
constexpr size_t kBatchMax = 128;
constexpr size_t kEmbedInputsMax = 2048;
constexpr int64_t kDimensionsMax = 1 << 16;
constexpr int64_t kTopLogprobsMax = 20;
constexpr std::string_view kContextBreak = "\n\n";

// Arguments are an object; the wire of 2025 allows its text, too.
absl::StatusOr<std::string> ReadArguments(JsonValue arguments) {
  if (arguments.is_string()) return arguments.AsString();
  RETURN_IF_ERROR(arguments.ExpectObject());
  return arguments.ToJson();
}

absl::Status ReadToolCalls(JsonValue calls, v1::ChatMessage* message) {
  if (calls.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(calls.ExpectArray());
  if (calls.size() > kCallsMax) return calls.Error(absl::StrCat("at most ", kCallsMax));
  for (size_t i = 0; i < calls.size(); ++i) {
    const JsonValue call = calls.At(i);
    RETURN_IF_ERROR(call.ExpectObject());
    v1::ToolCall* out = message->add_tool_calls();
    ASSIGN_OR_RETURN(*out->mutable_id(), call.Get("call_id").AsString());
    ASSIGN_OR_RETURN(*out->mutable_name(), call.Get("tool_name").AsString());
    ASSIGN_OR_RETURN(*out->mutable_arguments(), ReadArguments(call.Get("arguments")));
  }
  return absl::OkStatus();
}

// An answer of calls alone has no content, or "".
absl::Status ReadAssistant(JsonValue value, v1::ChatMessage* message) {
  message->set_role(v1::ROLE_ASSISTANT);
  RETURN_IF_ERROR(ReadToolCalls(value.Get("tool_calls"), message));
  ASSIGN_OR_RETURN(std::optional<std::string> reasoning,
                   value.Get("reasoning_content").OptionalString());
  message->set_reasoning(std::move(reasoning).value_or(std::string()));
  const bool calls = !message->tool_calls().empty();
  std::string text;
  if (!calls || !value.Get("content").missing()) {
    ASSIGN_OR_RETURN(text, ReadContent(value.Get("content")));
  }
  if (calls && text.empty()) {
    message->set_content_is_null(true);
  } else {
    message->add_content()->set_text(std::move(text));
  }
  return absl::OkStatus();
}

absl::Status ReadToolResponse(JsonValue value, v1::ChatMessage* message) {
  message->set_role(v1::ROLE_TOOL);
  ASSIGN_OR_RETURN(*message->mutable_tool_call_id(), value.Get("call_id").AsString());
  ASSIGN_OR_RETURN(std::optional<std::string> name, value.Get("tool_name").OptionalString());
  message->set_name(std::move(name).value_or(std::string()));
  return absl::OkStatus();
}

absl::Status ReadMessage(JsonValue value, v1::ChatMessage* message) {
  RETURN_IF_ERROR(value.ExpectObject());
  const JsonValue role = value.Get("role");
  ASSIGN_OR_RETURN(const std::string name, role.AsString());
  if (name == "assistant") return ReadAssistant(value, message);
  ASSIGN_OR_RETURN(std::string text, ReadContent(value.Get("content")));
  // "ipython" was the name of 2024.
  if (name == "tool" || name == "ipython") {
    RETURN_IF_ERROR(ReadToolResponse(value, message));
  } else if (name == "user") {
    message->set_role(v1::ROLE_USER);
    const JsonValue context = value.Get("context");
    if (!context.missing()) {
      ASSIGN_OR_RETURN(const std::string retrieved, ReadContent(context));
      text.append(kContextBreak).append(retrieved);
    }
  } else if (name == "system") {
    message->set_role(v1::ROLE_SYSTEM);
  } else {
    return role.Error("expected user, system, assistant, tool or ipython");
  }
  message->add_content()->set_text(std::move(text));
  return absl::OkStatus();
}

absl::Status ReadMessages(JsonValue messages, std::string_view default_system_prompt,
                          v1::ChatPrompt* chat) {
  RETURN_IF_ERROR(messages.ExpectArray());
  if (messages.size() == 0) return messages.Error("at least one message is required");
  std::vector<v1::ChatMessage> read(messages.size());
  bool has_system = false;
  for (size_t i = 0; i < messages.size(); ++i) {
    RETURN_IF_ERROR(ReadMessage(messages.At(i), &read[i]));
    has_system = has_system || read[i].role() == v1::ROLE_SYSTEM;
  }
  if (!has_system && !default_system_prompt.empty()) {
    v1::ChatMessage* system = chat->add_messages();
    system->set_role(v1::ROLE_SYSTEM);
    system->add_content()->set_text(std::string(default_system_prompt));
  }
  for (v1::ChatMessage& message : read) *chat->add_messages() = std::move(message);
  return absl::OkStatus();
}

absl::Status ReadSamplingParams(const Wire& wire, JsonValue params, v1::GenerateRequest* out) {
  if (!params.missing()) RETURN_IF_ERROR(params.ExpectObject());
  v1::SamplingParams* sampling = out->mutable_sampling();
  RETURN_IF_ERROR(wire.read_strategy(params, sampling));
  ASSIGN_OR_RETURN(const std::optional<double> penalty,
                   params.Get("repetition_penalty").OptionalNumber(0.01, 10));
  sampling->set_repetition_penalty(static_cast<float>(penalty.value_or(1)));
  RETURN_IF_ERROR(openai::ReadSeed(params, sampling));  // no field of the wire's; all dialects have
  // 0 is "as much as the model can".
  ASSIGN_OR_RETURN(const std::optional<int64_t> max_tokens,
                   params.Get("max_tokens").OptionalInt(0, kInt32Max));
  if (max_tokens.value_or(0) > 0) {
    out->mutable_stop()->set_max_tokens(static_cast<int32_t>(*max_tokens));
  }
  return openai::ReadStop(params.Get("stop"), kStopMax, out->mutable_stop());
}

// {"root": "…", "rule": "…"}: each rule's right side by its name; or {"grammar": text}.
absl::StatusOr<std::string> ReadRules(JsonValue rules) {
  if (rules.Get("root").missing()) {
    if (rules.size() == 1 && rules.Get("grammar").present()) return rules.Get("grammar").AsString();
    return rules.Error("expected the text of a grammar, or rules by name with a \"root\"");
  }
  std::string grammar;
  absl::Status status;
  rules.ForEachMember([&](std::string_view name, JsonValue rule) {
    const absl::StatusOr<std::string> text = rule.AsString();
    if (status.ok()) status = text.status();
    if (text.ok()) absl::StrAppend(&grammar, std::string(name), " ::= ", *text, "\n");
  });
  RETURN_IF_ERROR(status);
  return grammar;
}

// {"type":"json_schema","json_schema":<schema>} | {"type":"grammar","bnf":…}
absl::Status ReadResponseFormat(JsonValue format, v1::GenerateRequest* out) {
  if (format.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(format.ExpectObject());
  const JsonValue type = format.Get("type");
  ASSIGN_OR_RETURN(const std::string name, type.AsString());
  if (name == "json_schema") {
    const JsonValue schema = format.Get("json_schema");
    RETURN_IF_ERROR(schema.ExpectObject());
    v1::JsonSchema* to = out->mutable_response_format()->mutable_json_schema();
    to->set_schema_json(schema.ToJson());
    to->set_strict(true);
    return absl::OkStatus();
  }
  if (name != "grammar") return type.Error("expected json_schema or grammar");
  const JsonValue bnf = format.Get("bnf");
  if (bnf.is_string()) {
    ASSIGN_OR_RETURN(*out->mutable_response_format()->mutable_gbnf(), bnf.AsString());
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(bnf.ExpectObject());
  ASSIGN_OR_RETURN(*out->mutable_response_format()->mutable_gbnf(), ReadRules(bnf));
  return absl::OkStatus();
}

absl::Status ReadLogprobs(JsonValue logprobs, v1::GenerateRequest* out) {
  if (logprobs.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(logprobs.ExpectObject());
  ASSIGN_OR_RETURN(const std::optional<int64_t> top,
                   logprobs.Get("top_k").OptionalInt(0, kTopLogprobsMax));
  out->mutable_logprobs()->set_top(static_cast<int32_t>(top.value_or(0)));
  return absl::OkStatus();
}

// What every generation has, whatever its prompt.
absl::StatusOr<v1::GenerateRequest> ReadCommon(const Wire& wire, JsonValue root) {
  v1::GenerateRequest out;
  ASSIGN_OR_RETURN(*out.mutable_model(), ReadModel(wire, root));
  RETURN_IF_ERROR(ReadSamplingParams(wire, root.Get("sampling_params"), &out));
  RETURN_IF_ERROR(ReadResponseFormat(root.Get("response_format"), &out));
  RETURN_IF_ERROR(ReadLogprobs(root.Get("logprobs"), &out));
  return out;
}

absl::Status ReadPrompt(JsonValue content, v1::GenerateRequest* out) {
  ASSIGN_OR_RETURN(std::string text, ReadContent(content));
  if (text.empty()) return content.Error("must not be empty");
  out->set_text(std::move(text));
  return absl::OkStatus();
}

absl::StatusOr<JsonDocument> ParseObject(std::string_view body) {
  ASSIGN_OR_RETURN(JsonDocument document, JsonDocument::Parse(body));
  RETURN_IF_ERROR(document.root().ExpectObject());
  return document;
}

// The entries of a batch.
absl::Status CheckBatch(JsonValue batch) {
  RETURN_IF_ERROR(batch.ExpectArray());
  if (batch.size() > 0 && batch.size() <= kBatchMax) return absl::OkStatus();
  return batch.Error(absl::StrCat("expected 1 to ", kBatchMax, " entries"));
}

// What all entries of a batch have in common.
absl::StatusOr<v1::GenerateRequest> ReadBatchCommon(const Wire& wire, JsonValue root) {
  const JsonValue logprobs = root.Get("logprobs");
  if (!wire.whole_batch && !logprobs.missing()) {
    return logprobs.Error("the answers of a batch are messages, without a place for logprobs");
  }
  return ReadCommon(wire, root);
}

absl::Status ReadTruncation(JsonValue truncation, v1::EmbedRequest* out) {
  ASSIGN_OR_RETURN(const std::optional<std::string> name, truncation.OptionalString());
  if (!name || *name == "none") {
    out->set_truncate(v1::EmbedRequest::TRUNCATE_NONE);
  } else if (*name == "start") {
    out->set_truncate(v1::EmbedRequest::TRUNCATE_START);
  } else if (*name == "end") {
    out->set_truncate(v1::EmbedRequest::TRUNCATE_END);
  } else {
    return truncation.Error("expected none, start or end");
  }
  return absl::OkStatus();
}

// Models that tell queries from documents would need it; ours do not.
absl::Status CheckTaskType(JsonValue task) {
  ASSIGN_OR_RETURN(const std::optional<std::string> name, task.OptionalString());
  if (!name || *name == "query" || *name == "document") return absl::OkStatus();
  return task.Error("expected query or document");
}

}  // namespace

absl::StatusOr<InferenceRequest> DecodeChat(const Wire& wire, std::string_view body,
                                            std::string_view default_system_prompt) {
  ASSIGN_OR_RETURN(const JsonDocument document, ParseObject(body));
  const JsonValue root = document.root();
  InferenceRequest request;
  ASSIGN_OR_RETURN(request.generate, ReadCommon(wire, root));
  v1::ChatPrompt* chat = request.generate.mutable_chat();
  RETURN_IF_ERROR(ReadMessages(root.Get("messages"), default_system_prompt, chat));
  RETURN_IF_ERROR(ReadToolFields(root, chat));
  ASSIGN_OR_RETURN(const std::optional<bool> stream, root.Get("stream").OptionalBool());
  request.stream = stream.value_or(false);
  return request;
}

absl::StatusOr<InferenceRequest> DecodeCompletion(const Wire& wire, std::string_view body) {
  ASSIGN_OR_RETURN(const JsonDocument document, ParseObject(body));
  const JsonValue root = document.root();
  InferenceRequest request;
  ASSIGN_OR_RETURN(request.generate, ReadCommon(wire, root));
  RETURN_IF_ERROR(ReadPrompt(root.Get("content"), &request.generate));
  ASSIGN_OR_RETURN(const std::optional<bool> stream, root.Get("stream").OptionalBool());
  request.stream = stream.value_or(false);
  return request;
}

absl::StatusOr<std::vector<v1::GenerateRequest>> DecodeChatBatch(
    const Wire& wire, std::string_view body, std::string_view default_system_prompt) {
  ASSIGN_OR_RETURN(const JsonDocument document, ParseObject(body));
  const JsonValue root = document.root();
  ASSIGN_OR_RETURN(v1::GenerateRequest common, ReadBatchCommon(wire, root));
  RETURN_IF_ERROR(ReadToolFields(root, common.mutable_chat()));
  const JsonValue batch = root.Get("messages_batch");
  RETURN_IF_ERROR(CheckBatch(batch));
  std::vector<v1::GenerateRequest> requests(batch.size(), common);
  for (size_t i = 0; i < batch.size(); ++i) {
    RETURN_IF_ERROR(ReadMessages(batch.At(i), default_system_prompt, requests[i].mutable_chat()));
  }
  return requests;
}

absl::StatusOr<std::vector<v1::GenerateRequest>> DecodeCompletionBatch(const Wire& wire,
                                                                       std::string_view body) {
  ASSIGN_OR_RETURN(const JsonDocument document, ParseObject(body));
  const JsonValue root = document.root();
  ASSIGN_OR_RETURN(const v1::GenerateRequest common, ReadBatchCommon(wire, root));
  const JsonValue batch = root.Get("content_batch");
  RETURN_IF_ERROR(CheckBatch(batch));
  std::vector<v1::GenerateRequest> requests(batch.size(), common);
  for (size_t i = 0; i < batch.size(); ++i) RETURN_IF_ERROR(ReadPrompt(batch.At(i), &requests[i]));
  return requests;
}

absl::StatusOr<v1::EmbedRequest> DecodeEmbeddings(const Wire& wire, std::string_view body) {
  ASSIGN_OR_RETURN(const JsonDocument document, ParseObject(body));
  const JsonValue root = document.root();
  v1::EmbedRequest request;
  ASSIGN_OR_RETURN(*request.mutable_model(), ReadModel(wire, root));
  const JsonValue contents = root.Get("contents");
  RETURN_IF_ERROR(contents.ExpectArray());
  if (contents.size() == 0 || contents.size() > kEmbedInputsMax) {
    return contents.Error(absl::StrCat("expected 1 to ", kEmbedInputsMax, " entries"));
  }
  for (size_t i = 0; i < contents.size(); ++i) {
    ASSIGN_OR_RETURN(*request.add_inputs()->mutable_text(), ReadContent(contents.At(i)));
  }
  RETURN_IF_ERROR(ReadTruncation(root.Get("text_truncation"), &request));
  RETURN_IF_ERROR(CheckTaskType(root.Get("task_type")));
  ASSIGN_OR_RETURN(const std::optional<int64_t> dimensions,
                   root.Get("output_dimension").OptionalInt(1, kDimensionsMax));
  request.set_dimensions(static_cast<int32_t>(dimensions.value_or(0)));
  return request;
}

absl::StatusOr<RankingRequest> DecodeRanking(std::string_view body) {
  ASSIGN_OR_RETURN(const JsonDocument document, ParseObject(body));
  const JsonValue root = document.root();
  RankingRequest request;
  ASSIGN_OR_RETURN(*request.rerank.mutable_model(), root.Get("model").AsString());
  if (request.rerank.model().empty()) return root.Get("model").Error("must not be empty");
  ASSIGN_OR_RETURN(std::string query, ReadContent(root.Get("query")));
  if (query.empty()) return root.Get("query").Error("must not be empty");
  request.rerank.set_query(std::move(query));
  const JsonValue items = root.Get("items");
  RETURN_IF_ERROR(items.ExpectArray());
  if (items.size() == 0 || items.size() > kRankedMax) {
    return items.Error(absl::StrCat("expected 1 to ", kRankedMax, " entries"));
  }
  for (size_t i = 0; i < items.size(); ++i) {
    ASSIGN_OR_RETURN(std::string item, ReadContent(items.At(i)));
    request.rerank.add_documents(std::move(item));
  }
  ASSIGN_OR_RETURN(const std::optional<int64_t> results,
                   root.Get("max_num_results").OptionalInt(1, kInt32Max));
  request.results_max = results.value_or(0);
  return request;
}

}  // namespace conclave::gateway::llama_stack
