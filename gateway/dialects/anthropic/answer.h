// What an answer in one piece and a stream have in common, and the answer in one piece.
#pragma once

#include <string>
#include <string_view>

#include "base/json.h"
#include "gateway/dialects/generation.h"

namespace conclave::gateway::anthropic {

// What is fixed before the first token.
struct MessageShape {
  std::string id;     // "msg_…"
  std::string model;  // as the request named it
  bool omit_thinking = false;
};

// Nothing is signed: a model of this server takes its thinking back without proof. Clients want the
// field, and some drop blocks where it is empty.
inline constexpr std::string_view kSignature = "unsigned";

// "call_x" → "toolu_x".
std::string ToolUseId(std::string_view call_id);

// The members of `usage` that every mention of it has. input_tokens are those that no cache had.
void WriteUsageCounts(base::JsonWriter& json, const v1::Usage& usage);

// {"id","type":"message",…,"content":…,"usage"}: `content` is the array as JSON, `finished` null at
// the beginning of a stream.
std::string MessageJson(const MessageShape& shape, std::string_view content, const v1::Usage& usage,
                        const v1::Finished* finished);

// stop_reason and stop_sequence; null both without `finished`.
void WriteStopReason(base::JsonWriter& json, const v1::Finished* finished);

std::string EncodeMessage(const MessageShape& shape, const Completion& completion);

}  // namespace conclave::gateway::anthropic
