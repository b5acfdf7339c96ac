#include "gateway/dialects/openai/assistants_encode.h"

#include "google/protobuf/map.h"

namespace conclave::gateway::openai {
namespace {

using base::JsonWriter;
using StringMap = google::protobuf::Map<std::string, std::string>;

void TimeOrNull(JsonWriter& json, std::string_view key, bool has, int64_t seconds) {
  if (has) {
    json.Field(key, seconds);
  } else {
    json.NullField(key);
  }
}
void NumberOrNull(JsonWriter& json, std::string_view key, bool has, double value) {
  if (has) {
    json.Field(key, value);
  } else {
    json.NullField(key);
  }
}
// JSON that passed through the store unread.
void RawOr(JsonWriter& json, std::string_view key, const std::string& raw,
           std::string_view fallback) {
  json.RawField(key, raw.empty() ? fallback : std::string_view(raw));
}

// Sorted, so that equal objects are equal bytes.
void WriteMetadata(JsonWriter& json, const StringMap& metadata) {
  const std::map<std::string, std::string> sorted(metadata.begin(), metadata.end());
  json.Key("metadata");
  json.BeginObject();
  for (const auto& [key, value] : sorted) json.Field(key, value);
  json.EndObject();
}

void WriteFunction(JsonWriter& json, const v1::FunctionTool& function) {
  json.Field("type", "function");
  json.Key("function");
  json.BeginObject();
  json.Field("name", function.name());
  if (!function.description().empty()) json.Field("description", function.description());
  RawOr(json, "parameters", function.parameters_json(), "{}");
  if (function.has_strict()) json.Field("strict", function.strict());
  json.EndObject();
}

void WriteTool(JsonWriter& json, const v1::AssistantTool& tool) {
  json.BeginObject();
  if (tool.has_function()) WriteFunction(json, tool.function());
  if (tool.has_code_interpreter()) json.Field("type", "code_interpreter");
  if (tool.has_file_search()) {
    const v1::FileSearchTool& search = tool.file_search();
    json.Field("type", "file_search");
    json.Key("file_search");
    json.BeginObject();
    if (search.has_max_num_results()) json.Field("max_num_results", search.max_num_results());
    if (!search.ranking_options_json().empty()) {
      json.RawField("ranking_options", search.ranking_options_json());
    }
    json.EndObject();
  }
  json.EndObject();
}

template <typename Tools>
void WriteTools(JsonWriter& json, const Tools& tools) {
  json.Key("tools");
  json.BeginArray();
  for (const v1::AssistantTool& tool : tools) WriteTool(json, tool);
  json.EndArray();
}

void WriteRunUsage(JsonWriter& json, bool has, const v1::Usage& usage) {
  json.Key("usage");
  if (!has) return json.Null();
  json.BeginObject();
  json.Field("prompt_tokens", usage.prompt_tokens());
  json.Field("completion_tokens", usage.completion_tokens());
  json.Field("total_tokens", usage.prompt_tokens() + usage.completion_tokens());
  json.Key("prompt_token_details");
  json.BeginObject();
  json.Field("cached_tokens", usage.cached_tokens());
  json.EndObject();
  json.EndObject();
}

void WriteLastError(JsonWriter& json, bool has, const v1::RunError& error) {
  json.Key("last_error");
  if (!has) return json.Null();
  json.BeginObject();
  json.Field("code", error.code());
  json.Field("message", error.message());
  json.EndObject();
}

std::string_view RunStatusName(v1::RunStatus status) {
  switch (status) {
    case v1::RUN_STATUS_IN_PROGRESS:
      return "in_progress";
    case v1::RUN_STATUS_REQUIRES_ACTION:
      return "requires_action";
    case v1::RUN_STATUS_CANCELLING:
      return "cancelling";
    case v1::RUN_STATUS_CANCELLED:
      return "cancelled";
    case v1::RUN_STATUS_FAILED:
      return "failed";
    case v1::RUN_STATUS_COMPLETED:
      return "completed";
    case v1::RUN_STATUS_INCOMPLETE:
      return "incomplete";
    case v1::RUN_STATUS_EXPIRED:
      return "expired";
    default:
      return "queued";
  }
}

std::string_view StepStatusName(v1::RunStep::Status status) {
  switch (status) {
    case v1::RunStep::STATUS_CANCELLED:
      return "cancelled";
    case v1::RunStep::STATUS_FAILED:
      return "failed";
    case v1::RunStep::STATUS_COMPLETED:
      return "completed";
    case v1::RunStep::STATUS_EXPIRED:
      return "expired";
    default:
      return "in_progress";
  }
}

std::string_view MessageStatusName(v1::Message::Status status) {
  switch (status) {
    case v1::Message::STATUS_IN_PROGRESS:
      return "in_progress";
    case v1::Message::STATUS_INCOMPLETE:
      return "incomplete";
    default:
      return "completed";
  }
}

void WriteRequiredAction(JsonWriter& json, const v1::Run& run) {
  json.Key("required_action");
  if (run.status() != v1::RUN_STATUS_REQUIRES_ACTION) return json.Null();
  json.BeginObject();
  json.Field("type", "submit_tool_outputs");
  json.Key("submit_tool_outputs");
  json.BeginObject();
  json.Key("tool_calls");
  json.BeginArray();
  for (const v1::ToolCall& call : run.required_tool_calls()) WriteToolCall(json, call);
  json.EndArray();
  json.EndObject();
  json.EndObject();
}

void WriteReasonObject(JsonWriter& json, bool has, const std::string& reason) {
  json.Key("incomplete_details");
  if (!has) return json.Null();
  json.BeginObject();
  json.Field("reason", reason);
  json.EndObject();
}

void WriteTruncation(JsonWriter& json, const v1::TruncationStrategy& strategy) {
  json.Key("truncation_strategy");
  json.BeginObject();
  json.Field("type", strategy.type().empty() ? std::string("auto") : strategy.type());
  TimeOrNull(json, "last_messages", strategy.has_last_messages(), strategy.last_messages());
  json.EndObject();
}

void WriteRunTimes(JsonWriter& json, const v1::Run& run) {
  TimeOrNull(json, "expires_at", run.has_expires_at(), run.expires_at());
  TimeOrNull(json, "started_at", run.has_started_at(), run.started_at());
  TimeOrNull(json, "cancelled_at", run.has_cancelled_at(), run.cancelled_at());
  TimeOrNull(json, "failed_at", run.has_failed_at(), run.failed_at());
  TimeOrNull(json, "completed_at", run.has_completed_at(), run.completed_at());
}

void WriteContent(JsonWriter& json, const v1::MessageContent& content) {
  json.BeginObject();
  if (content.has_text()) {
    json.Field("type", "text");
    json.Key("text");
    json.BeginObject();
    json.Field("value", content.text().value());
    RawOr(json, "annotations", content.text().annotations_json(), "[]");
    json.EndObject();
  } else {
    json.Field("type", "refusal");
    json.Field("refusal", content.refusal());
  }
  json.EndObject();
}

void WriteStepCall(JsonWriter& json, const v1::StepToolCall& step_call) {
  json.BeginObject();
  json.Field("id", step_call.call().id());
  json.Field("type", "function");
  json.Key("function");
  json.BeginObject();
  json.Field("name", step_call.call().name());
  json.Field("arguments", step_call.call().arguments());
  TextOrNull(json, "output", step_call.has_output(), step_call.output());
  json.EndObject();
  json.EndObject();
}

void WriteStepDetails(JsonWriter& json, const v1::RunStep& step) {
  json.Key("step_details");
  json.BeginObject();
  if (step.type() == v1::RunStep::TYPE_TOOL_CALLS) {
    json.Field("type", "tool_calls");
    json.Key("tool_calls");
    json.BeginArray();
    for (const v1::StepToolCall& call : step.tool_calls()) WriteStepCall(json, call);
    json.EndArray();
  } else {
    json.Field("type", "message_creation");
    json.Key("message_creation");
    json.BeginObject();
    json.Field("message_id", step.message_id());
    json.EndObject();
  }
  json.EndObject();
}

void WriteMessageDelta(JsonWriter& json, const v1::MessageDelta& delta) {
  json.BeginObject();
  json.Field("id", delta.id());
  json.Field("object", "thread.message.delta");
  json.Key("delta");
  json.BeginObject();
  json.Key("content");
  json.BeginArray();
  json.BeginObject();
  json.Field("index", 0);
  json.Field("type", "text");
  json.Key("text");
  json.BeginObject();
  json.Field("value", delta.text());
  json.EndObject();
  json.EndObject();
  json.EndArray();
  json.EndObject();
  json.EndObject();
}

// The first fragment of a call has its id, name and output; the later ones only add to the
// arguments.
void WriteFragment(JsonWriter& json, const v1::ToolCallFragment& fragment) {
  json.BeginObject();
  json.Field("index", fragment.index());
  if (!fragment.id().empty()) json.Field("id", fragment.id());
  json.Field("type", "function");
  json.Key("function");
  json.BeginObject();
  if (!fragment.id().empty()) json.Field("name", fragment.name());
  json.Field("arguments", fragment.arguments());
  if (!fragment.id().empty()) json.NullField("output");
  json.EndObject();
  json.EndObject();
}

void WriteStepDelta(JsonWriter& json, const v1::RunStepDelta& delta) {
  json.BeginObject();
  json.Field("id", delta.id());
  json.Field("object", "thread.run.step.delta");
  json.Key("delta");
  json.BeginObject();
  json.Key("step_details");
  json.BeginObject();
  json.Field("type", "tool_calls");
  json.Key("tool_calls");
  json.BeginArray();
  for (const v1::ToolCallFragment& fragment : delta.tool_calls()) WriteFragment(json, fragment);
  json.EndArray();
  json.EndObject();
  json.EndObject();
  json.EndObject();
}

// In the envelope, so that both SDKs raise it.
void WriteRunError(JsonWriter& json, const v1::RunError& error) {
  json.BeginObject();
  json.Key("error");
  json.BeginObject();
  json.Field("message", error.message());
  json.Field("type", "server_error");
  json.NullField("param");
  json.Field("code", error.code());
  json.EndObject();
  json.EndObject();
}

}  // namespace

bool IsTerminal(v1::RunStatus status) {
  switch (status) {
    case v1::RUN_STATUS_CANCELLED:
    case v1::RUN_STATUS_FAILED:
    case v1::RUN_STATUS_COMPLETED:
    case v1::RUN_STATUS_INCOMPLETE:
    case v1::RUN_STATUS_EXPIRED:
      return true;
    default:
      return false;
  }
}

void Write(JsonWriter& json, const v1::Assistant& assistant) {
  json.BeginObject();
  json.Field("id", assistant.id());
  json.Field("object", "assistant");
  json.Field("created_at", assistant.created_at());
  TextOrNull(json, "name", assistant.has_name(), assistant.name());
  TextOrNull(json, "description", assistant.has_description(), assistant.description());
  json.Field("model", assistant.model());
  TextOrNull(json, "instructions", assistant.has_instructions(), assistant.instructions());
  WriteTools(json, assistant.tools());
  RawOr(json, "tool_resources", assistant.tool_resources_json(), "null");
  WriteMetadata(json, assistant.metadata());
  json.Field("temperature", assistant.has_temperature() ? assistant.temperature() : 1.0);
  json.Field("top_p", assistant.has_top_p() ? assistant.top_p() : 1.0);
  RawOr(json, "response_format", assistant.response_format_json(), R"("auto")");
  TextOrNull(json, "reasoning_effort", assistant.has_reasoning_effort(),
             assistant.reasoning_effort());
  json.EndObject();
}

void Write(JsonWriter& json, const v1::Thread& thread) {
  json.BeginObject();
  json.Field("id", thread.id());
  json.Field("object", "thread");
  json.Field("created_at", thread.created_at());
  RawOr(json, "tool_resources", thread.tool_resources_json(), "null");
  WriteMetadata(json, thread.metadata());
  json.EndObject();
}

void Write(JsonWriter& json, const v1::Message& message) {
  json.BeginObject();
  json.Field("id", message.id());
  json.Field("object", "thread.message");
  json.Field("created_at", message.created_at());
  json.Field("thread_id", message.thread_id());
  json.Field("status", MessageStatusName(message.status()));
  WriteReasonObject(json, message.has_incomplete_reason(), message.incomplete_reason());
  TimeOrNull(json, "completed_at", message.has_completed_at(), message.completed_at());
  TimeOrNull(json, "incomplete_at", message.has_incomplete_at(), message.incomplete_at());
  json.Field("role", message.role() == v1::Message::ROLE_ASSISTANT ? "assistant" : "user");
  json.Key("content");
  json.BeginArray();
  for (const v1::MessageContent& content : message.content()) WriteContent(json, content);
  json.EndArray();
  TextOrNull(json, "assistant_id", message.has_assistant_id(), message.assistant_id());
  TextOrNull(json, "run_id", message.has_run_id(), message.run_id());
  RawOr(json, "attachments", message.attachments_json(), "[]");
  WriteMetadata(json, message.metadata());
  json.EndObject();
}

void Write(JsonWriter& json, const v1::Run& run) {
  json.BeginObject();
  json.Field("id", run.id());
  json.Field("object", "thread.run");
  json.Field("created_at", run.created_at());
  json.Field("thread_id", run.thread_id());
  json.Field("assistant_id", run.assistant_id());
  json.Field("status", RunStatusName(run.status()));
  WriteRequiredAction(json, run);
  WriteLastError(json, run.has_last_error(), run.last_error());
  WriteRunTimes(json, run);
  WriteReasonObject(json, run.has_incomplete_reason(), run.incomplete_reason());
  json.Field("model", run.model());
  json.Field("instructions", run.instructions());
  WriteTools(json, run.tools());
  WriteMetadata(json, run.metadata());
  WriteRunUsage(json, run.has_usage(), run.usage());
  NumberOrNull(json, "temperature", run.has_temperature(), run.temperature());
  NumberOrNull(json, "top_p", run.has_top_p(), run.top_p());
  TimeOrNull(json, "max_prompt_tokens", run.has_max_prompt_tokens(), run.max_prompt_tokens());
  TimeOrNull(json, "max_completion_tokens", run.has_max_completion_tokens(),
             run.max_completion_tokens());
  WriteTruncation(json, run.truncation_strategy());
  RawOr(json, "tool_choice", run.tool_choice_json(), R"("auto")");
  json.Field("parallel_tool_calls", run.parallel_tool_calls());
  RawOr(json, "response_format", run.response_format_json(), R"("auto")");
  TextOrNull(json, "reasoning_effort", run.has_reasoning_effort(), run.reasoning_effort());
  json.EndObject();
}

void Write(JsonWriter& json, const v1::RunStep& step) {
  json.BeginObject();
  json.Field("id", step.id());
  json.Field("object", "thread.run.step");
  json.Field("created_at", step.created_at());
  json.Field("run_id", step.run_id());
  json.Field("assistant_id", step.assistant_id());
  json.Field("thread_id", step.thread_id());
  json.Field("type",
             step.type() == v1::RunStep::TYPE_TOOL_CALLS ? "tool_calls" : "message_creation");
  json.Field("status", StepStatusName(step.status()));
  WriteStepDetails(json, step);
  WriteLastError(json, step.has_last_error(), step.last_error());
  TimeOrNull(json, "expired_at", step.has_expired_at(), step.expired_at());
  TimeOrNull(json, "cancelled_at", step.has_cancelled_at(), step.cancelled_at());
  TimeOrNull(json, "failed_at", step.has_failed_at(), step.failed_at());
  TimeOrNull(json, "completed_at", step.has_completed_at(), step.completed_at());
  WriteRunUsage(json, step.has_usage(), step.usage());
  WriteMetadata(json, step.metadata());
  json.EndObject();
}

std::string EncodeDeleted(const std::string& id, std::string_view object) {
  JsonWriter json;
  json.BeginObject();
  json.Field("id", id);
  json.Field("object", object);
  json.Field("deleted", true);
  json.EndObject();
  return json.Take();
}

std::string EncodeRunEventData(const v1::RunEvent& event) {
  JsonWriter json;
  switch (event.data_case()) {
    case v1::RunEvent::kRun:
      Write(json, event.run());
      break;
    case v1::RunEvent::kStep:
      Write(json, event.step());
      break;
    case v1::RunEvent::kMessage:
      Write(json, event.message());
      break;
    case v1::RunEvent::kThread:
      Write(json, event.thread());
      break;
    case v1::RunEvent::kMessageDelta:
      WriteMessageDelta(json, event.message_delta());
      break;
    case v1::RunEvent::kStepDelta:
      WriteStepDelta(json, event.step_delta());
      break;
    case v1::RunEvent::kError:
      WriteRunError(json, event.error());
      break;
    case v1::RunEvent::DATA_NOT_SET:
      json.Null();
      break;
  }
  return json.Take();
}

}  // namespace conclave::gateway::openai
