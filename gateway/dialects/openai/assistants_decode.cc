#include "gateway/dialects/openai/assistants_decode.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <span>

#include "google/protobuf/map.h"

namespace conclave::gateway::openai {
namespace {

using base::JsonValue;
using StringMap = google::protobuf::Map<std::string, std::string>;

constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();
constexpr size_t kToolOutputsMax = 128;
constexpr size_t kMessagesMax = 1000;

absl::Status ReadMetadata(JsonValue metadata, StringMap* out) {
  if (metadata.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(metadata.ExpectObject());
  absl::Status status;
  metadata.ForEachMember([&](std::string_view key, JsonValue value) {
    const absl::StatusOr<std::string> text = value.AsString();
    if (!text.ok()) {
      if (status.ok()) status = text.status();
    } else {
      (*out)[std::string(key)] = *text;
    }
  });
  return status;
}

// Hands a present string to a setter.
template <typename Set>
absl::Status ReadText(JsonValue value, Set set) {
  ASSIGN_OR_RETURN(std::optional<std::string> text, value.OptionalString());
  if (text) set(*std::move(text));
  return absl::OkStatus();
}
// Ranges are the store's; here a number must only be a number.
template <typename Set>
absl::Status ReadNumber(JsonValue value, Set set) {
  if (value.missing()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const double number, value.AsNumber());
  set(number);
  return absl::OkStatus();
}
template <typename Set>
absl::Status ReadCount(JsonValue value, Set set) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> number, value.OptionalInt(0, kInt32Max));
  if (number) set(static_cast<int32_t>(*number));
  return absl::OkStatus();
}
// JSON that passes through unread.
template <typename Set>
void ReadRaw(JsonValue value, Set set) {
  if (!value.missing()) set(value.ToJson());
}
template <typename Set>
absl::Status ReadRawObject(JsonValue value, Set set) {
  if (!value.missing()) RETURN_IF_ERROR(value.ExpectObject());
  ReadRaw(value, set);
  return absl::OkStatus();
}

absl::Status ReadFunction(JsonValue function, v1::FunctionTool* out) {
  RETURN_IF_ERROR(function.ExpectObject());
  ASSIGN_OR_RETURN(std::string name, function.Get("name").AsString());
  out->set_name(std::move(name));
  RETURN_IF_ERROR(ReadText(function.Get("description"),
                           [out](std::string text) { out->set_description(std::move(text)); }));
  ReadRaw(function.Get("parameters"),
          [out](std::string json) { out->set_parameters_json(std::move(json)); });
  ASSIGN_OR_RETURN(const std::optional<bool> strict, function.Get("strict").OptionalBool());
  if (strict) out->set_strict(*strict);
  return absl::OkStatus();
}

absl::Status ReadFileSearch(JsonValue search, v1::FileSearchTool* out) {
  if (search.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(search.ExpectObject());
  RETURN_IF_ERROR(ReadCount(search.Get("max_num_results"),
                            [out](int32_t count) { out->set_max_num_results(count); }));
  ReadRaw(search.Get("ranking_options"),
          [out](std::string json) { out->set_ranking_options_json(std::move(json)); });
  return absl::OkStatus();
}

absl::Status ReadTool(JsonValue tool, v1::AssistantTool* out) {
  RETURN_IF_ERROR(tool.ExpectObject());
  ASSIGN_OR_RETURN(const std::string type, tool.Get("type").AsString());
  if (type == "function") return ReadFunction(tool.Get("function"), out->mutable_function());
  if (type == "file_search") {
    return ReadFileSearch(tool.Get("file_search"), out->mutable_file_search());
  }
  if (type != "code_interpreter") {
    return tool.Get("type").Error("expected function, file_search or code_interpreter");
  }
  out->mutable_code_interpreter();
  return absl::OkStatus();
}

template <typename Owner>
absl::Status ReadTools(JsonValue tools, Owner* owner) {
  if (tools.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(tools.ExpectArray());
  for (size_t i = 0; i < tools.size(); ++i) {
    RETURN_IF_ERROR(ReadTool(tools.At(i), owner->add_tools()));
  }
  return absl::OkStatus();
}

absl::Status ReadAssistant(JsonValue root, v1::Assistant* out) {
  const auto text = [&](std::string_view name, auto set) { return ReadText(root.Get(name), set); };
  RETURN_IF_ERROR(text("name", [out](std::string s) { out->set_name(std::move(s)); }));
  RETURN_IF_ERROR(
      text("description", [out](std::string s) { out->set_description(std::move(s)); }));
  RETURN_IF_ERROR(text("model", [out](std::string s) { out->set_model(std::move(s)); }));
  RETURN_IF_ERROR(
      text("instructions", [out](std::string s) { out->set_instructions(std::move(s)); }));
  RETURN_IF_ERROR(
      text("reasoning_effort", [out](std::string s) { out->set_reasoning_effort(std::move(s)); }));
  RETURN_IF_ERROR(ReadTools(root.Get("tools"), out));
  RETURN_IF_ERROR(ReadRawObject(root.Get("tool_resources"), [out](std::string json) {
    out->set_tool_resources_json(std::move(json));
  }));
  RETURN_IF_ERROR(ReadMetadata(root.Get("metadata"), out->mutable_metadata()));
  RETURN_IF_ERROR(
      ReadNumber(root.Get("temperature"), [out](double v) { out->set_temperature(v); }));
  RETURN_IF_ERROR(ReadNumber(root.Get("top_p"), [out](double v) { out->set_top_p(v); }));
  ReadRaw(root.Get("response_format"),
          [out](std::string json) { out->set_response_format_json(std::move(json)); });
  return absl::OkStatus();
}

// Names of the given fields, in the order of `known`.
template <typename MaskOwner>
void ReadMask(JsonValue root, std::span<const std::string_view> known, MaskOwner* owner) {
  for (const std::string_view name : known) {
    if (root.Get(name).present()) owner->add_update_mask(std::string(name));
  }
}

absl::Status ReadContentPart(JsonValue part, v1::Message* out) {
  RETURN_IF_ERROR(part.ExpectObject());
  ASSIGN_OR_RETURN(const std::string type, part.Get("type").AsString());
  if (type != "text") {
    return part.Get("type").Error("\"" + type + "\" parts are not supported by this server");
  }
  ASSIGN_OR_RETURN(std::string text, part.Get("text").AsString());
  out->add_content()->mutable_text()->set_value(std::move(text));
  return absl::OkStatus();
}

absl::Status ReadMessage(JsonValue root, v1::Message* out) {
  RETURN_IF_ERROR(root.ExpectObject());
  ASSIGN_OR_RETURN(const std::string role, root.Get("role").AsString());
  if (role != "user" && role != "assistant") {
    return root.Get("role").Error("expected user or assistant");
  }
  out->set_role(role == "user" ? v1::Message::ROLE_USER : v1::Message::ROLE_ASSISTANT);
  const JsonValue content = root.Get("content");
  if (content.is_string()) {
    ASSIGN_OR_RETURN(std::string text, content.AsString());
    out->add_content()->mutable_text()->set_value(std::move(text));
  } else if (content.is_array()) {
    for (size_t i = 0; i < content.size(); ++i) {
      RETURN_IF_ERROR(ReadContentPart(content.At(i), out));
    }
  } else {
    return content.Error(content.present() ? "expected string or array" : "required");
  }
  const JsonValue attachments = root.Get("attachments");
  if (!attachments.missing()) RETURN_IF_ERROR(attachments.ExpectArray());
  ReadRaw(attachments, [out](std::string json) { out->set_attachments_json(std::move(json)); });
  return ReadMetadata(root.Get("metadata"), out->mutable_metadata());
}

template <typename Add>
absl::Status ReadMessages(JsonValue messages, Add add) {
  if (messages.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(messages.ExpectArray());
  if (messages.size() > kMessagesMax) return messages.Error("too many messages");
  for (size_t i = 0; i < messages.size(); ++i) RETURN_IF_ERROR(ReadMessage(messages.At(i), add()));
  return absl::OkStatus();
}

absl::Status RefuseUnknown(JsonValue root, std::span<const std::string_view> known,
                           std::span<const std::string_view> more) {
  absl::Status status;
  const auto has = [](std::span<const std::string_view> names, std::string_view key) {
    return std::find(names.begin(), names.end(), key) != names.end();
  };
  root.ForEachMember([&](std::string_view key, JsonValue value) {
    if (status.ok() && !has(known, key) && !has(more, key)) {
      status = value.Error("unknown parameter");
    }
  });
  return status;
}

absl::Status ReadTruncation(JsonValue strategy, v1::TruncationStrategy* out) {
  RETURN_IF_ERROR(strategy.ExpectObject());
  ASSIGN_OR_RETURN(std::string type, strategy.Get("type").AsString());
  out->set_type(std::move(type));
  return ReadCount(strategy.Get("last_messages"),
                   [out](int32_t count) { out->set_last_messages(count); });
}

absl::Status ReadRunLimits(JsonValue root, v1::CreateRunRequest* out) {
  RETURN_IF_ERROR(
      ReadNumber(root.Get("temperature"), [out](double v) { out->set_temperature(v); }));
  RETURN_IF_ERROR(ReadNumber(root.Get("top_p"), [out](double v) { out->set_top_p(v); }));
  RETURN_IF_ERROR(ReadCount(root.Get("max_prompt_tokens"),
                            [out](int32_t count) { out->set_max_prompt_tokens(count); }));
  RETURN_IF_ERROR(ReadCount(root.Get("max_completion_tokens"),
                            [out](int32_t count) { out->set_max_completion_tokens(count); }));
  const JsonValue truncation = root.Get("truncation_strategy");
  if (truncation.missing()) return absl::OkStatus();
  return ReadTruncation(truncation, out->mutable_truncation_strategy());
}

// What create run and create thread-and-run have in common.
absl::Status ReadRun(JsonValue root, v1::CreateRunRequest* out) {
  ASSIGN_OR_RETURN(std::string assistant, root.Get("assistant_id").AsString());
  out->set_assistant_id(std::move(assistant));
  const auto text = [&](std::string_view name, auto set) { return ReadText(root.Get(name), set); };
  RETURN_IF_ERROR(text("model", [out](std::string s) { out->set_model(std::move(s)); }));
  RETURN_IF_ERROR(
      text("instructions", [out](std::string s) { out->set_instructions(std::move(s)); }));
  RETURN_IF_ERROR(
      text("reasoning_effort", [out](std::string s) { out->set_reasoning_effort(std::move(s)); }));
  RETURN_IF_ERROR(ReadTools(root.Get("tools"), out));
  out->set_tools_given(!root.Get("tools").missing());
  RETURN_IF_ERROR(ReadMetadata(root.Get("metadata"), out->mutable_metadata()));
  RETURN_IF_ERROR(ReadRunLimits(root, out));
  ReadRaw(root.Get("tool_choice"),
          [out](std::string json) { out->set_tool_choice_json(std::move(json)); });
  ReadRaw(root.Get("response_format"),
          [out](std::string json) { out->set_response_format_json(std::move(json)); });
  ASSIGN_OR_RETURN(const std::optional<bool> parallel,
                   root.Get("parallel_tool_calls").OptionalBool());
  if (parallel) out->set_parallel_tool_calls(*parallel);
  return absl::OkStatus();
}

constexpr std::string_view kAssistantFields[] = {
    "model",           "name",     "description", "instructions", "tools",
    "tool_resources",  "metadata", "temperature", "top_p",        "response_format",
    "reasoning_effort"};
constexpr std::string_view kThreadFields[] = {"metadata", "tool_resources"};
constexpr std::string_view kRunFields[] = {"assistant_id",
                                           "model",
                                           "reasoning_effort",
                                           "instructions",
                                           "tools",
                                           "metadata",
                                           "temperature",
                                           "top_p",
                                           "stream",
                                           "max_prompt_tokens",
                                           "max_completion_tokens",
                                           "truncation_strategy",
                                           "tool_choice",
                                           "parallel_tool_calls",
                                           "response_format"};
// What only one of the two ways to create a run takes.
constexpr std::string_view kRunOnly[] = {"additional_instructions", "additional_messages"};
constexpr std::string_view kThreadAndRunOnly[] = {"thread", "tool_resources"};

}  // namespace

absl::StatusOr<base::JsonDocument> ParseStoredBody(std::string_view body) {
  base::JsonLimits limits;
  limits.allow_nul_in_strings = false;
  ASSIGN_OR_RETURN(base::JsonDocument document,
                   base::JsonDocument::Parse(body.empty() ? "{}" : body, limits));
  RETURN_IF_ERROR(document.root().ExpectObject());
  return document;
}

absl::StatusOr<v1::CreateAssistantRequest> DecodeCreateAssistant(JsonValue root) {
  v1::CreateAssistantRequest request;
  RETURN_IF_ERROR(root.Get("model").AsString().status());
  RETURN_IF_ERROR(ReadAssistant(root, request.mutable_assistant()));
  return request;
}

absl::StatusOr<v1::ModifyAssistantRequest> DecodeModifyAssistant(JsonValue root) {
  v1::ModifyAssistantRequest request;
  RETURN_IF_ERROR(ReadAssistant(root, request.mutable_assistant()));
  ReadMask(root, kAssistantFields, &request);
  return request;
}

absl::StatusOr<v1::CreateThreadRequest> DecodeCreateThread(JsonValue root) {
  v1::CreateThreadRequest request;
  v1::Thread* thread = request.mutable_thread();
  RETURN_IF_ERROR(
      ReadMessages(root.Get("messages"), [&request] { return request.add_messages(); }));
  RETURN_IF_ERROR(ReadRawObject(root.Get("tool_resources"), [thread](std::string json) {
    thread->set_tool_resources_json(std::move(json));
  }));
  RETURN_IF_ERROR(ReadMetadata(root.Get("metadata"), thread->mutable_metadata()));
  return request;
}

absl::StatusOr<v1::ModifyThreadRequest> DecodeModifyThread(JsonValue root) {
  v1::ModifyThreadRequest request;
  v1::Thread* thread = request.mutable_thread();
  RETURN_IF_ERROR(ReadRawObject(root.Get("tool_resources"), [thread](std::string json) {
    thread->set_tool_resources_json(std::move(json));
  }));
  RETURN_IF_ERROR(ReadMetadata(root.Get("metadata"), thread->mutable_metadata()));
  ReadMask(root, kThreadFields, &request);
  return request;
}

absl::StatusOr<v1::CreateMessageRequest> DecodeCreateMessage(JsonValue root) {
  v1::CreateMessageRequest request;
  RETURN_IF_ERROR(ReadMessage(root, request.mutable_message()));
  return request;
}

absl::StatusOr<v1::ModifyMessageRequest> DecodeModifyMessage(JsonValue root) {
  v1::ModifyMessageRequest request;
  RETURN_IF_ERROR(ReadMetadata(root.Get("metadata"), request.mutable_metadata()));
  return request;
}

absl::StatusOr<v1::CreateRunRequest> DecodeCreateRun(JsonValue root) {
  v1::CreateRunRequest request;
  RETURN_IF_ERROR(RefuseUnknown(root, kRunFields, kRunOnly));
  RETURN_IF_ERROR(ReadRun(root, &request));
  RETURN_IF_ERROR(ReadText(root.Get("additional_instructions"), [&request](std::string text) {
    request.set_additional_instructions(std::move(text));
  }));
  RETURN_IF_ERROR(ReadMessages(root.Get("additional_messages"),
                               [&request] { return request.add_additional_messages(); }));
  return request;
}

absl::StatusOr<v1::CreateThreadAndRunRequest> DecodeCreateThreadAndRun(JsonValue root) {
  v1::CreateThreadAndRunRequest request;
  RETURN_IF_ERROR(RefuseUnknown(root, kRunFields, kThreadAndRunOnly));
  RETURN_IF_ERROR(ReadRun(root, request.mutable_run()));
  request.mutable_thread();
  const JsonValue thread = root.Get("thread");
  if (!thread.missing()) {
    RETURN_IF_ERROR(thread.ExpectObject());
    ASSIGN_OR_RETURN(*request.mutable_thread(), DecodeCreateThread(thread));
  }
  // The run's own tool_resources take the place of the assistant's: kept with the new thread, which
  // is where a run looks for them.
  RETURN_IF_ERROR(ReadRawObject(root.Get("tool_resources"), [&request](std::string json) {
    request.mutable_thread()->mutable_thread()->set_tool_resources_json(std::move(json));
  }));
  return request;
}

absl::StatusOr<v1::ModifyRunRequest> DecodeModifyRun(JsonValue root) {
  v1::ModifyRunRequest request;
  RETURN_IF_ERROR(ReadMetadata(root.Get("metadata"), request.mutable_metadata()));
  return request;
}

absl::StatusOr<v1::SubmitToolOutputsRequest> DecodeSubmitToolOutputs(JsonValue root) {
  v1::SubmitToolOutputsRequest request;
  const JsonValue outputs = root.Get("tool_outputs");
  RETURN_IF_ERROR(outputs.ExpectArray());
  if (outputs.size() > kToolOutputsMax) return outputs.Error("too many outputs");
  for (size_t i = 0; i < outputs.size(); ++i) {
    ASSIGN_OR_RETURN(std::string id, outputs.At(i).Get("tool_call_id").AsString());
    ASSIGN_OR_RETURN(std::optional<std::string> text, outputs.At(i).Get("output").OptionalString());
    v1::ToolOutput* out = request.add_tool_outputs();
    out->set_tool_call_id(std::move(id));
    out->set_output(text.value_or(std::string()));
  }
  return request;
}

absl::StatusOr<v1::PageRequest> DecodePage(const Request& request) {
  v1::PageRequest page;
  if (const auto limit = request.Query("limit")) {
    int32_t count = 0;
    const char* end = limit->data() + limit->size();
    const auto parsed = std::from_chars(limit->data(), end, count);
    if (parsed.ec != std::errc() || parsed.ptr != end || count < 1 || count > 100) {
      return base::WithParam(base::InvalidArgument("limit: must be between 1 and 100"), "limit");
    }
    page.set_limit(count);
  }
  const std::string order = request.Query("order").value_or(std::string());
  if (order == "asc") page.set_order(v1::PageRequest::ORDER_ASC);
  if (order == "desc") page.set_order(v1::PageRequest::ORDER_DESC);
  if (!order.empty() && page.order() == v1::PageRequest::ORDER_UNSPECIFIED) {
    return base::WithParam(base::InvalidArgument("order: expected asc or desc"), "order");
  }
  page.set_after(request.Query("after").value_or(std::string()));
  page.set_before(request.Query("before").value_or(std::string()));
  return page;
}

}  // namespace conclave::gateway::openai
