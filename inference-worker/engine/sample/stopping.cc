#include "engine/sample/stopping.h"

#include <algorithm>

namespace conclave::engine {

bool StoppingCriteria::IsStop(TokenId token) const {
  return std::binary_search(stop_ids.begin(), stop_ids.end(), token);
}

std::optional<FinishReason> StoppingCriteria::Check(TokenId token, int32_t num_output) const {
  if (IsStop(token)) return FinishReason::kStop;
  if (num_output >= max_output) return FinishReason::kLength;
  return std::nullopt;
}

StoppingCriteria MakeStoppingCriteria(const GenerateRequest& request,
                                      const std::vector<TokenId>& model_stop_ids,
                                      int32_t context_length) {
  StoppingCriteria criteria{.stop_ids = request.stop_ids};
  if (!request.sampling.ignore_eos) {
    criteria.stop_ids.insert(criteria.stop_ids.end(), model_stop_ids.begin(), model_stop_ids.end());
  }
  std::sort(criteria.stop_ids.begin(), criteria.stop_ids.end());
  criteria.stop_ids.erase(std::unique(criteria.stop_ids.begin(), criteria.stop_ids.end()),
                          criteria.stop_ids.end());
  // The last token is chosen but never computed, so output may end one past the context.
  const int32_t room = context_length - static_cast<int32_t>(request.prompt.size());
  criteria.max_output = request.max_tokens > 0 ? std::min(request.max_tokens, room) : room;
  criteria.max_output = std::max(criteria.max_output, 1);
  return criteria;
}

}  // namespace conclave::engine
