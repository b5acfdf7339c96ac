// How long a model stays in memory after its last request.
#pragma once

#include <chrono>
#include <cstdint>
#include <string_view>

#include "absl/status/statusor.h"

namespace conclave::base {

// Of a keep-alive; so is every negative one.
constexpr std::chrono::milliseconds kForever{-1};

constexpr std::chrono::milliseconds KeepAliveOfMillis(int64_t ms) {
  return ms < 0 ? kForever : std::chrono::milliseconds(ms);
}

// "forever", "-1" or a duration (options.h). INVALID_ARGUMENT.
absl::StatusOr<std::chrono::milliseconds> ParseKeepAlive(std::string_view text);

}  // namespace conclave::base
