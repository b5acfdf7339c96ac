#include "engine/chat/template.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "engine/chat/conversation_values.h"
#include "engine/chat/go_lexer.h"
#include "engine/chat/jinja_eval.h"
#include "engine/chat/jinja_parser.h"
#include "engine/chat/jinja_text.h"
#include "engine/chat/ollama_template.h"
#include "engine/chat/parsers/parser.h"

namespace conclave::engine {
namespace {

jinja::Limits LimitsOf(const TemplateLimits& limits) {
  return {.steps_max = limits.steps_max,
          .output_bytes_max = limits.output_bytes_max,
          .memory_bytes_max = limits.memory_bytes_max,
          .depth_max = limits.depth_max,
          .time_max = limits.time_max};
}

// Long conversations may take longer: what a template does per message, and sixteen walks over
// every byte.
int64_t ExtraSteps(const Conversation& conversation) {
  constexpr int64_t kPerMessage = 2000, kPerTool = 5000;
  constexpr size_t kBytesPerStep = 4;
  size_t bytes = 0;
  for (const Message& message : conversation.messages) {
    bytes += message.content.size() + message.reasoning.size();
    for (const ToolCall& call : message.tool_calls) bytes += call.arguments.size();
  }
  // A schema is walked node by node.
  for (const Tool& tool : conversation.tools) bytes += 64 * tool.parameters.size();
  return kPerMessage * static_cast<int64_t>(conversation.messages.size()) +
         kPerTool * static_cast<int64_t>(conversation.tools.size()) +
         static_cast<int64_t>(bytes / kBytesPerStep);
}

// All that is not the conversation's.
std::vector<TextRange> TrustedRanges(const jinja::Text& text) {
  std::vector<TextRange> trusted;
  size_t at = 0;
  for (const TextRange& user : text.user) {
    if (at < user.begin) trusted.push_back({at, user.begin});
    at = user.end;
  }
  if (at < text.bytes.size()) trusted.push_back({at, text.bytes.size()});
  return trusted;
}

// Behind the text of a final message that is to be continued, to find its end in the prompt. The
// space tells whether the template strips messages (as transformers' continue_final_message does).
constexpr std::string_view kContinueHere = "continue_7f3a_here ";

// Cuts what the template wrote behind the mark, and the mark.
absl::Status CutAtMark(jinja::Text* text) {
  const std::string_view mark = jinja::StripRight(kContinueHere);
  const size_t at = text->bytes.rfind(mark);
  if (at == std::string::npos) {
    return base::InvalidArgument(
        "the final message cannot be continued: the template does not show it to its end");
  }
  std::string_view kept = std::string_view(text->bytes).substr(0, at);
  const bool stripped = !std::string_view(text->bytes).substr(at).starts_with(kContinueHere);
  if (stripped) kept = jinja::StripRight(kept);
  text->bytes.resize(kept.size());
  std::erase_if(text->user, [&](const TextRange& range) { return range.begin >= kept.size(); });
  if (!text->user.empty()) text->user.back().end = std::min(text->user.back().end, kept.size());
  return absl::OkStatus();
}

// Texts that no template writes of its own accord.
constexpr std::string_view kNeedle = "needle_7f3a";

Conversation CallProbe() {
  Conversation probe;
  probe.messages.push_back({.role = "user", .content = "hello"});
  probe.messages.push_back(
      {.role = "assistant",
       .content_is_null = false,
       .tool_calls = {
           {.id = "call_123456789", .name = "probe", .arguments = R"({"needle_7f3a":"x"})"}}});
  probe.messages.push_back(
      {.role = "tool", .content = "done", .tool_call_id = "call_123456789", .name = "probe"});
  probe.tools.push_back({.name = "probe", .description = "probes"});
  return probe;
}

Conversation SystemProbe() {
  Conversation probe;
  probe.messages.push_back({.role = "system", .content = std::string(kNeedle)});
  probe.messages.push_back({.role = "user", .content = "hello"});
  return probe;
}

}  // namespace

struct ChatTemplate::Impl {
  std::optional<OllamaTemplate> go;  // else Jinja
  jinja::Block block;
  TemplateHabits habits;
  bool mentions_tools = false;

