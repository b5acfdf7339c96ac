#include "store/jobs/conversation.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "store/validate.h"

namespace conclave::store {
namespace {

namespace pb = conclave::v1;

// Bytes that a chat template may add to a message and to the whole prompt, generously.
constexpr int kTemplateBytesPerMessage = 32;
constexpr int kTemplateBytes = 256;
// What auto truncation keeps free for the answer when the run has no limit of its own.
constexpr int kAnswerTokens = 512;

// FNV-1a of "run:leg", spread.
uint64_t SeedOf(const std::string& run_id, int leg) {
  uint64_t hash = 14695981039346656037ull;
  for (const char c : absl::StrCat(run_id, ":", leg)) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  }
  hash ^= hash >> 31;
  return hash * 0x9E3779B97F4A7C15ull;
}

std::string TextOf(const pb::Message& message) {
  std::string text;
  for (const pb::MessageContent& part : message.content()) {
    if (!text.empty()) text += "\n";
    text += part.has_text() ? part.text().value() : part.refusal();
  }
  return text;
}

void AddText(pb::ChatPrompt* chat, pb::Role role, const std::string& text) {
  pb::ChatMessage* message = chat->add_messages();
  message->set_role(role);
  message->add_content()->set_text(text);
}

const pb::Message* FindMessage(const RunHistory& history, const std::string& id) {
  for (const pb::Message& message : history.run_messages) {
    if (message.id() == id) return &message;
  }
  return nullptr;
}

// A step of tool calls: one turn of the assistant and one message per output. Text that the same
// leg wrote before the calls belongs to the same turn.
void AddToolStep(const pb::RunStep& step, bool after_message, pb::ChatPrompt* chat) {
  pb::ChatMessage* turn =
      after_message ? chat->mutable_messages(chat->messages_size() - 1) : chat->add_messages();
  turn->set_role(pb::ROLE_ASSISTANT);
  if (!after_message) turn->set_content_is_null(true);
  for (const pb::StepToolCall& call : step.tool_calls()) *turn->add_tool_calls() = call.call();
  for (const pb::StepToolCall& call : step.tool_calls()) {
    pb::ChatMessage* output = chat->add_messages();
    output->set_role(pb::ROLE_TOOL);
    output->set_tool_call_id(call.call().id());
    output->set_name(call.call().name());
    output->add_content()->set_text(call.output());
  }
}

void AddSteps(const RunHistory& history, pb::ChatPrompt* chat) {
  bool after_message = false;
  for (const pb::RunStep& step : history.steps) {
    if (step.type() == pb::RunStep::TYPE_TOOL_CALLS) {
      AddToolStep(step, after_message, chat);
      after_message = false;
    } else if (const pb::Message* message = FindMessage(history, step.message_id())) {
      AddText(chat, pb::ROLE_ASSISTANT, TextOf(*message));
      after_message = true;
    }
  }
}

void AddTools(const pb::Run& run, pb::ChatPrompt* chat) {
  for (const pb::AssistantTool& tool : run.tools()) {
    if (!tool.has_function()) continue;
    pb::Tool* function = chat->add_tools();
    function->set_name(tool.function().name());
    function->set_description(tool.function().description());
    function->set_parameters_json(tool.function().parameters_json());
    function->set_strict(tool.function().strict());
  }
}

absl::Status SetToolChoice(const pb::Run& run, int leg, pb::ChatPrompt* chat) {
  if (chat->tools().empty()) return absl::OkStatus();
  chat->mutable_tool_choice()->set_mode(pb::ToolChoice::MODE_AUTO);
  if (run.tool_choice_json().empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const base::JsonDocument document,
                   base::JsonDocument::Parse(run.tool_choice_json()));
  const base::JsonValue root = document.root();
  // A call that is demanded is demanded once: with its output in hand the model may answer.
  const bool demanded = leg == 1;
  if (root.is_string()) {
    ASSIGN_OR_RETURN(const std::string mode, root.AsString());
    if (mode == "none") chat->mutable_tool_choice()->set_mode(pb::ToolChoice::MODE_NONE);
    if (mode == "required" && demanded) {
      chat->mutable_tool_choice()->set_mode(pb::ToolChoice::MODE_REQUIRED);
    }
  } else if (root.Get("function").Get("name").is_string() && demanded) {
    ASSIGN_OR_RETURN(const std::string name, root.Get("function").Get("name").AsString());
    chat->mutable_tool_choice()->set_mode(pb::ToolChoice::MODE_NAMED);
    chat->mutable_tool_choice()->set_name(name);
  }
  return absl::OkStatus();
}

absl::Status SetResponseFormat(const pb::Run& run, pb::GenerateRequest* request) {
  if (run.response_format_json().empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const base::JsonDocument document,
                   base::JsonDocument::Parse(run.response_format_json()));
  const base::JsonValue root = document.root();
  if (!root.is_object()) return absl::OkStatus();  // "auto"
  ASSIGN_OR_RETURN(const std::string type, root.Get("type").AsString());
  if (type == "json_object") request->mutable_response_format()->set_json_object(true);
  if (type == "json_schema") {
    const base::JsonValue schema = root.Get("json_schema");
    pb::JsonSchema* to = request->mutable_response_format()->mutable_json_schema();
    if (schema.Get("name").is_string()) {
      ASSIGN_OR_RETURN(*to->mutable_name(), schema.Get("name").AsString());
    }
    if (schema.Get("schema").present()) to->set_schema_json(schema.Get("schema").ToJson());
    ASSIGN_OR_RETURN(const std::optional<bool> strict, schema.Get("strict").OptionalBool());
    to->set_strict(strict.value_or(false));
  }
  return absl::OkStatus();
}

// The message that goes first when one must: the second of several, then the first, never the last.
void DropOne(std::vector<pb::Message>* messages) {
  messages->erase(messages->begin() + (messages->size() > 2 ? 1 : 0));
}

int64_t BytesAtMost(const pb::GenerateRequest& request) {
  return static_cast<int64_t>(request.chat().ByteSizeLong()) + kTemplateBytes +
         int64_t{kTemplateBytesPerMessage} * request.chat().messages_size();
}

// The prompt after `dropped` messages are gone fits in `budget` tokens.
absl::StatusOr<bool> Fits(const RunHistory& history, int dropped, int budget,
                          const CountTokens& count, const std::string& tenant) {
  RunHistory shorter = history;
  for (int i = 0; i < dropped; ++i) DropOne(&shorter.messages);
  ASSIGN_OR_RETURN(const pb::GenerateRequest request, MakeRequest(shorter, tenant));
  // A token is at least a byte, so a prompt of few bytes need not be counted.
  if (BytesAtMost(request) <= budget) return true;
  ASSIGN_OR_RETURN(const int tokens, count(request));
  return tokens <= budget;
}

int BudgetOf(const TruncationLimits& limits, const pb::Run& run) {
  int budget = limits.prompt_tokens_max > 0 ? limits.prompt_tokens_max : 0;
  if (limits.context_length > 0) {
    const int answer =
        std::min(CompletionTokensLeft(run).value_or(kAnswerTokens), limits.context_length / 4);
    const int context = limits.context_length - answer;
    budget = budget == 0 ? context : std::min(budget, context);
  }
  return budget;
}

}  // namespace

