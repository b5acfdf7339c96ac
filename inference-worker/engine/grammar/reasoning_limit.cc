#include "engine/grammar/reasoning_limit.h"

#include <algorithm>

namespace conclave::engine::grammar {

ReasoningFollower::ReasoningFollower(const ReasoningLimit* limit, size_t lead)
    : limit_(*limit), lead_(lead), place_(limit->open ? Place::kInside : Place::kBefore) {
  if (limit_.open) Check();
}

std::optional<TokenId> ReasoningFollower::forced() const {
  if (place_ != Place::kClosing) return std::nullopt;
  return limit_.closing[next_];
}

void ReasoningFollower::Accept(TokenId, std::string_view bytes) {
  switch (place_) {
    case Place::kBefore:
      return Begin(bytes);
    case Place::kInside:
      return Count(bytes);
    case Place::kClosing:
      if (++next_ == limit_.closing.size()) place_ = Place::kOutside;
      return;
    case Place::kOutside:
      return;
  }
}

void ReasoningFollower::Begin(std::string_view bytes) {
  text_ += bytes;
  const size_t begin = std::min(text_.find_first_not_of(" \t\r\n"), text_.size());
  const std::string_view rest = std::string_view(text_).substr(begin);
  if (rest.starts_with(limit_.begin)) {
    place_ = Place::kInside;
    text_.clear();
    Check();
  } else if (!std::string_view(limit_.begin).starts_with(rest)) {
    place_ = Place::kOutside;
    text_.clear();
  }
}

void ReasoningFollower::Count(std::string_view bytes) {
  ++count_;
  text_ += bytes;
  if (text_.find(limit_.end) != std::string::npos) {
    place_ = Place::kOutside;
    return;
  }
  // Only the beginning of a tag can matter later.
  const size_t kept = std::min(text_.size(), limit_.end.size() - 1);
  text_.erase(0, text_.size() - kept);
  Check();
}

void ReasoningFollower::Check() {
  if (static_cast<size_t>(count_) + lead_ < static_cast<size_t>(limit_.max_tokens)) return;
  place_ = Place::kClosing;
  // Where there is no room for what should stand in front of the tag, it stands alone.
  if (static_cast<size_t>(limit_.max_tokens) < lead_) next_ = lead_;
}

}  // namespace conclave::engine::grammar
