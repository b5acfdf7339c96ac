// What chat and generate do alike once their requests are decoded.
#pragma once

#include <vector>

#include "gateway/dialects/ollama/options.h"
#include "gateway/dialects/ollama/stream.h"

namespace conclave::gateway::ollama {

// Sets the model by its own name, and the defaults of sampling. NOT_FOUND "model 'x' not found";
// INVALID_ARGUMENT when it cannot do what the request asks: "\"x\" does not support <verb>", or
// "tools", or "thinking".
// A name that nobody knows is the default model's in the profiles that forgive it.
absl::Status SetModel(const Services& services, const Request& http, const std::string& name,
                      std::string_view verb, v1::GenerateRequest* request);

// A request that asks for nothing but the model: has it loaded, or let go of, and says so.
Task<void> Keep(const Services& services, Exchange& exchange, const v1::GenerateRequest& request,
                const ReplyShape& shape);

// A generation, streamed or in one piece.
//   prompt_ids: the tokens in front of the generated ones; with them the answer has a context.
Task<void> Answer(const Services& services, Exchange& exchange, v1::GenerateRequest request,
                  ReplyShape shape, bool stream, std::vector<int32_t> prompt_ids);

}  // namespace conclave::gateway::ollama
