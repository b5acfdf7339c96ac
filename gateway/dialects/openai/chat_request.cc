#include "gateway/dialects/openai/chat_request.h"

#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "gateway/dialects/openai/custom_tools.h"
#include "gateway/dialects/openai/format.h"
#include "gateway/dialects/openai/legacy_functions.h"

namespace conclave::gateway::openai {
namespace {

using base::JsonValue;

constexpr size_t kToolsMax = 128;
constexpr size_t kStopMax = 4;
constexpr size_t kFunctionNameMax = 64;
constexpr size_t kTemplateVariablesMax = 64;
constexpr size_t kCacheKeyBytesMax = 512;
constexpr int64_t kBudgetMax = 1 << 30;

absl::StatusOr<v1::Role> ReadRole(JsonValue role) {
  // A message without a role is a user's: seed 001 sends such, and nothing else could be meant.
  if (!role.present()) return v1::ROLE_USER;
  ASSIGN_OR_RETURN(const std::string name, role.AsString());
  if (name == "system" || name == "developer") return v1::ROLE_SYSTEM;
  if (name == "user") return v1::ROLE_USER;
  if (name == "assistant") return v1::ROLE_ASSISTANT;
  if (name == "tool" || name == "function") return v1::ROLE_TOOL;
  return role.Error("expected system, developer, user, assistant or tool");
}

absl::Status ReadPart(JsonValue part, v1::ChatMessage* message) {
  RETURN_IF_ERROR(part.ExpectObject());
  ASSIGN_OR_RETURN(const std::string type, part.Get("type").AsString());
  if (type == "text") {
    ASSIGN_OR_RETURN(std::string text, part.Get("text").AsString());
    message->add_content()->set_text(std::move(text));
    return absl::OkStatus();
  }
  if (type == "refusal") {
    ASSIGN_OR_RETURN(std::string text, part.Get("refusal").AsString());
    message->add_content()->set_refusal(std::move(text));
    return absl::OkStatus();
  }
  // Images, audio and files: refused before anything is fetched or decoded.
  return part.Get("type").Error("\"" + type + "\" parts are not supported by this server");
}

absl::Status ReadContent(JsonValue content, bool may_be_null, v1::ChatMessage* message) {
  if (content.missing()) {
    if (!may_be_null) return content.Error("expected string or array");
    message->set_content_is_null(true);
    return absl::OkStatus();
  }
  if (content.is_string()) {
    ASSIGN_OR_RETURN(std::string text, content.AsString());
    message->add_content()->set_text(std::move(text));
    return absl::OkStatus();
  }
  if (!content.is_array()) return content.Error("expected string or array");
  for (size_t i = 0; i < content.size(); ++i) RETURN_IF_ERROR(ReadPart(content.At(i), message));
  return absl::OkStatus();
}

absl::Status ReadToolCalls(JsonValue calls, v1::ChatMessage* message) {
  if (calls.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(calls.ExpectArray());
  if (calls.size() > kToolsMax) return calls.Error(absl::StrCat("at most ", kToolsMax));
  for (size_t i = 0; i < calls.size(); ++i) {
    const JsonValue call = calls.At(i);
    ASSIGN_OR_RETURN(std::string id, call.Get("id").AsString());
    if (call.Get("type").AsString().value_or("") == "custom") {
      v1::ToolCall* custom = message->add_tool_calls();
      custom->set_id(std::move(id));
      RETURN_IF_ERROR(ReadCustomCall(call.Get("custom"), custom));
      continue;
    }
    const JsonValue function = call.Get("function");
    RETURN_IF_ERROR(function.ExpectObject());
    ASSIGN_OR_RETURN(std::string name, function.Get("name").AsString());
    ASSIGN_OR_RETURN(std::string arguments, function.Get("arguments").AsString());
    v1::ToolCall* out = message->add_tool_calls();
    out->set_id(std::move(id));
    out->set_name(std::move(name));
    out->set_arguments(std::move(arguments));
  }
  return absl::OkStatus();
}

absl::Status ReadAssistantExtras(JsonValue value, v1::ChatMessage* message) {
  RETURN_IF_ERROR(ReadToolCalls(value.Get("tool_calls"), message));
  ASSIGN_OR_RETURN(std::optional<std::string> refusal, value.Get("refusal").OptionalString());
  if (refusal && !refusal->empty()) message->add_content()->set_refusal(*std::move(refusal));
  // Two spellings are in the wild; both go back to the template.
  for (const std::string_view name : {"reasoning_content", "reasoning"}) {
    ASSIGN_OR_RETURN(std::optional<std::string> text, value.Get(name).OptionalString());
    if (text && message->reasoning().empty()) message->set_reasoning(*std::move(text));
  }
  return absl::OkStatus();
}

// `place`: its number in the conversation.
absl::Status ReadMessage(JsonValue value, size_t place, v1::ChatMessage* message) {
  RETURN_IF_ERROR(value.ExpectObject());
  ASSIGN_OR_RETURN(const v1::Role role, ReadRole(value.Get("role")));
  message->set_role(role);
  const bool assistant = role == v1::ROLE_ASSISTANT;
  RETURN_IF_ERROR(ReadContent(value.Get("content"), assistant, message));
  if (assistant) {
    RETURN_IF_ERROR(ReadAssistantExtras(value, message));
    RETURN_IF_ERROR(ReadFunctionCall(value.Get("function_call"), place, message));
  }
  if (role == v1::ROLE_TOOL) {
    // The old "function" role has a name instead.
    const JsonValue id = value.Get("tool_call_id");
    const JsonValue name = value.Get("name");
    if (id.missing() && name.missing()) return id.Error("required");
    ASSIGN_OR_RETURN(const std::optional<std::string> given, id.OptionalString());
    message->set_tool_call_id(given.value_or(std::string()));
  }
  ASSIGN_OR_RETURN(const std::optional<std::string> name, value.Get("name").OptionalString());
  message->set_name(name.value_or(std::string()));
  return absl::OkStatus();
}

absl::Status ReadMessages(JsonValue messages, std::string_view default_system_prompt,
                          v1::ChatPrompt* chat) {
  RETURN_IF_ERROR(messages.ExpectArray());
  if (messages.size() == 0) return messages.Error("at least one message is required");
  for (size_t i = 0; i < messages.size(); ++i) {
    RETURN_IF_ERROR(ReadMessage(messages.At(i), i, chat->add_messages()));
  }
  LinkFunctionResults(chat);
  const bool has_system =
      std::any_of(chat->messages().begin(), chat->messages().end(),
                  [](const v1::ChatMessage& m) { return m.role() == v1::ROLE_SYSTEM; });
  if (has_system || default_system_prompt.empty()) return absl::OkStatus();
  v1::ChatMessage* system = chat->add_messages();
  system->set_role(v1::ROLE_SYSTEM);
  system->add_content()->set_text(std::string(default_system_prompt));
  for (int i = chat->messages_size() - 1; i > 0; --i) {
    chat->mutable_messages()->SwapElements(i, i - 1);
  }
  return absl::OkStatus();
}

absl::Status ReadChoiceMode(JsonValue choice, v1::ChatPrompt* chat) {
  v1::ToolChoice* out = chat->mutable_tool_choice();
  ASSIGN_OR_RETURN(const std::string mode, choice.AsString());
  if (mode == "none") {
    out->set_mode(v1::ToolChoice::MODE_NONE);
  } else if (mode == "auto") {
    out->set_mode(v1::ToolChoice::MODE_AUTO);
  } else if (mode == "required") {
    out->set_mode(v1::ToolChoice::MODE_REQUIRED);
  } else {
    return choice.Error("expected none, auto, required or an object");
  }
  const bool needs_tools = mode == "required";
  if (needs_tools && chat->tools().empty())
    return choice.Error("there are no tools to choose from");
  return absl::OkStatus();
}

// The name in {"type":"function","function":{"name"}}, or the same with "custom"; it must be one of
// the tools.
absl::StatusOr<std::string> ReadChosenTool(JsonValue choice, const v1::ChatPrompt& chat) {
  const bool custom = choice.Get("type").AsString().value_or("") == "custom";
  const JsonValue name = choice.Get(custom ? "custom" : "function").Get("name");
  ASSIGN_OR_RETURN(std::string tool, name.AsString());
  if (!HasTool(chat, tool)) return name.Error("no tool of this name is given");
  return tool;
}

// {"mode":"auto"|"required","tools":[…]}: the model is shown these of the tools only, which is the
// one way to be sure that it calls no other.
absl::Status ReadAllowedTools(JsonValue allowed, v1::ChatPrompt* chat) {
  RETURN_IF_ERROR(allowed.ExpectObject());
  const JsonValue tools = allowed.Get("tools");
  RETURN_IF_ERROR(tools.ExpectArray());
  if (tools.size() == 0) return tools.Error("must not be empty");
  std::vector<std::string> names;
  for (size_t i = 0; i < tools.size(); ++i) {
    ASSIGN_OR_RETURN(std::string name, ReadChosenTool(tools.At(i), *chat));
    names.push_back(std::move(name));
  }
  auto* shown = chat->mutable_tools();
  shown->erase(std::remove_if(shown->begin(), shown->end(),
                              [&names](const v1::Tool& tool) {
                                return std::find(names.begin(), names.end(), tool.name()) ==
                                       names.end();
                              }),
               shown->end());
  return ReadChoiceMode(allowed.Get("mode"), chat);
}

absl::Status ReadTemplateVariables(JsonValue root, v1::ChatPrompt* chat) {
  auto& variables = *chat->mutable_template_variables();
  ASSIGN_OR_RETURN(const std::optional<std::string> effort,
                   root.Get("reasoning_effort").OptionalString());
  if (effort) {
    constexpr std::string_view kEfforts[] = {"none", "minimal", "low", "medium",
                                             "high", "xhigh",   "max"};
    if (std::find(std::begin(kEfforts), std::end(kEfforts), *effort) == std::end(kEfforts)) {
      return root.Get("reasoning_effort")
          .Error("expected none, minimal, low, medium, high, xhigh or max");
    }
    ApplyEffort(*effort, chat);
  }
  // Takes precedence over what an effort stands for.
  ASSIGN_OR_RETURN(const std::optional<int64_t> budget,
                   root.Get("thinking_budget").OptionalInt(0, kBudgetMax));
  if (budget) {
    variables["thinking_budget"] = absl::StrCat(*budget);
    chat->set_reasoning_budget(static_cast<int32_t>(*budget));
  }
  const JsonValue kwargs = root.Get("chat_template_kwargs");
  if (!kwargs.missing()) {
    RETURN_IF_ERROR(kwargs.ExpectObject());
    if (kwargs.size() > kTemplateVariablesMax) {
      return kwargs.Error(absl::StrCat("at most ", kTemplateVariablesMax, " variables"));
    }
    kwargs.ForEachMember([&](std::string_view key, JsonValue value) {
      variables[std::string(key)] = value.ToJson();
    });
  }
  ASSIGN_OR_RETURN(const std::optional<bool> generation_prompt,
                   root.Get("add_generation_prompt").OptionalBool());
  if (generation_prompt) chat->set_add_generation_prompt(*generation_prompt);
  const JsonValue continues = root.Get("continue_final_message");
  ASSIGN_OR_RETURN(const std::optional<bool> continuation, continues.OptionalBool());
  if (continuation.value_or(false) && generation_prompt.value_or(false)) {
    return continues.Error("goes without add_generation_prompt");
  }
  chat->set_continue_final_message(continuation.value_or(false));
  return absl::OkStatus();
}

absl::Status ReadLogprobs(JsonValue root, v1::GenerateRequest* request) {
  ASSIGN_OR_RETURN(const std::optional<bool> logprobs, root.Get("logprobs").OptionalBool());
  const JsonValue top = root.Get("top_logprobs");
  ASSIGN_OR_RETURN(const std::optional<int64_t> count, top.OptionalInt(0, 20));
  if (count.value_or(0) > 0 && !logprobs.value_or(false)) {
    return top.Error("needs logprobs to be true");
  }
  if (logprobs.value_or(false)) {
    request->mutable_logprobs()->set_top(static_cast<int32_t>(count.value_or(0)));
  }
  return absl::OkStatus();
}

absl::Status ReadMaxTokens(JsonValue root, v1::GenerateRequest* request) {
  constexpr int64_t kMax = std::numeric_limits<int32_t>::max();
  ASSIGN_OR_RETURN(const std::optional<int64_t> completion,
                   root.Get("max_completion_tokens").OptionalInt(1, kMax));
  ASSIGN_OR_RETURN(const std::optional<int64_t> old, root.Get("max_tokens").OptionalInt(1, kMax));
  const std::optional<int64_t> limit = completion ? completion : old;
  if (limit) request->mutable_stop()->set_max_tokens(static_cast<int32_t>(*limit));
  return absl::OkStatus();
}

absl::Status ReadReasoningFormat(JsonValue root, v1::GenerateRequest* request) {
  const JsonValue format = root.Get("reasoning_format");
  ASSIGN_OR_RETURN(const std::optional<std::string> name, format.OptionalString());
  if (!name || name == "auto" || name == "deepseek") return absl::OkStatus();
  if (name != "none") return format.Error("expected auto or none");
  request->set_reasoning_format(v1::GenerateRequest::REASONING_FORMAT_NONE);
  return absl::OkStatus();
}

// Requests of one key have a prefix in common, or belong to one session.
absl::Status ReadCacheKey(JsonValue key, v1::GenerateRequest* request) {
  ASSIGN_OR_RETURN(std::optional<std::string> text, key.OptionalString());
  if (text && text->size() > kCacheKeyBytesMax) {
    return key.Error(absl::StrCat("at most ", kCacheKeyBytesMax, " bytes"));
  }
  request->set_affinity_key(std::move(text).value_or(std::string()));
  return absl::OkStatus();
}

absl::Status RefuseAudio(JsonValue root) {
  const JsonValue modalities = root.Get("modalities");
  if (modalities.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(modalities.ExpectArray());
  for (size_t i = 0; i < modalities.size(); ++i) {
    ASSIGN_OR_RETURN(const std::string name, modalities.At(i).AsString());
    if (name != "text") return modalities.At(i).Error("only \"text\" is supported");
  }
  return absl::OkStatus();
}

absl::Status CheckToolCount(JsonValue tools) {
  RETURN_IF_ERROR(tools.ExpectArray());
  if (tools.size() <= kToolsMax) return absl::OkStatus();
  return tools.Error(absl::StrCat("at most ", kToolsMax, " tools"));
}

}  // namespace

void ApplyEffort(std::string_view effort, v1::ChatPrompt* chat) {
  // Of tokens; the highest efforts have no limit but max_tokens.
  constexpr std::pair<std::string_view, int32_t> kBudgets[] = {
      {"none", 0}, {"minimal", 512}, {"low", 1'024}, {"medium", 8'192}, {"high", 24'576}};
  (*chat->mutable_template_variables())["reasoning_effort"] =
      absl::StrCat("\"", std::string(effort), "\"");
  if (effort == "none") (*chat->mutable_template_variables())["enable_thinking"] = "false";
  for (const auto& [name, tokens] : kBudgets) {
    if (effort == name) chat->set_reasoning_budget(tokens);
  }
}

absl::StatusOr<CallWords> ReadConversation(JsonValue root, std::string_view default_system_prompt,
                                           v1::ChatPrompt* chat) {
  RETURN_IF_ERROR(ReadMessages(root.Get("messages"), default_system_prompt, chat));
  RETURN_IF_ERROR(ReadTools(root.Get("tools"), chat));
  RETURN_IF_ERROR(ReadToolChoice(root.Get("tool_choice"), chat));
  ASSIGN_OR_RETURN(const std::optional<bool> parallel,
                   root.Get("parallel_tool_calls").OptionalBool());
  chat->set_parallel_tool_calls(parallel.value_or(true));
  ASSIGN_OR_RETURN(const bool functions, ReadFunctions(root, chat));
  RETURN_IF_ERROR(ReadTemplateVariables(root, chat));
  return functions ? CallWords::kFunctions : CallWords::kTools;
}

absl::Status CheckFunctionName(JsonValue name) {
  ASSIGN_OR_RETURN(const std::string text, name.AsString());
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  });
  if (text.empty() || text.size() > kFunctionNameMax || !plain) {
    return name.Error(absl::StrCat("expected 1 to ", kFunctionNameMax,
                                   " letters, digits, underscores or dashes"));
  }
  return absl::OkStatus();
}

absl::Status ReadFunctionTool(JsonValue function, v1::Tool* tool) {
  RETURN_IF_ERROR(function.ExpectObject());
  RETURN_IF_ERROR(CheckFunctionName(function.Get("name")));
  ASSIGN_OR_RETURN(std::string name, function.Get("name").AsString());
  tool->set_name(std::move(name));
  ASSIGN_OR_RETURN(const std::optional<std::string> description,
                   function.Get("description").OptionalString());
  tool->set_description(description.value_or(std::string()));
  const JsonValue parameters = function.Get("parameters");
  if (!parameters.missing()) {
    RETURN_IF_ERROR(parameters.ExpectObject());
    tool->set_parameters_json(parameters.ToJson());
    tool->set_place(parameters.path());
  }
  ASSIGN_OR_RETURN(const std::optional<bool> strict, function.Get("strict").OptionalBool());
  tool->set_strict(strict.value_or(false));
  return absl::OkStatus();
}

absl::Status ReadTools(JsonValue tools, v1::ChatPrompt* chat) {
  if (tools.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckToolCount(tools));
  for (size_t i = 0; i < tools.size(); ++i) {
    const JsonValue tool = tools.At(i);
    ASSIGN_OR_RETURN(const std::string type, tool.Get("type").AsString());
    if (type == "custom") {
      RETURN_IF_ERROR(ReadCustomTool(tool.Get("custom"), chat->add_tools()));
    } else if (type == "function") {
      RETURN_IF_ERROR(ReadFunctionTool(tool.Get("function"), chat->add_tools()));
    } else {
      return tool.Get("type").Error("only \"function\" and \"custom\" tools are supported");
    }
  }
  return absl::OkStatus();
}

bool HasTool(const v1::ChatPrompt& chat, std::string_view name) {
  return std::any_of(chat.tools().begin(), chat.tools().end(),
                     [name](const v1::Tool& tool) { return tool.name() == name; });
}

absl::Status ReadToolList(JsonValue tools, std::string_view name_field,
                          absl::Status (*read)(JsonValue, v1::Tool*), v1::ChatPrompt* chat) {
  if (tools.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(CheckToolCount(tools));
  for (size_t i = 0; i < tools.size(); ++i) {
    v1::Tool tool;
    RETURN_IF_ERROR(read(tools.At(i), &tool));
    if (HasTool(*chat, tool.name())) return tools.At(i).Get(name_field).Error("is given twice");
    *chat->add_tools() = std::move(tool);
  }
  return absl::OkStatus();
}

absl::Status ReadToolChoice(JsonValue choice, v1::ChatPrompt* chat) {
  if (choice.missing()) return absl::OkStatus();
  if (choice.is_string()) return ReadChoiceMode(choice, chat);
  if (!choice.is_object()) return choice.Error("expected string or object");
  ASSIGN_OR_RETURN(const std::string type, choice.Get("type").AsString());
  if (type == "allowed_tools") return ReadAllowedTools(choice.Get("allowed_tools"), chat);
  if (type != "function" && type != "custom") {
    return choice.Get("type").Error("expected function, custom or allowed_tools");
  }
  ASSIGN_OR_RETURN(const std::string tool, ReadChosenTool(choice, *chat));
  chat->mutable_tool_choice()->set_mode(v1::ToolChoice::MODE_NAMED);
  chat->mutable_tool_choice()->set_name(tool);
  return absl::OkStatus();
}

absl::StatusOr<ChatRequest> DecodeChatRequest(std::string_view body,
                                              std::string_view default_system_prompt) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(body));
  const JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  ChatRequest request;
  v1::GenerateRequest& generate = request.generate;
  ASSIGN_OR_RETURN(std::string model, root.Get("model").AsString());
  generate.set_model(std::move(model));
  ASSIGN_OR_RETURN(request.call_words,
                   ReadConversation(root, default_system_prompt, generate.mutable_chat()));
  request.custom_tools = CustomToolNames(root.Get("tools"));
  RETURN_IF_ERROR(ReadFormat(root, &generate));
  RETURN_IF_ERROR(ReadLogprobs(root, &generate));
  RETURN_IF_ERROR(ReadMaxTokens(root, &generate));
  RETURN_IF_ERROR(ReadReasoningFormat(root, &generate));
  RETURN_IF_ERROR(ReadSampling(root, kStopMax, &generate));
  RETURN_IF_ERROR(ReadPromptLogprobs(root, &generate));
  RETURN_IF_ERROR(ReadCacheKey(root.Get("prompt_cache_key"), &generate));
  RETURN_IF_ERROR(RefuseAudio(root));
  ASSIGN_OR_RETURN(request.stream, ReadStreamOptions(root));
  ASSIGN_OR_RETURN(request.reports, ReadReports(root));
  return request;
}

}  // namespace conclave::gateway::openai