  absl::Status Parse(std::string_view source) {
    const bool has_blocks = source.find("{%") != std::string_view::npos;
    const bool looks_like_go = gotmpl::LooksLikeGo(source);
    absl::Status failed;
    if (!looks_like_go || has_blocks) {
      absl::StatusOr<jinja::Block> parsed = jinja::ParseTemplate(source);
      if (parsed.ok()) {
        block = *std::move(parsed);
        mentions_tools = source.find("tools") != std::string_view::npos;
        return absl::OkStatus();
      }
      failed = parsed.status();
    }
    absl::StatusOr<OllamaTemplate> of_go = OllamaTemplate::Parse(source);
    // {{ (index .Messages 0).Content }} is no Jinja, and what is Go's in it is a field.
    const bool is_go = looks_like_go || (!has_blocks && of_go.ok() && of_go->names_fields());
    if (!is_go) return failed;
    if (!of_go.ok()) return of_go.status();
    go = *std::move(of_go);
    mentions_tools = go->Names("tools");
    return absl::OkStatus();
  }

  // What `render` writes within the limits.
  static absl::StatusOr<jinja::Text> RunGo(
      const TemplateOptions& options, int64_t extra_steps,
      const std::function<absl::Status(gotmpl::Interpreter&)>& render) {
    jinja::Limits limits = LimitsOf(options.limits);
    limits.steps_max += extra_steps;
    gotmpl::Interpreter interpreter(limits, options.now.value_or(std::chrono::system_clock::now()));
    RETURN_IF_ERROR(render(interpreter));
    return interpreter.TakeOutput();
  }

  absl::StatusOr<jinja::Text> Run(const Conversation& conversation,
                                  const TemplateOptions& options) const {
    if (!go) return Run(conversation, habits, options);
    return RunGo(options, ExtraSteps(conversation),
                 [&](gotmpl::Interpreter& in) { return go->Render(conversation, in); });
  }

  absl::StatusOr<jinja::Text> Run(const Conversation& conversation, const TemplateHabits& with,
                                  const TemplateOptions& options) const {
    ASSIGN_OR_RETURN(jinja::Variables variables, ConversationVariables(conversation, with));
    jinja::Variables all;
    all.emplace_back("bos_token", jinja::Value::Own(options.bos_token));
    all.emplace_back("eos_token", jinja::Value::Own(options.eos_token));
    for (auto& variable : variables) all.push_back(std::move(variable));
    const auto now = options.now.value_or(std::chrono::system_clock::now());
    jinja::Limits limits = LimitsOf(options.limits);
    limits.steps_max += ExtraSteps(conversation);
    jinja::Interpreter interpreter(limits, now);
    return interpreter.Render(block, all);
  }

  bool Shows(std::string_view text, const Conversation& conversation, const TemplateHabits& with,
             const TemplateOptions& options) const {
    const auto rendered = Run(conversation, with, options);
    return rendered.ok() && rendered->bytes.find(text) != std::string::npos;
  }

