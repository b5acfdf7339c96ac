// What the calls of the service share.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/metrics.h"
#include "conclave/v1/embedding.pb.h"
#include "embed/model_slot.h"

namespace conclave::embed {

struct EmbedMetrics {
  base::Counter ok;
  base::Counter refused;
  base::Counter cancelled;
  base::Counter tokens;
  base::Histogram request_seconds;
};
EmbedMetrics MakeEmbedMetrics(base::Metrics* metrics, const std::string& model_name);

std::optional<std::chrono::milliseconds> KeepAliveOf(const conclave::v1::RequestMeta& meta);
Truncate ToTruncate(conclave::v1::EmbedRequest::Truncate truncate);

}  // namespace conclave::embed
