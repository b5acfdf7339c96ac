// What KTransformers' server did otherwise on OpenAI's paths; for the profile kt-legacy alone.
#pragma once

#include <string>
#include <string_view>

#include "gateway/dialects/generation.h"
#include "gateway/dialects/sse.h"

namespace conclave::gateway::openai {

// The body of a 400, which was FastAPI's and not the envelope.
std::string FlatErrorJson(const ErrorInfo& error);

// The streamed answer to a completion: a chat's deltas in frames without a blank.
class KtCompletionStream final : public GenerationEncoder {
 public:
  std::string_view content_type() const override { return kSseType; }
  void Begin(std::string*) override {}
  void OnEvent(const v1::GenerateEvent& event, std::string* out) override;
  void End(std::string* out) override;
  void KeepAlive(std::string* out) override { *out += ": ping\n"; }
  void Error(const ErrorInfo& error, std::string* out) override;
};

// A body of the assistants' with its fields spelled as OpenAI spells them: meta_data becomes
// metadata, max_propmp_tokens max_prompt_tokens, in the object itself, in its thread and in its
// messages. What is no JSON object stays as it is.
std::string Respelled(std::string_view body);

// Whether an event of a run's stream was among those that were sent: messages and steps were not.
bool KtSendsEvent(std::string_view event);

}  // namespace conclave::gateway::openai