  // Tries the template on small conversations.
  void LearnHabits(const TemplateOptions& options) {
    habits.knows_system = Shows(kNeedle, SystemProbe(), {}, options);
    if (!habits.knows_system && !Shows(kNeedle, SystemProbe(), {.knows_system = false}, options)) {
      habits.knows_system = true;  // folding does not help either
    }
    // As an object the key is printed plain; printed as Python, or not at all, text is the better.
    const Conversation call = CallProbe();
    const TemplateHabits as_text{.arguments_as_text = true, .knows_system = habits.knows_system};
    const TemplateHabits as_object{.arguments_as_text = false, .knows_system = habits.knows_system};
    const auto object = Run(call, as_object, options);
    const bool object_works = object.ok() && object->bytes.find(kNeedle) != std::string::npos &&
                              object->bytes.find("'needle_7f3a'") == std::string::npos;
    habits.arguments_as_text = !object_works && Shows("\"needle_7f3a\":", call, as_text, options);
  }
};

ChatTemplate::ChatTemplate(std::string source, TemplateOptions options, std::unique_ptr<Impl> impl)
    : source_(std::move(source)), options_(std::move(options)), impl_(std::move(impl)) {}
ChatTemplate::~ChatTemplate() = default;

absl::StatusOr<std::shared_ptr<const ChatTemplate>> ChatTemplate::Parse(std::string_view source,
                                                                        TemplateOptions options) {
  auto impl = std::make_unique<Impl>();
  const absl::Status parsed = impl->Parse(source);
  if (!parsed.ok()) return base::Annotate(parsed, "chat template");
  if (!impl->go) {
    TemplateOptions probing = options;
    probing.limits.time_max = std::min(options.limits.time_max, std::chrono::milliseconds(50));
    impl->LearnHabits(probing);
  }
  return std::shared_ptr<const ChatTemplate>(
      new ChatTemplate(std::string(source), std::move(options), std::move(impl)));
}

absl::StatusOr<Prompt> ChatTemplate::Render(const Conversation& conversation) const {
  const bool continues = conversation.continue_final_message && !conversation.messages.empty();
  std::optional<Conversation> marked;
  if (continues) {
    marked = conversation;
    marked->add_generation_prompt = false;
    marked->messages.back().content += kContinueHere;
  }
  absl::StatusOr<jinja::Text> text = impl_->Run(continues ? *marked : conversation, options_);
  if (!text.ok()) return base::Annotate(text.status(), "chat template");
  if (continues) RETURN_IF_ERROR(CutAtMark(&*text));
  Prompt prompt{.text = {}, .trusted = TrustedRanges(*text)};
  prompt.text = std::move(text->bytes);
  return prompt;
}

absl::StatusOr<Prompt> ChatTemplate::RenderInfill(std::string_view prompt,
                                                  std::string_view suffix) const {
  if (!impl_->go || !impl_->go->Names("suffix")) {
    return base::Unimplemented("this chat template has no place for a suffix");
  }
  Conversation texts;
  texts.messages.push_back({.role = "user", .content = std::string(prompt)});
  texts.messages.push_back({.role = "user", .content = std::string(suffix)});
  absl::StatusOr<jinja::Text> text = Impl::RunGo(
      options_, ExtraSteps(texts),
      [&](gotmpl::Interpreter& in) { return impl_->go->RenderInfill(prompt, suffix, in); });
  if (!text.ok()) return base::Annotate(text.status(), "chat template");
  Prompt rendered{.text = {}, .trusted = TrustedRanges(*text)};
  rendered.text = std::move(text->bytes);
  return rendered;
}

bool ChatTemplate::mentions_tools() const { return impl_->mentions_tools; }

const OllamaTemplate* ChatTemplate::ollama() const { return impl_->go ? &*impl_->go : nullptr; }

const ChatFamily& ChatTemplate::family() const {
  const ChatFamily& written = FamilyOf(source_);
  if (written.calls != nullptr || !impl_->go || !impl_->go->Names("tools")) return written;
  // As Ollama reads them: without a mark of its own in front, a call is a bare object.
  const std::string& mark = impl_->go->call_mark();
  return mark.empty() || mark == "{" ? BareJsonFamily() : written;
}

std::vector<TokenId> EncodePrompt(const Tokenizer& tokenizer, const Prompt& prompt) {
  std::vector<TokenId> ids = tokenizer.EncodeTrusted(prompt.text, prompt.trusted, false);
  const bool has_bos = !ids.empty() && ids.front() == tokenizer.bos();
  if (tokenizer.adds_bos() && !has_bos) ids.insert(ids.begin(), tokenizer.bos());
  return ids;
}

std::string_view FallbackChatTemplate() {
  return "{% for message in messages %}<|im_start|>{{ message.role }}\n"
         "{{ message.content or '' }}<|im_end|>\n"
         "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
}

}  // namespace conclave::engine
