// Streamed answers: events of a chat, chunks of a completion. Neither wire ends with [DONE]: its
// clients would read that as JSON.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/dialects/llama_stack/answer.h"
#include "gateway/dialects/sse.h"

namespace conclave::gateway::llama_stack {

// The frame of both, and the logprobs of tokens whose text is still held back.
class InferenceStream : public GenerationEncoder {
 public:
  // `cumulative`: each event has the logprobs of all tokens so far (profile ls-seed).
  InferenceStream(const Wire& wire, bool cumulative) : wire_(wire), cumulative_(cumulative) {}

  std::string_view content_type() const final { return kSseType; }
  void Begin(std::string*) final {}
  void End(std::string*) final {}
  void OnEvent(const v1::GenerateEvent& event, std::string* out) final;
  void KeepAlive(std::string* out) final { *out += ": ping\n"; }
  void Error(const ErrorInfo& error, std::string* out) final;

 protected:
  const Wire& wire() const { return wire_; }
  // Writes "logprobs" and lets go of those that are said.
  void WritePendingLogprobs(base::JsonWriter& json);

 private:
  virtual void OnAccepted(std::string* out) = 0;
  virtual void OnDelta(const v1::Delta& delta, std::string* out) = 0;
  virtual void OnFinished(const v1::Finished& finished, std::string* out) = 0;

  const Wire& wire_;
  const bool cumulative_;
  std::vector<v1::TokenLogprob> logprobs_;
};

// start, progress for each delta, progress with the reason to stop and with each whole call,
// complete.
class ChatStream final : public InferenceStream {
 public:
  using InferenceStream::InferenceStream;

 private:
  struct Call {
    v1::ToolCall call;
    bool broken = false;
  };
  struct Event {
    std::string_view type;
    std::string delta;  // JSON
    std::string_view stop_reason = {};
    std::string_view reasoning = {};
    const v1::Usage* usage = nullptr;
  };

  void OnAccepted(std::string* out) override;
  void OnDelta(const v1::Delta& delta, std::string* out) override;
  void OnToolCall(const v1::ToolCallDelta& delta, std::string* out);
  void OnFinished(const v1::Finished& finished, std::string* out) override;
  void Send(const Event& event, std::string* out);
  std::string TextDelta(std::string_view text) const;
  // `content` is JSON: a quoted fragment, or a whole call.
  std::string CallDelta(std::string_view content, std::string_view status) const;

  bool started_ = false;
  bool in_call_ = false;       // what came last belongs to a call
  std::map<int, Call> calls_;  // by index
};

class CompletionStream final : public InferenceStream {
 public:
  using InferenceStream::InferenceStream;

 private:
  void OnAccepted(std::string*) override {}
  void OnDelta(const v1::Delta& delta, std::string* out) override;
  void OnFinished(const v1::Finished& finished, std::string* out) override;
  void Send(std::string_view text, const v1::Finished* finished, std::string* out);
};

}  // namespace conclave::gateway::llama_stack
