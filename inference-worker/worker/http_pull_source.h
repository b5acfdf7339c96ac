// A pull_source.h behind HTTP: files as they are, or a registry of Ollama's kind. A mirror is whom
// the configuration names and nobody else: redirects are not followed, and its name may not lead
// where http_policy.h forbids.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "backends/http_client.h"
#include "worker/pull_source.h"

namespace conclave::worker {

// Of one file; a large one takes its time.
inline constexpr backends::HttpTimes kMirrorTimes{.first_byte = std::chrono::seconds(30),
                                                  .total = std::chrono::hours(24)};

// INVALID_ARGUMENT: no http or https URL of a folder.
absl::StatusOr<std::unique_ptr<PullSource>> OpenHttpSource(
    const std::string& url, const backends::HttpTimes& times = kMirrorTimes);

}  // namespace conclave::worker
