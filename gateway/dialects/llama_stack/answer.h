// The answers of inference in one piece, and what streams share with them.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "gateway/dialects/generation.h"
#include "gateway/dialects/llama_stack/wire.h"

namespace conclave::gateway::llama_stack {

// A JSON string.
std::string JsonText(std::string_view text);

std::string_view StopReason(const v1::Finished& finished);

// "logprobs": one {"logprobs_by_token":{token: logprob}} for each token; null when there is none.
void WriteLogprobs(base::JsonWriter& json, const std::vector<v1::TokenLogprob>& logprobs);
// {"call_id","tool_name","arguments",…}; the call's arguments must be an object.
std::string ToolCallJson(const Wire& wire, const v1::ToolCall& call);
// "metrics", on wires that have them.
void WriteMetrics(base::JsonWriter& json, const Wire& wire, const v1::Usage& usage);

std::string EncodeChat(const Wire& wire, const Completion& completion);
std::string EncodeCompletion(const Wire& wire, const Completion& completion);
// Of a batch: a choice for each entry. The metrics count all of them together.
std::string EncodeChatBatch(const Wire& wire, const Completion& completion);
std::string EncodeCompletionBatch(const Wire& wire, const Completion& completion);

}  // namespace conclave::gateway::llama_stack
