// What a request for a model hears when it cannot have it.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace conclave::worker {

constexpr std::chrono::milliseconds kLoadingRetryAfter{2'000};

inline absl::Status LoadingStatus(const std::string& name, double progress) {
  return base::WithRetryAfter(
      base::WithReason(base::Unavailable(absl::StrCat("the model \"", name, "\" is loading (",
                                                      static_cast<int>(progress * 100), " %)")),
                       "model_loading"),
      kLoadingRetryAfter);
}

}  // namespace conclave::worker
