// What the answers of the OpenAI wire have in common: who an answer is, the frame of its chunks,
// the parts that several objects contain.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "absl/functional/function_ref.h"
#include "base/json.h"
#include "gateway/dialects/generation.h"
#include "gateway/dialects/openai/sampling.h"
#include "gateway/dialects/sse.h"

namespace conclave::gateway::openai {

// What all chunks of an answer share.
struct AnswerIdentity {
  std::string id;                          // "chatcmpl-…", "cmpl-…"
  int64_t created = 0;                     // Unix seconds
  std::string model;                       // as the request named it
  std::optional<int64_t> created_ms = {};  // set: `created` is a fraction (profile llm-serving)
};
// A new one, now.
AnswerIdentity NewAnswer(const Services& services, std::string_view id_prefix,
                         const v1::GenerateRequest& request);

// The members every answer and chunk begins with: id, object, created, model, system_fingerprint.
void WriteAnswerHead(base::JsonWriter& json, const AnswerIdentity& identity,
                     std::string_view object, const std::string& fingerprint);
// "fp_" and the first digits of the model revision.
std::string FingerprintOf(const v1::Accepted& accepted);

void TextOrNull(base::JsonWriter& json, std::string_view key, bool has, std::string_view text);
// "finish_reason": "" for null.
void WriteFinishReason(base::JsonWriter& json, std::string_view finish);
std::string_view FinishReasonName(v1::Finished::Reason reason);
//   speed: with the seconds that prompt and answer took; null = without.
void WriteUsage(base::JsonWriter& json, const v1::Usage& usage, const v1::Timings* speed = nullptr);
// "timings", as llama-server has them: tokens, milliseconds and pace of the prompt and the answer.
void WriteTimings(base::JsonWriter& json, const v1::Usage& usage, const v1::Timings& timings);
// {"id","type":"function","function":{"name","arguments"}}
void WriteToolCall(base::JsonWriter& json, const v1::ToolCall& call);

// A streamed answer: chunks of one choice each, then usage when asked for, then [DONE]. The encoder
// of a surface brings what stands in a choice.
class AnswerStream : public GenerationEncoder {
 public:
  std::string_view content_type() const final { return kSseType; }
  void Begin(std::string*) final {}
  void OnEvent(const v1::GenerateEvent& event, std::string* out) final;
  void End(std::string* out) final;
  // The usage is sent in any case, and before the finish_reason (profile kt-legacy).
  void PutUsageFirst() { usage_first_ = true; }
  // No blank line after the comment: a decoder that saw an id would take it for an empty event.
  void KeepAlive(std::string* out) final { *out += ": ping\n"; }
  // And no [DONE]: that would say the answer is complete.
  void Error(const ErrorInfo& error, std::string* out) final;

 protected:
  // `object` is a constant: "chat.completion.chunk".
  AnswerStream(AnswerIdentity identity, std::string_view object, bool include_usage,
               Reports reports)
      : identity_(std::move(identity)),
        object_(object),
        include_usage_(include_usage),
        reports_(reports) {}

  virtual void OnAccepted(std::string* out) = 0;
  virtual void OnPrompt(const v1::PromptLogprobs&, std::string*) {}
  virtual void OnDelta(const v1::Delta& delta, std::string* out) = 0;
  virtual void OnFinished(const v1::Finished& finished, std::string* out) = 0;

  // One chunk; `write_choice` writes the members of its only choice.
  void Chunk(absl::FunctionRef<void(base::JsonWriter&)> write_choice, std::string* out);

 private:
  const AnswerIdentity identity_;
  const std::string_view object_;
  void SendUsage(std::string* out);
  void SendProgress(const v1::Progress& progress, std::string* out);

  const bool include_usage_;
  const Reports reports_;
  bool usage_first_ = false;
  std::string fingerprint_;
  v1::Accepted accepted_;
  base::SteadyTime accepted_at_;
  v1::Usage usage_;
  v1::Timings timings_;
  const v1::Finished* finished_ = nullptr;  // whose last chunk is being written
};

}  // namespace conclave::gateway::openai
