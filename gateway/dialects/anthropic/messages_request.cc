#include "gateway/dialects/anthropic/messages_request.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "gateway/dialects/anthropic/conversation.h"
#include "gateway/dialects/openai/chat_request.h"
#include "gateway/dialects/openai/sampling.h"

namespace conclave::gateway::anthropic {
namespace {

using base::JsonValue;

constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();
constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();
constexpr int64_t kThinkingBudgetMin = 1024;
constexpr size_t kStopMax = 16;
constexpr size_t kUserIdMax = 256;

absl::Status ReadLimits(JsonValue root, v1::StopConditions* stop) {
  ASSIGN_OR_RETURN(const int64_t max_tokens, root.Get("max_tokens").AsInt(1, kInt32Max));
  stop->set_max_tokens(static_cast<int32_t>(max_tokens));
  const JsonValue sequences = root.Get("stop_sequences");
  if (sequences.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(sequences.ExpectArray());
  return openai::ReadStop(sequences, kStopMax, stop);
}

absl::Status ReadSampling(JsonValue root, v1::SamplingParams* sampling) {
  ASSIGN_OR_RETURN(const std::optional<double> temperature,
                   root.Get("temperature").OptionalNumber(0, 1));
  if (temperature) sampling->set_temperature(static_cast<float>(*temperature));
  ASSIGN_OR_RETURN(const std::optional<double> top_p, root.Get("top_p").OptionalNumber(0, 1));
  if (top_p) sampling->set_top_p(static_cast<float>(*top_p));
  ASSIGN_OR_RETURN(const std::optional<int64_t> top_k, root.Get("top_k").OptionalInt(0, kInt32Max));
  if (top_k) sampling->set_top_k(static_cast<int32_t>(*top_k));
  return openai::ReadSeed(root, sampling);  // no field of Anthropic's; every dialect of ours has it
}

// Whether the model thinks is its template's to say; the budget, a part of `max_tokens`, is kept,
// and told to templates that know one.
absl::Status ReadThinking(JsonValue thinking, int64_t max_tokens, v1::ChatPrompt* chat) {
  if (thinking.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(thinking.ExpectObject());
  auto& variables = *chat->mutable_template_variables();
  const JsonValue type = thinking.Get("type");
  ASSIGN_OR_RETURN(const std::string mode, type.AsString());
  if (mode == "adaptive") return absl::OkStatus();  // as the model likes
  if (mode == "disabled") {
    variables["enable_thinking"] = "false";
    chat->set_reasoning_budget(0);
    return absl::OkStatus();
  }
  if (mode != "enabled") return type.Error("expected enabled, disabled or adaptive");
  const JsonValue tokens = thinking.Get("budget_tokens");
  ASSIGN_OR_RETURN(const int64_t budget, tokens.AsInt(kThinkingBudgetMin, kInt32Max));
  if (budget >= max_tokens) return tokens.Error("must be less than max_tokens");
  variables["enable_thinking"] = "true";
  variables["thinking_budget"] = absl::StrCat(budget);
  chat->set_reasoning_budget(static_cast<int32_t>(budget));
  const v1::ToolChoice::Mode choice = chat->tool_choice().mode();
  if (choice == v1::ToolChoice::MODE_REQUIRED || choice == v1::ToolChoice::MODE_NAMED) {
    return type.Error("a tool_choice that forces a call leaves no room for thinking");
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> OmitsThinking(JsonValue display) {
  ASSIGN_OR_RETURN(const std::optional<std::string> mode, display.OptionalString());
  if (!mode || *mode == "summarized") return false;
  if (*mode != "omitted") return display.Error("expected summarized or omitted");
  return true;
}

// {"type":"json_schema","schema"}. The worker refuses a format that it cannot enforce.
absl::Status ReadOutputFormat(JsonValue format, v1::ResponseFormat* out) {
  if (format.missing()) return absl::OkStatus();
  if (out->has_json_schema()) return format.Error("the answer's format is given twice");
  RETURN_IF_ERROR(format.ExpectObject());
  ASSIGN_OR_RETURN(const std::string type, format.Get("type").AsString());
  if (type != "json_schema") return format.Get("type").Error("expected json_schema");
  RETURN_IF_ERROR(format.Get("schema").ExpectObject());
  out->mutable_json_schema()->set_schema_json(format.Get("schema").ToJson());
  out->mutable_json_schema()->set_strict(true);
  out->set_place(format.Get("schema").path());
  return absl::OkStatus();
}

// output_config, {"effort","format"}, and output_format, as its format was called in beta.
absl::Status ReadOutputConfig(JsonValue root, v1::ChatPrompt* chat, v1::ResponseFormat* out) {
  RETURN_IF_ERROR(ReadOutputFormat(root.Get("output_format"), out));
  const JsonValue config = root.Get("output_config");
  if (config.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(config.ExpectObject());
  ASSIGN_OR_RETURN(const std::optional<std::string> effort, config.Get("effort").OptionalString());
  if (effort) {
    constexpr std::string_view kEfforts[] = {"low", "medium", "high", "xhigh", "max"};
    if (std::find(std::begin(kEfforts), std::end(kEfforts), *effort) == std::end(kEfforts)) {
      return config.Get("effort").Error("expected low, medium, high, xhigh or max");
    }
    // The budget of `thinking` is more exact than what an effort stands for.
    const std::optional<int32_t> budget =
        chat->has_reasoning_budget() ? std::optional(chat->reasoning_budget()) : std::nullopt;
    openai::ApplyEffort(*effort, chat);
    if (budget) chat->set_reasoning_budget(*budget);
  }
  return ReadOutputFormat(config.Get("format"), out);
}

// What is checked and has no effect.
absl::Status CheckIgnored(JsonValue root) {
  const JsonValue tier = root.Get("service_tier");
  ASSIGN_OR_RETURN(const std::optional<std::string> name, tier.OptionalString());
  if (name && *name != "auto" && *name != "standard_only") {
    return tier.Error("expected auto or standard_only");
  }
  const JsonValue metadata = root.Get("metadata");
  if (metadata.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(metadata.ExpectObject());
  const JsonValue user = metadata.Get("user_id");
  ASSIGN_OR_RETURN(const std::optional<std::string> id, user.OptionalString());
  if (id && id->size() > kUserIdMax)
    return user.Error(absl::StrCat("at most ", kUserIdMax, " bytes"));
  return absl::OkStatus();
}

// The word makes Anthropic's clients send the whole conversation instead.
absl::Status RefuseThread(JsonValue thread) {
  if (thread.missing()) return absl::OkStatus();
  return base::WithReason(thread.Error("this server keeps no conversation; send all of it"),
                          "thread_unsupported_request");
}

// An assistant's message at the end is the beginning of the answer.
absl::Status ReadPrefill(JsonValue messages, v1::ChatPrompt* chat) {
  const v1::ChatMessage& last = *chat->messages().rbegin();
  if (last.role() != v1::ROLE_ASSISTANT) return absl::OkStatus();
  const JsonValue content = messages.At(messages.size() - 1).Get("content");
  if (!last.tool_calls().empty()) {
    return content.Error("the final assistant message must not call tools");
  }
  std::string text;
  for (const v1::ContentPart& part : last.content()) text += part.text();
  if (text.empty()) return content.Error("the final assistant message must have text");
  if (std::string_view(" \t\r\n").find(text.back()) != std::string_view::npos) {
    return content.Error("final assistant content cannot end with trailing whitespace");
  }
  chat->set_continue_final_message(true);
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadModel(JsonValue root) {
  ASSIGN_OR_RETURN(std::string model, root.Get("model").AsString());
  if (model.empty()) return root.Get("model").Error("must not be empty");
  return model;
}

}  // namespace

absl::StatusOr<MessagesRequest> DecodeMessagesRequest(std::string_view body,
                                                      std::string_view default_system_prompt) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(body));
  const JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  MessagesRequest request;
  v1::GenerateRequest& generate = request.generate;
  ASSIGN_OR_RETURN(*generate.mutable_model(), ReadModel(root));
  RETURN_IF_ERROR(RefuseThread(root.Get("thread")));
  RETURN_IF_ERROR(ReadLimits(root, generate.mutable_stop()));
  v1::ChatPrompt* chat = generate.mutable_chat();
  RETURN_IF_ERROR(ReadConversation(root, default_system_prompt, chat));
  RETURN_IF_ERROR(ReadPrefill(root.Get("messages"), chat));
  RETURN_IF_ERROR(ReadSampling(root, generate.mutable_sampling()));
  const JsonValue thinking = root.Get("thinking");
  RETURN_IF_ERROR(ReadThinking(thinking, generate.stop().max_tokens(), chat));
  ASSIGN_OR_RETURN(request.omit_thinking, OmitsThinking(thinking.Get("display")));
  v1::ResponseFormat format;
  RETURN_IF_ERROR(ReadOutputConfig(root, chat, &format));
  if (format.has_json_schema()) *generate.mutable_response_format() = std::move(format);
  RETURN_IF_ERROR(CheckIgnored(root));
  RETURN_IF_ERROR(openai::RefuseFields(root, {"container", "mcp_servers"}));
  ASSIGN_OR_RETURN(const std::optional<bool> stream, root.Get("stream").OptionalBool());
  request.stream = stream.value_or(false);
  return request;
}

absl::StatusOr<v1::TokenizeRequest> DecodeCountTokensRequest(
    std::string_view body, std::string_view default_system_prompt) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(body));
  const JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  v1::TokenizeRequest request;
  ASSIGN_OR_RETURN(*request.mutable_model(), ReadModel(root));
  v1::ChatPrompt* chat = request.mutable_chat();
  RETURN_IF_ERROR(ReadConversation(root, default_system_prompt, chat));
  // Counted as it stands where no answer could go on from it.
  ReadPrefill(root.Get("messages"), chat).IgnoreError();
  RETURN_IF_ERROR(ReadThinking(root.Get("thinking"), kNoLimit, chat));
  v1::ResponseFormat no_part_of_the_prompt;
  RETURN_IF_ERROR(ReadOutputConfig(root, chat, &no_part_of_the_prompt));
  return request;
}

}  // namespace conclave::gateway::anthropic
