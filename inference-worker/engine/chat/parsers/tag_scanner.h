// Looks for one tag in text that comes in pieces.
#pragma once

#include <string>
#include <string_view>

namespace conclave::engine {

// Text goes in at the back and comes out at the front. Not thread-safe.
class TagScanner final {
 public:
  void Append(std::string_view text) { buffer_.append(text); }

  // Takes the text in front of the first `tag`, and the tag itself (found), or, when there is none,
  // all text that cannot belong to one. With `hold_spaces`, spaces at the end stay as well, and go
  // with the tag when it comes.
  std::string TakeUntil(std::string_view tag, bool hold_spaces, bool* found);

  // Takes all there is.
  std::string TakeAll();
  // Takes spaces at the front; false when nothing else is there yet.
  bool SkipSpaces();
  // Takes `count` bytes from the front.
  void Drop(size_t count) { buffer_.erase(0, count); }

  std::string_view text() const { return buffer_; }
  bool empty() const { return buffer_.empty(); }
  // Whether what is there could be the beginning of `tag`.
  bool CouldBegin(std::string_view tag) const { return tag.starts_with(buffer_); }

 private:
  std::string buffer_;
};

}  // namespace conclave::engine
