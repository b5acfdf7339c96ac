// A streamed answer: message_start, the blocks one after the other, message_delta, message_stop.
// https://docs.claude.com/en/docs/build-with-claude/streaming
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "gateway/dialects/anthropic/answer.h"
#include "gateway/dialects/sse.h"

namespace conclave::gateway::anthropic {

class MessageStream final : public GenerationEncoder {
 public:
  explicit MessageStream(MessageShape shape) : shape_(std::move(shape)) {}

  std::string_view content_type() const override { return kSseType; }
  void Begin(std::string*) override {}
  void OnEvent(const v1::GenerateEvent& event, std::string* out) override;
  void End(std::string* out) override;
  void KeepAlive(std::string* out) override;
  void Error(const ErrorInfo& error, std::string* out) override;
  // INTERNAL when a call turns out to be none: its beginning is with the client already.
  absl::Status status() const override { return status_; }

 private:
  enum class Block { kNone, kText, kThinking, kToolUse };

  void OnAccepted(const v1::Accepted& accepted, std::string* out);
  void OnDelta(const v1::Delta& delta, std::string* out);
  void OnToolCall(const v1::ToolCallDelta& call, std::string* out);
  // Makes `kind` the open block; `start_json` is its content_block.
  void Open(Block kind, std::string_view start_json, std::string* out);
  void Close(std::string* out);
  // A content_block_delta of one text field.
  void BlockDelta(std::string_view type, std::string_view field, std::string_view text,
                  std::string* out);
  void Fail();

  const MessageShape shape_;
  bool started_ = false;
  Block block_ = Block::kNone;
  int index_ = -1;               // of the open block, or of the last
  bool call_has_input_ = false;  // of the open tool_use block
  bool call_broken_ = false;     // its input ended without being an object
  v1::Finished finished_;
  absl::Status status_;
};

}  // namespace conclave::gateway::anthropic
