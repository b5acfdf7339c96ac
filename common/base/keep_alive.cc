#include "base/keep_alive.h"

#include "base/options.h"
#include "base/status.h"

namespace conclave::base {

absl::StatusOr<std::chrono::milliseconds> ParseKeepAlive(std::string_view text) {
  if (text == "forever" || text == "-1") return kForever;
  absl::StatusOr<std::chrono::milliseconds> time = ParseDuration(text);
  if (!time.ok()) return Annotate(time.status(), "keep-alive");
  return time;
}

}  // namespace conclave::base
