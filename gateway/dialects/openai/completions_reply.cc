#include "gateway/dialects/openai/completions_reply.h"

#include <algorithm>
#include <limits>

namespace conclave::gateway::openai {
namespace {

using base::JsonWriter;

void WriteChoice(JsonWriter& json, int index, std::string_view text, LegacyLogprobs* logprobs,
                 std::string_view finish) {
  json.Field("text", text);
  json.Field("index", index);
  json.Key("logprobs");
  if (logprobs != nullptr) {
    logprobs->Write(json);
  } else {
    json.Null();
  }
  WriteFinishReason(json, finish);
}

// Mean logprob of a token; a choice without any is the last one wanted.
double MeanLogprob(const Completion::Choice& choice) {
  if (choice.logprobs.empty()) return -std::numeric_limits<double>::infinity();
  double sum = 0;
  for (const v1::TokenLogprob& token : choice.logprobs) {
    sum += static_cast<double>(token.logprob());
  }
  return sum / static_cast<double>(choice.logprobs.size());
}

// The n most probable of a prompt's choices, the best first; all as they are when no more were
// made.
std::vector<const Completion::Choice*> Pick(const CompletionsShape& shape,
                                            const Completion& completion, size_t prompt) {
  const auto made = static_cast<size_t>(shape.best_of);
  std::vector<const Completion::Choice*> choices;
  for (size_t k = 0; k < made && prompt * made + k < completion.choices.size(); ++k) {
    choices.push_back(&completion.choices[prompt * made + k]);
  }
  if (shape.best_of > shape.n) {
    std::stable_sort(choices.begin(), choices.end(), [](const auto* a, const auto* b) {
      return MeanLogprob(*a) > MeanLogprob(*b);
    });
    choices.resize(std::min(choices.size(), static_cast<size_t>(shape.n)));
  }
  return choices;
}

void AddPrompt(const Completion::Prompt& prompt, LegacyLogprobs* logprobs) {
  for (size_t i = 0; i < prompt.tokens.size(); ++i) {
    if (i == 0) {
      logprobs->AddFirst(prompt.tokens[i]);
    } else {
      logprobs->Add(prompt.tokens[i]);
    }
  }
}

}  // namespace

CompletionsShape ShapeOf(const CompletionsRequest& request) {
  return {.prompts = request.prompts,
          .n = request.n,
          .best_of = request.best_of,
          .echo = request.echo,
          .with_logprobs = request.with_logprobs,
          .reports = request.reports};
}

std::string EncodeCompletions(const AnswerIdentity& identity, const CompletionsShape& shape,
                              const Completion& completion) {
  JsonWriter json;
  json.BeginObject();
  WriteAnswerHead(json, identity, "text_completion", FingerprintOf(completion.accepted));
  json.Key("choices");
  json.BeginArray();
  int index = 0;
  for (size_t p = 0; p < shape.prompts.size(); ++p) {
    const bool was_told = p < completion.prompts.size();
    std::string echo = shape.echo ? shape.prompts[p] : "";
    if (shape.echo && echo.empty() && was_told) echo = completion.prompts[p].text;
    for (const Completion::Choice* const choice : Pick(shape, completion, p)) {
      LegacyLogprobs logprobs;
      if (shape.echo && was_told) AddPrompt(completion.prompts[p], &logprobs);
      for (const v1::TokenLogprob& token : choice->logprobs) logprobs.Add(token);
      json.BeginObject();
      WriteChoice(json, index++, echo + choice->text, shape.with_logprobs ? &logprobs : nullptr,
                  FinishReasonName(choice->finished.reason()));
      json.EndObject();
    }
  }
  json.EndArray();
  json.Key("usage");
  WriteUsage(json, completion.usage, shape.reports.speed ? &completion.timings : nullptr);
  if (shape.reports.timings) WriteTimings(json, completion.usage, completion.timings);
  json.EndObject();
  return json.Take();
}

std::string CompletionsStreamEncoder::Echo(int index, ChoiceState* choice) const {
  if (!shape_.echo || std::exchange(choice->is_echoed, true)) return "";
  const auto prompt = static_cast<size_t>(index / shape_.n);
  return prompt < shape_.prompts.size() ? shape_.prompts[prompt] : "";
}

void CompletionsStreamEncoder::OnPrompt(const v1::PromptLogprobs& prompt, std::string* out) {
  for (int k = 0; k < shape_.n; ++k) {
    const int index = prompt.prompt() * shape_.n + k;
    ChoiceState& choice = choices_[index];
    for (int i = 0; i < prompt.tokens_size(); ++i) {
      if (prompt.position() + i == 0) {
        choice.logprobs.AddFirst(prompt.tokens(i));
      } else {
        choice.logprobs.Add(prompt.tokens(i));
      }
    }
    std::string text = Echo(index, &choice);
    const auto at = static_cast<size_t>(prompt.prompt());
    const bool is_ids = at < shape_.prompts.size() && shape_.prompts[at].empty();
    Send(index, is_ids ? prompt.text() : text, "", out);
  }
}

void CompletionsStreamEncoder::OnDelta(const v1::Delta& delta, std::string* out) {
  ChoiceState& choice = choices_[delta.index()];
  for (const v1::TokenLogprob& token : delta.logprobs()) choice.logprobs.Add(token);
  const std::string text = Echo(delta.index(), &choice) + delta.text();
  if (!text.empty()) Send(delta.index(), text, "", out);
}

void CompletionsStreamEncoder::OnFinished(const v1::Finished& finished, std::string* out) {
  const std::string text = Echo(finished.index(), &choices_[finished.index()]);
  Send(finished.index(), text, FinishReasonName(finished.reason()), out);
}

void CompletionsStreamEncoder::Send(int index, std::string_view text, std::string_view finish,
                                    std::string* out) {
  LegacyLogprobs& logprobs = choices_[index].logprobs;
  const bool has_logprobs = shape_.with_logprobs && !logprobs.empty();
  const auto write = [&](JsonWriter& json) {
    WriteChoice(json, index, text, has_logprobs ? &logprobs : nullptr, finish);
  };
  Chunk(write, out);
}

}  // namespace conclave::gateway::openai
