#include "backends/native_prompt.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "backends/context_length.h"
#include "base/json.h"
#include "base/log.h"
#include "base/status.h"

namespace conclave::backends {
namespace {

constexpr std::string_view kCallOpening = "<tool_call>";
constexpr std::string_view kReasoningClosing = "\n</think>\n\n";

absl::Status BadPrompt(std::string_view what) {
  return base::WithParam(base::InvalidArgument(absl::StrCat("prompt: ", std::string(what))),
                         "prompt");
}

// Before tokenising: no token is longer than the longest, so a text beyond context × that cannot
// fit, however it is cut.
absl::Status CheckBytes(const TextModel& model, size_t bytes) {
  const size_t least = bytes / model.token_bytes_max;
  if (least <= static_cast<size_t>(model.context_length)) return absl::OkStatus();
  return ContextLengthExceeded(model.context_length, absl::StrCat("at least ", least));
}

absl::Status CheckIds(const TextModel& model, const std::vector<TokenId>& ids) {
  if (ids.empty()) return BadPrompt("must not be empty");
  // One place must be left for an answer.
  if (ids.size() < static_cast<size_t>(model.context_length)) return absl::OkStatus();
  return ContextLengthExceeded(model.context_length, absl::StrCat(ids.size()));
}

// The words with which a hermes-style call begins, as far as the request decides them. Without a
// grammar engine this is all that is forced: the arguments are the model's own.
absl::StatusOr<std::string> ForcedPrefix(const TextModel& model, const ChatPrompt& chat) {
  const bool named = chat.tool_choice.mode == ToolChoice::Mode::kNamed;
  if (!named && chat.tool_choice.mode != ToolChoice::Mode::kRequired) return std::string();
  if (model.family->name != "hermes") {
    return base::WithParam(
        base::Unimplemented("tool_choice: this model's way of calling tools cannot be forced"),
        "tool_choice");
  }
  const auto& tools = chat.conversation.tools;
  const std::string only = named ? chat.tool_choice.name : tools.size() == 1 ? tools[0].name : "";
  std::string prefix = absl::StrCat(std::string(kCallOpening), "\n{\"name\": ");
  // The quote stays open before a free choice; a space that the model's tokens carry is left to it.
  if (only.empty()) return prefix + "\"";
  return absl::StrCat(prefix, base::JsonQuote(only), ", \"arguments\":");
}

}  // namespace

absl::StatusOr<NativePrompt> BuildChatPrompt(const TextModel& model, const ChatPrompt& chat,
                                             bool answers_at_once) {
  if (model.chat_template == nullptr) {
    return base::Annotate(model.template_error, "the chat template of this model cannot be used");
  }
  NativePrompt prompt;
  prompt.is_chat = true;
  const bool offers = chat.tool_choice.mode != ToolChoice::Mode::kNone;
  prompt.tools = offers && !chat.conversation.tools.empty();
  ASSIGN_OR_RETURN(prompt.prefix, ForcedPrefix(model, chat));
  prompt.stop_after_call =
      chat.tool_choice.mode == ToolChoice::Mode::kNamed || !chat.parallel_tool_calls;

  size_t bytes = 0;
  for (const engine::Message& message : chat.conversation.messages) bytes += message.content.size();
  RETURN_IF_ERROR(CheckBytes(model, bytes));
  absl::StatusOr<engine::Prompt> rendered;
  if (prompt.tools || chat.conversation.tools.empty()) {
    rendered = model.chat_template->Render(chat.conversation);
  } else {
    engine::Conversation without_tools = chat.conversation;
    without_tools.tools.clear();
    rendered = model.chat_template->Render(without_tools);
  }
  if (!rendered.ok()) {
    return base::WithParam(base::Annotate(rendered.status(), "messages"), "messages");
  }
  prompt.reasoning_open = engine::EndsInOpenReasoning(rendered->text);
  if (!prompt.prefix.empty()) {
    const size_t begin = rendered->text.size();
    if (prompt.reasoning_open) rendered->text += kReasoningClosing;
    rendered->text += kCallOpening;
    rendered->trusted.push_back({begin, rendered->text.size()});
    rendered->text += prompt.prefix.substr(kCallOpening.size());
    prompt.reasoning_open = false;
  }
  if (answers_at_once && prompt.reasoning_open) {
    const size_t begin = rendered->text.size();
    rendered->text += kReasoningClosing;
    rendered->trusted.push_back({begin, rendered->text.size()});
    prompt.reasoning_open = false;
  }
  prompt.ids = engine::EncodePrompt(*model.tokenizer, *rendered);
  prompt.text = std::move(rendered->text);
  RETURN_IF_ERROR(CheckIds(model, prompt.ids));
  return prompt;
}

absl::StatusOr<NativePrompt> BuildPrompt(const TextModel& model, const GenerateRequest& request) {
  if (const auto* chat = std::get_if<ChatPrompt>(&request.prompt)) {
    return BuildChatPrompt(model, *chat,
                           request.response_format.kind != ResponseFormat::Kind::kText);
  }
  NativePrompt prompt;
  if (const auto* text = std::get_if<TextPrompt>(&request.prompt)) {
    if (text->text.empty()) return BadPrompt("must not be empty");
    RETURN_IF_ERROR(CheckBytes(model, text->text.size()));
    prompt.text = text->text;
    prompt.ids = model.tokenizer->Encode(text->text, {.parse_special = true, .add_special = true});
  } else {
    prompt.ids = std::get<TokenPrompt>(request.prompt).ids;
    const int32_t vocab_size = model.tokenizer->vocab_size();
    for (const TokenId id : prompt.ids) {
      if (id < 0 || id >= vocab_size) {
        return BadPrompt(
            absl::StrCat("token id ", id, " is outside the vocabulary of ", vocab_size));
      }
    }
  }
  RETURN_IF_ERROR(CheckIds(model, prompt.ids));
  return prompt;
}

}  // namespace conclave::backends
