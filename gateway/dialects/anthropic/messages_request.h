// POST /v1/messages and /v1/messages/count_tokens: the requests.
// https://docs.claude.com/en/api/messages
#pragma once

#include <string_view>

#include "base/status.h"
#include "conclave/v1/inference.pb.h"

namespace conclave::gateway::anthropic {

struct MessagesRequest {
  v1::GenerateRequest generate;
  bool stream = false;
  // thinking.display "omitted": its blocks are sent without their text.
  bool omit_thinking = false;
};

// INVALID_ARGUMENT and UNIMPLEMENTED name the field. A conversation that brings no system prompt
// gets `default_system_prompt` unless that is empty.
absl::StatusOr<MessagesRequest> DecodeMessagesRequest(std::string_view body,
                                                      std::string_view default_system_prompt);

// The same conversation, to be counted only.
absl::StatusOr<v1::TokenizeRequest> DecodeCountTokensRequest(
    std::string_view body, std::string_view default_system_prompt);

}  // namespace conclave::gateway::anthropic
