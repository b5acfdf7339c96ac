// POST /v1/completions: the answer, in one piece and streamed.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/dialects/openai/answer.h"
#include "gateway/dialects/openai/completions_request.h"
#include "gateway/dialects/openai/legacy_logprobs.h"

namespace conclave::gateway::openai {

// What of the request shapes the answer.
struct CompletionsShape {
  std::vector<std::string> prompts;
  int n = 1;
  int best_of = 1;
  bool echo = false;
  bool with_logprobs = false;
  Reports reports;
};
CompletionsShape ShapeOf(const CompletionsRequest& request);

std::string EncodeCompletions(const AnswerIdentity& identity, const CompletionsShape& shape,
                              const Completion& completion);

// Chunks: the prompt where it is echoed, text, a last one with the finish_reason for each choice.
class CompletionsStreamEncoder final : public AnswerStream {
 public:
  CompletionsStreamEncoder(AnswerIdentity identity, CompletionsShape shape, bool include_usage)
      : AnswerStream(std::move(identity), "text_completion", include_usage, shape.reports),
        shape_(std::move(shape)) {}

 private:
  struct ChoiceState {
    bool is_echoed = false;
    LegacyLogprobs logprobs;  // not sent yet
  };

  void OnAccepted(std::string*) override {}
  void OnPrompt(const v1::PromptLogprobs& prompt, std::string* out) override;
  void OnDelta(const v1::Delta& delta, std::string* out) override;
  void OnFinished(const v1::Finished& finished, std::string* out) override;
  // The prompt as the request wrote it, once, before what the choice says itself.
  std::string Echo(int index, ChoiceState* choice) const;
  void Send(int index, std::string_view text, std::string_view finish, std::string* out);

  const CompletionsShape shape_;
  std::map<int, ChoiceState> choices_;
};

}  // namespace conclave::gateway::openai
