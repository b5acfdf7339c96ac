// Finds stop strings in text that comes in pieces. What could still become a stop string is held
// back; text before a match is given out, the stop string and all after it are not.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace conclave::engine {

// One per output. Not thread-safe.
class StopMatcher final {
 public:
  static constexpr size_t kStopsMax = 16;
  static constexpr size_t kStopBytesMax = 1024;

  // INVALID_ARGUMENT "stop: …": more than 16, an empty one, or one longer than 1024 bytes.
  static absl::StatusOr<StopMatcher> Make(std::vector<std::string> stops);
  StopMatcher() = default;  // no stop strings: everything passes

  // The text that may be given out now. After a match it is always empty.
  std::string Feed(std::string_view text);
  // The output ended: what was held back.
  std::string Finish();

  bool matched() const { return matched_ >= 0; }
  // The stop string that ended the output; "" while none did.
  std::string_view matched_stop() const;

 private:
  // How many bytes at the end of what is held could begin a stop string.
  size_t HeldSuffix() const;

  std::vector<std::string> stops_;
  std::string held_;
  int matched_ = -1;
};

}  // namespace conclave::engine
