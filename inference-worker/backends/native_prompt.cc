#include "backends/native_prompt.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "backends/context_length.h"
#include "backends/tool_words.h"
#include "base/status.h"
#include "base/utf8.h"
#include "engine/chat/ollama_template.h"

namespace conclave::backends {
namespace {

// Of gpt-oss.
constexpr std::string_view kAnalysisBegin = "<|channel|>analysis<|message|>";
constexpr std::string_view kAnalysisEnd = "<|end|>";
constexpr std::string_view kAnalysisClosing = "<|end|><|start|>assistant";

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

// A long text is not tokenised to its end only to be refused. Texts of fewer bytes than this are
// not looked at, they may well fit.
constexpr size_t kProbedBytesPerToken = 8;

absl::Status ProbeLength(const TextModel& model, std::span<const std::string_view> texts) {
  const auto limit = static_cast<size_t>(model.context_length);
  size_t bytes = 0;
  for (const std::string_view text : texts) bytes += text.size();
  if (bytes / kProbedBytesPerToken <= limit) return absl::OkStatus();
  const size_t least = LeastIds(*model.tokenizer, texts, limit);
  return least > limit
             ? ContextLengthExceeded(model.context_length, absl::StrCat("at least ", least))
             : absl::OkStatus();
}

absl::Status CheckIds(const TextModel& model, const std::vector<TokenId>& ids) {
  if (ids.empty()) return BadPrompt("must not be empty");
  // One place must be left for an answer.
  if (ids.size() < static_cast<size_t>(model.context_length)) return absl::OkStatus();
  return ContextLengthExceeded(model.context_length, absl::StrCat(ids.size()));
}

// As the template has it. A template that knows no tools is told of them in words, and where it
// does not take those from the system, from the user.
absl::StatusOr<engine::Prompt> Render(const engine::ChatTemplate& chat_template,
                                      const NativePrompt& prompt, const engine::ChatFamily& family,
                                      const engine::Conversation& conversation) {
  if (!prompt.tools) {
    if (conversation.tools.empty()) return chat_template.Render(conversation);
    engine::Conversation without_tools = conversation;
    without_tools.tools.clear();
    return chat_template.Render(without_tools);
  }
  // One that shows calls in a way that is no family's would be answered in that way.
  const engine::OllamaTemplate* const go = chat_template.ollama();
  const bool is_foreign =
      go != nullptr && !go->call_mark().empty() && chat_template.family().calls == nullptr;
  const bool speaks = prompt.family == &family && !is_foreign;
  if (chat_template.mentions_tools() && speaks) {
    return chat_template.Render(conversation);
  }
  ToolWords words{.calls = prompt.family->calls, .rewrite_messages = !speaks};
  auto rendered = chat_template.Render(WithToolsInWords(conversation, words));
  if (rendered.ok()) return rendered;
  words.of_user = true;
  return chat_template.Render(WithToolsInWords(conversation, words));
}

bool IsForced(const ToolChoice& choice) {
  return choice.mode == ToolChoice::Mode::kRequired || choice.mode == ToolChoice::Mode::kNamed;
}

engine::grammar::Language LanguageOf(ResponseFormat::Kind kind) {
  using engine::grammar::Language;
  switch (kind) {
    case ResponseFormat::Kind::kJsonSchema:
      return Language::kJsonSchema;
    case ResponseFormat::Kind::kGbnf:
      return Language::kGbnf;
    case ResponseFormat::Kind::kRegex:
      return Language::kRegex;
    default:
      return Language::kJsonObject;
  }
}

std::string ClosingOf(engine::ReasoningTags tags) {
  return absl::StrCat("\n", std::string(tags.end), "\n\n");
}

// What the caller says of reasoning, by template variable or budget; nullopt: nothing.
std::optional<bool> AsksToThink(const ChatPrompt& chat) {
  for (const auto& [name, json] : chat.conversation.template_variables) {
    if (name == "enable_thinking") return json != "false";
  }
  if (chat.reasoning_budget) return *chat.reasoning_budget > 0;
  return std::nullopt;
}

// Whether an answer whose shape is given may begin with reasoning that the prompt has not opened.
// Where nobody asked for any, an answer that is to be a format or a call is that at once, but for
// models that reason in a channel of its own.
bool MayReason(const GenerateRequest& request, const ChatPrompt& chat, const NativePrompt& prompt) {
  const bool formatted = request.response_format.kind != ResponseFormat::Kind::kText;
  if (!prompt.thinks || (formatted && !request.split_reasoning)) return false;
  const bool free = !formatted && !IsForced(chat.tool_choice);
  return AsksToThink(chat).value_or(free || HasChannels(*prompt.family));
}

// Whether a budget says anything that max_tokens does not.
bool IsLimited(const TextModel& model, const GenerateRequest& request, const NativePrompt& prompt) {
  const auto* chat = std::get_if<ChatPrompt>(&request.prompt);
  if (chat == nullptr || !chat->reasoning_budget) return false;
  const int32_t longest =
      std::min(request.stop.max_tokens.value_or(model.context_length), model.context_length);
  return (prompt.thinks || prompt.reasoning_open) && *chat->reasoning_budget < longest;
}

// The functions that may be called, and how; `held`: their arguments keep to the schema even where
// neither the choice nor the tool insists.
void AddCalls(const ChatPrompt& chat, bool held, engine::grammar::AnswerShape* shape) {
  using Calls = engine::grammar::AnswerShape::Calls;
  const bool forced = IsForced(chat.tool_choice);
  shape->calls = forced ? Calls::kRequired : Calls::kAllowed;
  const bool named = chat.tool_choice.mode == ToolChoice::Mode::kNamed;
  shape->parallel = chat.parallel_tool_calls && !named;
  for (size_t i = 0; i < chat.conversation.tools.size(); ++i) {
    const engine::Tool& tool = chat.conversation.tools[i];
    if (named && tool.name != chat.tool_choice.name) continue;
    shape->functions.push_back(
        {.name = tool.name,
         .schema = tool.parameters,
         .place = tool.place.empty() ? absl::StrCat("tools[", i, "].parameters") : tool.place,
         .held = held || forced || tool.strict,
         .strict = tool.strict});
  }
}

// What stands before a gap and behind it, marked as the model knows it.
absl::StatusOr<NativePrompt> BuildInfill(const TextModel& model, const GenerateRequest& request) {
  const auto* const text = std::get_if<TextPrompt>(&request.prompt);
  if (text == nullptr) {
    return base::WithParam(base::InvalidArgument("suffix: needs a prompt of text"), "suffix");
  }
  const engine::ChatTemplate* const writer = request.infill->chat_template.get();
  const bool by_template = writer != nullptr && request.infill->files.empty();
  if (!by_template && !model.fim.complete()) {
    return base::WithParam(
        base::Unimplemented("suffix: this model has no tokens for filling in the middle"),
        "suffix");
  }
  std::vector<std::string_view> texts = {text->text, request.infill->suffix};
  size_t bytes = text->text.size() + request.infill->suffix.size();
  for (const InfillFile& file : request.infill->files) {
    texts.insert(texts.end(), {file.name, file.text});
    bytes += file.name.size() + file.text.size();
  }
  RETURN_IF_ERROR(CheckBytes(model, bytes));
  RETURN_IF_ERROR(ProbeLength(model, texts));
  NativePrompt prompt;
  prompt.text = text->text;
  if (by_template) {
    ASSIGN_OR_RETURN(const engine::Prompt rendered,
                     writer->RenderInfill(text->text, request.infill->suffix));
    prompt.ids = engine::EncodePrompt(*model.tokenizer, rendered);
    RETURN_IF_ERROR(CheckIds(model, prompt.ids));
    return prompt;
  }
  prompt.ids = EncodeFim(*model.tokenizer, model.fim, text->text, *request.infill);
  RETURN_IF_ERROR(CheckIds(model, prompt.ids));
  return prompt;
}

// Whose markup the answers come in: that of a template which shows how calls are written, else the
// model's own.
const engine::ChatFamily& FamilyFor(const TextModel& model,
                                    const engine::ChatTemplate& chat_template) {
  if (&chat_template == model.chat_template.get()) return *model.family;
  const engine::ChatFamily& written = chat_template.family();
  return written.calls != nullptr ? written : *model.family;
}

}  // namespace

size_t LeastIds(const engine::Tokenizer& tokenizer, std::span<const std::string_view> texts,
                size_t enough) {
  constexpr size_t kPieceBytes = 64 << 10;
  size_t ids = 0;
  for (std::string_view text : texts) {
    while (!text.empty() && ids / 2 <= enough) {
      const std::string_view piece = base::Utf8Prefix(text, kPieceBytes);
      text.remove_prefix(piece.empty() ? text.size() : piece.size());
      ids += tokenizer.Encode(piece, {}).size();
    }
  }
  return ids / 2;
}

absl::StatusOr<NativePrompt> BuildChatPrompt(const TextModel& model, const ChatPrompt& chat,
                                             bool answers_at_once) {
  const engine::ChatTemplate* const chat_template =
      chat.chat_template != nullptr ? chat.chat_template.get() : model.chat_template.get();
  if (chat_template == nullptr) {
    return base::Annotate(model.template_error, "the chat template of this model cannot be used");
  }
  NativePrompt prompt;
  prompt.is_chat = true;
  const bool offers = chat.tool_choice.mode != ToolChoice::Mode::kNone;
  prompt.tools = offers && !chat.conversation.tools.empty();
  const engine::ChatFamily& family = FamilyFor(model, *chat_template);
  prompt.family = prompt.tools && family.calls == nullptr ? &engine::GenericToolFamily() : &family;
  prompt.stop_after_call =
      chat.tool_choice.mode == ToolChoice::Mode::kNamed || !chat.parallel_tool_calls;

  size_t bytes = 0;
  std::vector<std::string_view> contents;
  for (const engine::Message& message : chat.conversation.messages) {
    bytes += message.content.size();
    contents.push_back(message.content);
  }
  RETURN_IF_ERROR(CheckBytes(model, bytes));
  RETURN_IF_ERROR(ProbeLength(model, contents));
  absl::StatusOr<engine::Prompt> rendered =
      Render(*chat_template, prompt, family, chat.conversation);
  if (!rendered.ok()) {
    return base::WithParam(base::Annotate(rendered.status(), "messages"), "messages");
  }
  // What goes on with an answer has its reasoning behind it.
  prompt.thinks = Thinks(family, *chat_template) && !chat.conversation.continue_final_message;
  prompt.reasoning_tags = engine::ReasoningTagsOf(chat_template->source());
  prompt.reasoning_open = engine::EndsInOpenReasoning(rendered->text, prompt.reasoning_tags);
  if (answers_at_once && prompt.reasoning_open) {
    const size_t begin = rendered->text.size();
    rendered->text += ClosingOf(prompt.reasoning_tags);
    rendered->trusted.push_back({begin, rendered->text.size()});
    prompt.reasoning_open = false;
  }
  prompt.ids = engine::EncodePrompt(*model.tokenizer, *rendered);
  prompt.text = std::move(rendered->text);
  RETURN_IF_ERROR(CheckIds(model, prompt.ids));
  return prompt;
}

absl::StatusOr<NativePrompt> BuildPrompt(const TextModel& model, const GenerateRequest& request) {
  if (request.infill) return BuildInfill(model, request);
  if (const auto* chat = std::get_if<ChatPrompt>(&request.prompt)) {
    // Reasoning that stays in the text has no place in a format.
    const bool formatted = request.response_format.kind != ResponseFormat::Kind::kText;
    return BuildChatPrompt(model, *chat, formatted && !request.split_reasoning);
  }
  NativePrompt prompt;
  if (const auto* text = std::get_if<TextPrompt>(&request.prompt)) {
    if (text->text.empty()) return BadPrompt("must not be empty");
    RETURN_IF_ERROR(CheckBytes(model, text->text.size()));
    const std::string_view whole = text->text;
    RETURN_IF_ERROR(ProbeLength(model, {&whole, 1}));
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

bool HasChannels(const engine::ChatFamily& family) {
  return family.calls != nullptr && family.calls->form == engine::CallSyntax::Form::kChannels;
}

bool Thinks(const engine::ChatFamily& family, const engine::ChatTemplate& chat_template) {
  const std::string& source = chat_template.source();
  const engine::OllamaTemplate* const go = chat_template.ollama();
  return HasChannels(family) || (go != nullptr && go->thinks()) ||
         source.find(engine::ReasoningTagsOf(source).begin) != std::string::npos;
}

std::optional<engine::grammar::AnswerShape> ShapeOf(const TextModel& model,
                                                    const GenerateRequest& request,
                                                    const NativePrompt& prompt) {
  using engine::grammar::AnswerShape;
  AnswerShape shape;
  shape.reasoning_begin = prompt.reasoning_tags.begin;
  shape.reasoning_end = prompt.reasoning_tags.end;
  const bool formatted = request.response_format.kind != ResponseFormat::Kind::kText;
  if (formatted) {
    shape.format = {.language = LanguageOf(request.response_format.kind),
                    .definition = request.response_format.definition,
                    .place = request.response_format.place};
  }
  const auto* chat = std::get_if<ChatPrompt>(&request.prompt);
  if (chat == nullptr) return formatted ? std::optional(std::move(shape)) : std::nullopt;
  shape.syntax = prompt.family->calls;
  if (prompt.tools) AddCalls(*chat, formatted, &shape);
  const bool held = std::any_of(shape.functions.begin(), shape.functions.end(),
                                [](const AnswerShape::Function& tool) { return tool.held; });
  const bool limited = IsLimited(model, request, prompt);
  // Calls that nobody holds to anything are as free as text; a limit alone needs no more.
  if (!formatted && !held) return limited ? std::optional(AnswerShape()) : std::nullopt;
  if (prompt.reasoning_open) {
    shape.reasoning = AnswerShape::Reasoning::kOpen;
  } else if (MayReason(request, *chat, prompt)) {
    shape.reasoning = AnswerShape::Reasoning::kAllowed;
  }
  return shape;
}

bool IsControl(const TextModel& model, std::string_view token_text) {
  const TokenId id = model.tokenizer->Find(token_text);
  return id >= 0 && model.tokenizer->IsControl(id);
}

std::optional<engine::grammar::ReasoningLimit> LimitOf(const TextModel& model,
                                                       const GenerateRequest& request,
                                                       const NativePrompt& prompt) {
  const auto* chat = std::get_if<ChatPrompt>(&request.prompt);
  if (chat == nullptr || !IsLimited(model, request, prompt)) return std::nullopt;
  const bool channels = HasChannels(*prompt.family);
  engine::grammar::ReasoningLimit limit;
  limit.max_tokens = *chat->reasoning_budget;
  limit.open = prompt.reasoning_open;
  // As the trie has them: what a tag is made of may be control tokens.
  const auto bytes = [&](std::string_view text) {
    std::string all;
    for (const TokenId id : model.tokenizer->Encode(text, {.parse_special = true})) {
      all += model.trie->bytes(id);
    }
    return all;
  };
  limit.begin = bytes(channels ? kAnalysisBegin : prompt.reasoning_tags.begin);
  limit.end = bytes(channels ? kAnalysisEnd : prompt.reasoning_tags.end);
  limit.closing = model.tokenizer->Encode(
      channels ? std::string(kAnalysisClosing) : ClosingOf(prompt.reasoning_tags),
      {.parse_special = true});
  if (limit.begin.empty() || limit.end.empty() || limit.closing.empty()) return std::nullopt;
  return limit;
}

}  // namespace conclave::backends
