// What the calls of the service share.
#pragma once

#include <string>

#include "base/metrics.h"
#include "conclave/v1/embedding.pb.h"
#include "embed/served_model.h"

namespace conclave::embed {

struct EmbedMetrics {
  base::Counter ok;
  base::Counter refused;
  base::Counter cancelled;
  base::Counter tokens;
  base::Histogram request_seconds;
};
EmbedMetrics MakeEmbedMetrics(base::Metrics* metrics, const std::string& model_name);

Truncate ToTruncate(conclave::v1::EmbedRequest::Truncate truncate);

}  // namespace conclave::embed
