#include "backends/prompt_teller.h"

#include <utility>

namespace conclave::backends {

std::optional<PromptTokens> PromptTeller::Add(TokenLogprob token) {
  piece_.text += decoder_.Append(token.id);
  piece_.tokens.push_back(std::move(token));
  --tokens_left_;
  if (tokens_left_ > 0 && piece_.tokens.size() < PromptTokens::kMax) return std::nullopt;
  if (tokens_left_ == 0) piece_.text += decoder_.Finish();
  piece_.position = next_position_;
  next_position_ += static_cast<int32_t>(piece_.tokens.size());
  return std::exchange(piece_, {});
}

}  // namespace conclave::backends
