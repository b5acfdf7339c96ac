// From a request to the ids the engine starts from, and to what the output must be read with.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/fim.h"
#include "engine/chat/parsers/parser.h"
#include "engine/chat/template.h"
#include "engine/grammar/answer.h"
#include "engine/grammar/reasoning_limit.h"
#include "engine/grammar/token_trie.h"
#include "engine/tokenizer/tokenizer.h"

namespace conclave::backends {

// What a model's file says about text. Immutable after it was made.
struct TextModel {
  std::unique_ptr<engine::Tokenizer> tokenizer;
  std::shared_ptr<const engine::ChatTemplate> chat_template;
  absl::Status template_error;  // why there is no template
  const engine::ChatFamily* family = nullptr;
  size_t token_bytes_max = 1;  // of the longest token: a floor for the ids a text needs
  int32_t context_length = 0;
  std::shared_ptr<const engine::grammar::TokenTrie> trie;  // of the tokenizer
  FimTokens fim;
};

struct NativePrompt {
  std::vector<TokenId> ids;
  std::string text;  // rendered; empty for token prompts
  bool is_chat = false;
  bool tools = false;           // the model was offered tools
  bool thinks = false;          // the model may begin its answer with reasoning
  bool reasoning_open = false;  // the prompt has opened the reasoning
  engine::ReasoningTags reasoning_tags;
  bool stop_after_call = false;
  const engine::ChatFamily* family = nullptr;  // whose markup the answer is in
};

// UNIMPLEMENTED: a gap, and no tokens to mark it. INVALID_ARGUMENT: empty, an id outside the
// vocabulary, the template refuses. OUT_OF_RANGE: longer than the context, with both numbers; long
// texts are refused before they are tokenised.
absl::StatusOr<NativePrompt> BuildPrompt(const TextModel& model, const GenerateRequest& request);
// `answers_at_once`: the output is the answer from its first token on, so reasoning that the
// template opens is closed again.
absl::StatusOr<NativePrompt> BuildChatPrompt(const TextModel& model, const ChatPrompt& chat,
                                             bool answers_at_once = false);
// Whether a model of that family, spoken to through that template, reasons in front of its answers.
bool Thinks(const engine::ChatFamily& family, const engine::ChatTemplate& chat_template);
// Whether every part of an answer is headed by the channel it is for.
bool HasChannels(const engine::ChatFamily& family);
// What the answer must be; nullopt: whatever the model says.
std::optional<engine::grammar::AnswerShape> ShapeOf(const TextModel& model,
                                                    const GenerateRequest& request,
                                                    const NativePrompt& prompt);
// How long it may reason; nullopt: as long as it likes, or not at all.
std::optional<engine::grammar::ReasoningLimit> LimitOf(const TextModel& model,
                                                       const GenerateRequest& request,
                                                       const NativePrompt& prompt);
// Whether the vocabulary has a control token of that text.
bool IsControl(const TextModel& model, std::string_view token_text);

// How many ids the texts make at least, told from pieces of them; no more are read once that is
// more than `enough`. Half of what the pieces make, because a cut parts what the whole would merge.
size_t LeastIds(const engine::Tokenizer& tokenizer, std::span<const std::string_view> texts,
                size_t enough);

}  // namespace conclave::backends
