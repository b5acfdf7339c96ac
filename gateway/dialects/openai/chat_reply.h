// POST /v1/chat/completions: the answer, in one piece and streamed.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/json.h"
#include "gateway/dialects/generation.h"

namespace conclave::gateway::openai {

// What all chunks of an answer share.
struct AnswerIdentity {
  std::string id;       // "chatcmpl-…"
  int64_t created = 0;  // Unix seconds
  std::string model;    // as the request named it
};

std::string EncodeChatCompletion(const AnswerIdentity& identity, const Completion& completion,
                                 bool with_logprobs);

// Chunks in the order the SDKs want: role, deltas, finish_reason, usage when asked for, [DONE].
class ChatStreamEncoder final : public GenerationEncoder {
 public:
  ChatStreamEncoder(AnswerIdentity identity, bool include_usage, bool with_logprobs);

  std::string_view content_type() const override;
  void Begin(std::string* out) override;
  void OnEvent(const v1::GenerateEvent& event, std::string* out) override;
  void End(std::string* out) override;
  void KeepAlive(std::string* out) override;
  void Error(const ErrorInfo& error, std::string* out) override;

 private:
  struct ChoiceState {
    bool role_sent = false;
    std::vector<v1::TokenLogprob> logprobs;  // of tokens whose text is still held back
    std::map<int, bool> call_has_arguments;  // by index of the call
  };

  void OnDelta(const v1::Delta& delta, std::string* out);
  void OnFinished(const v1::Finished& finished, std::string* out);
  void SendRole(int index, std::string* out);
  // One chunk: `delta_json` is the delta object, `finish` "" for null.
  void Chunk(int index, std::string_view delta_json, std::string_view finish, std::string* out);
  std::string ToolCallDelta(const v1::ToolCallDelta& call, ChoiceState* choice);

  const AnswerIdentity identity_;
  const bool include_usage_;
  const bool with_logprobs_;
  std::string fingerprint_;
  std::map<int, ChoiceState> choices_;
  v1::Usage usage_;
};

// Shared with completions and assistants.
void WriteUsage(base::JsonWriter& json, const v1::Usage& usage);
std::string_view FinishReasonName(v1::Finished::Reason reason);
// "fp_" and the first digits of the model revision.
std::string FingerprintOf(const v1::Accepted& accepted);
// An SSE event of one data line.
void AppendSse(std::string_view data, std::string* out);

}  // namespace conclave::gateway::openai
