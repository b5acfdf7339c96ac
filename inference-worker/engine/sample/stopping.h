// When a generation is over, as far as token ids can tell. Stop strings live with the text, around
// the engine, and come back as SinkAction::kStop.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "engine/request.h"

namespace conclave::engine {

struct StoppingCriteria {
  std::vector<TokenId> stop_ids;  // sorted; the model's own among them unless ignore_eos
  int32_t max_output = 0;         // output tokens, resumed ones included; at least 1

  bool IsStop(TokenId token) const;

  // After a token was chosen. kStop: `token` is a stop id and is not part of the output. kLength:
  // `num_output` tokens, this one included, are all there may be.
  std::optional<FinishReason> Check(TokenId token, int32_t num_output) const;
};

// `context_length` bounds prompt and output together.
StoppingCriteria MakeStoppingCriteria(const GenerateRequest& request,
                                      const std::vector<TokenId>& model_stop_ids,
                                      int32_t context_length);

}  // namespace conclave::engine
