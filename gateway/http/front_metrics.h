// The gateway's own series. Everything with a label of few values is made once and kept; per
// request there is one look-up under a lock, per token none.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "base/metrics.h"

namespace conclave::gateway {

// Of one model; shared by its requests.
struct ModelMetrics {
  base::Histogram ttft_seconds;
  base::Histogram itl_seconds;
  base::Counter prompt_tokens;
  base::Counter cached_tokens;
  base::Counter completion_tokens;
  base::Counter reasoning_tokens;
};

class FrontMetrics final {
 public:
  // `metrics` may be null (tests): every handle then does nothing.
  explicit FrontMetrics(base::Metrics* metrics);

  // `route` is a pattern of ours, never the path of a request.
  void CountRequest(std::string_view route, int status, double seconds);
  void CountRejected(std::string_view reason);
  // `model` must be a name the fleet serves.
  std::shared_ptr<const ModelMetrics> ForModel(const std::string& model);

  base::Histogram cancel_seconds;   // client gone → upstream call over
  base::Histogram queue_seconds;    // in the gateway's queue
  base::Gauge stream_buffer_bytes;  // received from workers, not yet written to clients
  base::Gauge streams;              // answers being streamed

 private:
  base::Metrics* const metrics_;
  std::mutex mutex_;
  std::map<std::pair<std::string, int>, base::Counter> requests_;
  std::map<std::string, base::Histogram, std::less<>> seconds_;
  std::map<std::string, base::Counter, std::less<>> rejected_;
  std::map<std::string, std::shared_ptr<const ModelMetrics>> models_;
};

}  // namespace conclave::gateway
