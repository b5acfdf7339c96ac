#include "engine/chat/parsers/tag_scanner.h"

#include <algorithm>
#include <utility>

namespace conclave::engine {
namespace {

constexpr std::string_view kSpaces = " \t\r\n";

// How many bytes at the end of `text` begin `tag` without being all of it.
size_t BeginningAtEnd(std::string_view text, std::string_view tag) {
  for (size_t length = std::min(text.size(), tag.size() - 1); length > 0; --length) {
    if (tag.starts_with(text.substr(text.size() - length))) return length;
  }
  return 0;
}

size_t WithoutSpaces(std::string_view text) { return text.find_last_not_of(kSpaces) + 1; }

}  // namespace

std::string TagScanner::TakeUntil(std::string_view tag, bool hold_spaces, bool* found) {
  const size_t at = buffer_.find(tag);
  *found = at != std::string::npos;
  size_t end = *found ? at : buffer_.size() - BeginningAtEnd(buffer_, tag);
  std::string out = buffer_.substr(0, end);
  if (hold_spaces) out.resize(WithoutSpaces(out));
  buffer_.erase(0, *found ? at + tag.size() : out.size());
  return out;
}

std::string TagScanner::TakeAll() { return std::exchange(buffer_, ""); }

bool TagScanner::SkipSpaces() {
  buffer_.erase(0, std::min(buffer_.find_first_not_of(kSpaces), buffer_.size()));
  return !buffer_.empty();
}

}  // namespace conclave::engine
