// A model's chat template: a conversation in, the prompt out.
//
//   ASSIGN_OR_RETURN(auto chat_template, ChatTemplate::Parse(source, {.bos_token = "<s>"}));
//   ASSIGN_OR_RETURN(Prompt prompt, chat_template->Render(conversation));
//   std::vector<TokenId> ids = EncodePrompt(*tokenizer, prompt);
//
// The template is a program from an untrusted file. It runs in our own interpreters of Jinja
// (jinja_eval.h) and of Go's text/template (go_eval.h), which can reach nothing but the
// conversation and stop at fixed limits. The source says which: an action that only Go's language
// has, such as
// {{ .Prompt }} or {{ if … }}, makes it Go's, unless it has {% and is good Jinja.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/chat/conversation.h"
#include "engine/tokenizer/tokenizer.h"

namespace conclave::engine {

struct ChatFamily;
class OllamaTemplate;

// Limits of one rendering (mesh reference M15). Beyond them: INVALID_ARGUMENT with the line.
struct TemplateLimits {
  // Evaluated nodes, visited items, 64 bytes of a string: about 50 ms. Each message, tool and byte
  // of the conversation adds its share to this.
  int64_t steps_max = 200'000;
  size_t output_bytes_max = 16u << 20;   // of the prompt, and of any one string value
  size_t memory_bytes_max = 256u << 20;  // of all values made, roughly
  int depth_max = 300;                   // nested expressions, blocks and macro calls
  std::chrono::milliseconds time_max{2000};
};

struct TemplateOptions {
  std::string bos_token;  // what {{ bos_token }} prints
  std::string eos_token;
  TemplateLimits limits;
  // What strftime_now() tells; unset = the clock.
  std::optional<std::chrono::system_clock::time_point> now;
};

// A rendered prompt and where it came from: `trusted` are the ranges the template itself wrote;
// all else came from the conversation, and special tokens in it are plain text.
struct Prompt {
  std::string text;
  std::vector<TextRange> trusted;  // ascending, disjoint, not touching
};

class ChatTemplate final {
 public:
  // INVALID_ARGUMENT "chat template, line 12: …".
  static absl::StatusOr<std::shared_ptr<const ChatTemplate>> Parse(std::string_view source,
                                                                   TemplateOptions options);
  ~ChatTemplate();

  // Thread-safe. INVALID_ARGUMENT: the template raised an exception, failed or met a limit, a JSON
  // text inside the conversation is malformed, or a final message to be continued is not shown.
  absl::StatusOr<Prompt> Render(const Conversation& conversation) const;

  // What stands before a gap and behind it, as a Go template that names .Suffix has it.
  // UNIMPLEMENTED: any other template. INVALID_ARGUMENT: as above.
  absl::StatusOr<Prompt> RenderInfill(std::string_view prompt, std::string_view suffix) const;

  const std::string& source() const { return source_; }
  // Whether the template speaks of `tools` at all; if not, tools cannot reach the model.
  bool mentions_tools() const;
  // nullptr: it is Jinja.
  const OllamaTemplate* ollama() const;
  // Whose markup it writes.
  const ChatFamily& family() const;

 private:
  struct Impl;
  ChatTemplate(std::string source, TemplateOptions options, std::unique_ptr<Impl> impl);
  std::string source_;
  TemplateOptions options_;
  std::unique_ptr<Impl> impl_;
};

// Ids of a prompt. BOS is put in front when the model asks for it and the template did not write
// it.
std::vector<TokenId> EncodePrompt(const Tokenizer& tokenizer, const Prompt& prompt);

// For models whose file has no template: "<|im_start|>role\ncontent<|im_end|>\n".
std::string_view FallbackChatTemplate();

}  // namespace conclave::engine