std::optional<int> CompletionTokensLeft(const pb::Run& run) {
  if (!run.has_max_completion_tokens()) return std::nullopt;
  return run.max_completion_tokens() - run.usage().completion_tokens();
}

std::optional<int> PromptTokensLeft(const pb::Run& run) {
  if (!run.has_max_prompt_tokens()) return std::nullopt;
  return run.max_prompt_tokens() - run.usage().prompt_tokens();
}

absl::StatusOr<pb::GenerateRequest> MakeRequest(const RunHistory& history,
                                                const std::string& tenant) {
  const pb::Run& run = history.run;
  pb::GenerateRequest request;
  request.mutable_meta()->set_request_id(absl::StrCat(run.id(), "-", history.leg));
  request.mutable_meta()->set_tenant(tenant);
  request.mutable_meta()->set_cache_salt(tenant);
  request.set_model(run.model());
  pb::ChatPrompt* chat = request.mutable_chat();
  if (!run.instructions().empty()) AddText(chat, pb::ROLE_SYSTEM, run.instructions());
  for (const pb::Message& message : history.messages) {
    const bool user = message.role() == pb::Message::ROLE_USER;
    AddText(chat, user ? pb::ROLE_USER : pb::ROLE_ASSISTANT, TextOf(message));
  }
  AddSteps(history, chat);
  AddTools(run, chat);
  chat->set_parallel_tool_calls(run.parallel_tool_calls());
  RETURN_IF_ERROR(SetToolChoice(run, history.leg, chat));
  RETURN_IF_ERROR(SetResponseFormat(run, &request));
  if (run.has_temperature()) {
    request.mutable_sampling()->set_temperature(static_cast<float>(run.temperature()));
  }
  if (run.has_top_p()) request.mutable_sampling()->set_top_p(static_cast<float>(run.top_p()));
  if (run.has_reasoning_effort()) {
    auto& variables = *chat->mutable_template_variables();
    variables["reasoning_effort"] = absl::StrCat("\"", run.reasoning_effort(), "\"");
    if (run.reasoning_effort() == "none") variables["enable_thinking"] = "false";
  }
  request.mutable_sampling()->set_seed(SeedOf(run.id(), history.leg));
  if (const std::optional<int> left = CompletionTokensLeft(run)) {
    request.mutable_stop()->set_max_tokens(*left);
  }
  return request;
}

absl::Status Truncate(const TruncationLimits& limits, const CountTokens& count,
                      const std::string& tenant, RunHistory* history) {
  const pb::TruncationStrategy& strategy = history->run.truncation_strategy();
  auto& messages = history->messages;
  if (strategy.type() == "last_messages") {
    const auto keep = static_cast<size_t>(std::max(strategy.last_messages(), 1));
    if (messages.size() > keep)
      messages.erase(messages.begin(), messages.end() - static_cast<long>(keep));
    if (limits.prompt_tokens_max <= 0) return absl::OkStatus();
  }
  const int budget = BudgetOf(limits, history->run);
  if (budget <= 0) return absl::OkStatus();
  // The fewest messages dropped that fit: fitting is monotone in what is dropped.
  int low = 0;
  int high = messages.empty() ? 0 : static_cast<int>(messages.size()) - 1;
  ASSIGN_OR_RETURN(bool fits, Fits(*history, low, budget, count, tenant));
  if (fits) return absl::OkStatus();
  ASSIGN_OR_RETURN(fits, Fits(*history, high, budget, count, tenant));
  if (!fits && budget == limits.prompt_tokens_max) {
    return base::WithReason(
        absl::OutOfRangeError("the prompt does not fit into the run's max_prompt_tokens"),
        "max_prompt_tokens");
  }
  while (fits && low + 1 < high) {
    const int middle = (low + high) / 2;
    ASSIGN_OR_RETURN(const bool enough, Fits(*history, middle, budget, count, tenant));
    (enough ? high : low) = middle;
  }
  for (int i = 0; i < high; ++i) DropOne(&messages);
  return absl::OkStatus();
}

}  // namespace conclave::store
