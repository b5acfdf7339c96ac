// What a worker shows under /metrics. The vllm:* names are the contract that schedulers and
// autoscalers of the field read; the conclave_* ones are ours.
#pragma once

#include <mutex>
#include <string>
#include <unordered_map>

#include "base/metrics.h"
#include "worker/model_host.h"

namespace conclave::worker {

// The handles of one model. Cheap to copy.
struct ModelMetrics {
  base::Counter prompt_tokens;
  base::Counter completion_tokens;
  base::Counter cached_tokens;
  base::Counter finished_stop;
  base::Counter finished_length;
  base::Counter finished_tool_calls;
  base::Counter cancelled;
  base::Counter failed;
  base::Counter refused;
  base::Histogram queue_seconds;
  base::Histogram ttft_seconds;
  base::Histogram itl_seconds;
  base::Histogram request_seconds;
  base::Histogram cancel_seconds;  // from the caller's hang-up to the backend's last word
};

// Thread-safe. `metrics` and `host` outlive it; gauges are read from the host at every scrape.
class WorkerMetrics final {
 public:
  WorkerMetrics(base::Metrics* metrics, const ModelHost* host);

  // Made at the first request of a model.
  ModelMetrics Of(const std::string& model_name);

 private:
  struct Gauges {
    base::Gauge waiting;
    base::Gauge running;
    base::Gauge kv_usage;
    base::Gauge slots;
    base::Gauge kv_blocks_used;
    base::Gauge decode_tps;
    base::Gauge step_ms;
    base::Gauge preempted;
  };
  // Of models whose experts are shared between a device and the processors.
  struct ExpertGauges {
    base::Gauge device_share;
    base::Gauge device_selections;
    base::Gauge selections;
    base::Gauge exchanges;
    base::Gauge moved_bytes;
  };
  void CollectMemory();
  void Collect();
  void CollectExperts(const std::string& model_name, const backends::ExpertReport& report);
  Gauges& GaugesOf(const std::string& model_name, const backends::Load& load);

  base::Metrics* const metrics_;
  const ModelHost* const host_;
  const base::Gauge memory_budget_;
  const base::Gauge memory_used_;
  std::mutex mutex_;
  std::unordered_map<std::string, ModelMetrics> by_model_;
  std::unordered_map<std::string, Gauges> gauges_;
  std::unordered_map<std::string, ExpertGauges> expert_gauges_;
  std::unordered_map<std::string, base::Gauge> model_bytes_;
};

}  // namespace conclave::worker
