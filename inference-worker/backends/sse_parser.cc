#include "backends/sse_parser.h"

#include <utility>

#include "base/status.h"

namespace conclave::backends {
namespace {

absl::Status TooLong() {
  return base::WithReason(
      base::ResourceExhausted("the remote server sent an event longer than 1 MiB"),
      "upstream_invalid");
}

}  // namespace

absl::Status SseParser::Feed(std::string_view bytes) {
  if (!status_.ok()) return status_;
  bytes_.erase(0, std::exchange(position_, 0));
  bytes_ += bytes;
  // Whole events may wait here; one line may not be that long.
  const size_t last = bytes_.find_last_of("\r\n");
  const size_t tail = last == std::string::npos ? bytes_.size() : bytes_.size() - last;
  if (tail > kEventBytesMax) status_ = TooLong();
  return status_;
}

std::optional<SseEvent> SseParser::Next() {
  while (status_.ok()) {
    if (skip_feed_ && position_ < bytes_.size()) {
      if (bytes_[position_] == '\n') ++position_;
      skip_feed_ = false;
    }
    const size_t end = bytes_.find_first_of("\r\n", position_);
    if (end == std::string::npos) return std::nullopt;
    skip_feed_ = bytes_[end] == '\r';
    EndLine(std::string_view(bytes_).substr(position_, end - position_));
    position_ = end + 1;
    if (event_.data.size() > kEventBytesMax) {
      status_ = TooLong();
      return std::nullopt;
    }
    if (!std::exchange(complete_, false)) continue;
    has_data_ = false;
    return std::exchange(event_, {});
  }
  return std::nullopt;
}

void SseParser::EndLine(std::string_view line) {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  if (std::exchange(first_line_, false) && line.substr(0, 3) == kByteOrderMark) {
    line.remove_prefix(3);
  }
  if (line.empty()) {
    complete_ = has_data_;
    if (!complete_) event_.name.clear();
    return;
  }
  const size_t colon = line.find(':');
  const std::string_view field = line.substr(0, colon);
  std::string_view value =
      colon == std::string_view::npos ? std::string_view() : line.substr(colon + 1);
  if (!value.empty() && value.front() == ' ') value.remove_prefix(1);
  if (field == "data") {
    if (std::exchange(has_data_, true)) event_.data += '\n';
    event_.data += value;
  } else if (field == "event") {
    event_.name = value;
  }
}

}  // namespace conclave::backends
