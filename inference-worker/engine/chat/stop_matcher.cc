#include "engine/chat/stop_matcher.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace conclave::engine {

absl::StatusOr<StopMatcher> StopMatcher::Make(std::vector<std::string> stops) {
  if (stops.size() > kStopsMax) {
    return base::InvalidArgument(
        absl::StrCat("stop: at most ", kStopsMax, " strings, got ", stops.size()));
  }
  for (size_t i = 0; i < stops.size(); ++i) {
    if (stops[i].empty()) return base::InvalidArgument(absl::StrCat("stop[", i, "]: is empty"));
    if (stops[i].size() > kStopBytesMax) {
      return base::InvalidArgument(
          absl::StrCat("stop[", i, "]: longer than ", kStopBytesMax, " bytes"));
    }
  }
  StopMatcher matcher;
  matcher.stops_ = std::move(stops);
  return matcher;
}

std::string StopMatcher::Feed(std::string_view text) {
  if (matched()) return "";
  if (stops_.empty()) return std::string(text);
  held_.append(text);
  // The stop string that is complete first wins, of several the longest: so the answer does not
  // depend on how the text was cut.
  size_t best_end = std::string::npos;
  for (size_t i = 0; i < stops_.size(); ++i) {
    const size_t begin = held_.find(stops_[i]);
    if (begin == std::string::npos) continue;
    const size_t end = begin + stops_[i].size();
    const bool longer =
        matched() && stops_[i].size() > stops_[static_cast<size_t>(matched_)].size();
    if (best_end == std::string::npos || end < best_end || (end == best_end && longer)) {
      best_end = end;
      matched_ = static_cast<int>(i);
    }
  }
  if (matched()) {
    std::string before = held_.substr(0, best_end - matched_stop().size());
    held_.clear();
    return before;
  }
  const size_t hold = HeldSuffix();
  std::string out = held_.substr(0, held_.size() - hold);
  held_.erase(0, out.size());
  return out;
}

std::string StopMatcher::Finish() { return std::exchange(held_, ""); }

std::string_view StopMatcher::matched_stop() const {
  return matched() ? std::string_view(stops_[static_cast<size_t>(matched_)]) : std::string_view();
}

size_t StopMatcher::HeldSuffix() const {
  size_t longest = 0;
  for (const std::string& stop : stops_) longest = std::max(longest, stop.size() - 1);
  for (size_t length = std::min(longest, held_.size()); length > 0; --length) {
    const std::string_view suffix = std::string_view(held_).substr(held_.size() - length);
    for (const std::string& stop : stops_) {
      if (stop.size() > length && std::string_view(stop).starts_with(suffix)) return length;
    }
  }
  return 0;
}

}  // namespace conclave::engine
