#include "embed/call.h"

namespace conclave::embed {

namespace pb = conclave::v1;

EmbedMetrics MakeEmbedMetrics(base::Metrics* metrics, const std::string& model_name) {
  const auto requests = [&](const char* end) {
    return metrics->AddCounter("conclave_requests_total", "Requests by how they ended.",
                               {{"model_name", model_name}, {"end", end}});
  };
  EmbedMetrics m;
  m.ok = requests("ok");
  m.refused = requests("refused");
  m.cancelled = requests("cancelled");
  m.tokens = metrics->AddCounter("conclave_tokens_total", "Tokens by kind.",
                                 {{"model_name", model_name}, {"kind", "prompt"}});
  m.request_seconds =
      metrics->AddHistogram("conclave_request_seconds", "Arrival to end.",
                            base::RequestSecondsBuckets(), {{"model_name", model_name}});
  return m;
}

std::optional<std::chrono::milliseconds> KeepAliveOf(const pb::RequestMeta& meta) {
  if (!meta.has_keep_alive_ms()) return std::nullopt;
  return base::KeepAliveOfMillis(meta.keep_alive_ms());
}

Truncate ToTruncate(pb::EmbedRequest::Truncate truncate) {
  if (truncate == pb::EmbedRequest::TRUNCATE_NONE) return Truncate::kNone;
  if (truncate == pb::EmbedRequest::TRUNCATE_START) return Truncate::kStart;
  return Truncate::kEnd;
}

}  // namespace conclave::embed
