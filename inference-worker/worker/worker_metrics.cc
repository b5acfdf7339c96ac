#include "worker/worker_metrics.h"

#include "absl/strings/str_cat.h"

namespace conclave::worker {

WorkerMetrics::WorkerMetrics(base::Metrics* metrics, const ModelHost* host)
    : metrics_(metrics),
      host_(host),
      memory_budget_(metrics->AddGauge("conclave_model_memory_budget_bytes",
                                       "What models may take together.", {})),
      memory_used_(metrics->AddGauge("conclave_model_memory_used_bytes",
                                     "What models take that are loaded or being loaded.", {})) {
  metrics_->OnCollect([this] { Collect(); });
}

ModelMetrics WorkerMetrics::Of(const std::string& model_name) {
  const std::lock_guard lock(mutex_);
  if (const auto found = by_model_.find(model_name); found != by_model_.end()) return found->second;
  const auto tokens = [&](const char* kind) {
    return metrics_->AddCounter("conclave_tokens_total", "Tokens by kind.",
                                {{"model_name", model_name}, {"kind", kind}});
  };
  const auto requests = [&](const char* end) {
    return metrics_->AddCounter("conclave_requests_total", "Requests by how they ended.",
                                {{"model_name", model_name}, {"end", end}});
  };
  const auto seconds = [&](const char* name, const char* help, std::vector<double> buckets) {
    return metrics_->AddHistogram(name, help, buckets, {{"model_name", model_name}});
  };
  ModelMetrics m;
  m.prompt_tokens = tokens("prompt");
  m.completion_tokens = tokens("completion");
  m.cached_tokens = tokens("cached");
  m.finished_stop = requests("stop");
  m.finished_length = requests("length");
  m.finished_tool_calls = requests("tool_calls");
  m.cancelled = requests("cancelled");
  m.failed = requests("failed");
  m.refused = requests("refused");
  m.queue_seconds =
      seconds("conclave_queue_seconds", "Time in the queue.", base::RequestSecondsBuckets());
  m.ttft_seconds =
      seconds("conclave_ttft_seconds", "Arrival to first token.", base::RequestSecondsBuckets());
  m.itl_seconds =
      seconds("conclave_itl_seconds", "Between two tokens.", base::TokenSecondsBuckets());
  m.request_seconds =
      seconds("conclave_request_seconds", "Arrival to end.", base::RequestSecondsBuckets());
  m.cancel_seconds = seconds("conclave_cancel_seconds", "Hang-up of the caller to free slot.",
                             base::TokenSecondsBuckets());
  return by_model_.emplace(model_name, m).first->second;
}

WorkerMetrics::Gauges& WorkerMetrics::GaugesOf(const std::string& model_name,
                                               const backends::Load& load) {
  const auto found = gauges_.find(model_name);
  if (found != gauges_.end()) return found->second;
  const auto gauge = [&](const char* name, const char* help) {
    return metrics_->AddGauge(name, help, {{"model_name", model_name}});
  };
  Gauges g;
  g.waiting = gauge("vllm:num_requests_waiting", "Requests in the queue.");
  g.running = gauge("vllm:num_requests_running", "Requests that hold a slot.");
  g.kv_usage = gauge("vllm:kv_cache_usage_perc", "Share of the KV blocks in use, 0 to 1.");
  g.slots = gauge("conclave_slots", "Requests that can run at once.");
  g.kv_blocks_used = gauge("conclave_kv_blocks_used", "KV blocks held by requests.");
  g.decode_tps = gauge("conclave_decode_tokens_per_second", "Moving average.");
  g.step_ms = gauge("conclave_step_ms_p50", "Median of the latest steps.");
  g.preempted = gauge("conclave_preempted", "Preemptions since the model was loaded.");
  metrics_
      ->AddGauge("vllm:cache_config_info", "How the KV cache is cut.",
                 {{"model_name", model_name},
                  {"block_size", absl::StrCat(load.block_tokens)},
                  {"num_gpu_blocks", absl::StrCat(load.kv_blocks_total)}})
      .Set(1);
  return gauges_.emplace(model_name, g).first->second;
}

void WorkerMetrics::Collect() {
  const std::lock_guard lock(mutex_);
  CollectMemory();
  for (const auto& model : host_->List()) {
    const auto backend = model->backend();
    if (backend == nullptr) continue;
    const backends::Load load = backend->load();
    const Gauges& g = GaugesOf(model->name, load);
    g.waiting.Set(load.waiting);
    g.running.Set(load.running);
    g.slots.Set(load.slots);
    g.kv_blocks_used.Set(static_cast<double>(load.kv_blocks_used));
    g.kv_usage.Set(load.kv_blocks_total == 0 ? 0.0
                                             : static_cast<double>(load.kv_blocks_used) /
                                                   static_cast<double>(load.kv_blocks_total));
    g.decode_tps.Set(load.decode_tps);
    g.step_ms.Set(load.step_ms_p50);
    g.preempted.Set(static_cast<double>(load.preempted_total));
    // A derived model's experts are its base's.
    if (model->base().empty()) CollectExperts(model->name, backend->experts());
  }
}

void WorkerMetrics::CollectExperts(const std::string& model_name,
                                   const backends::ExpertReport& report) {
  if (report.layers.empty()) return;
  auto found = expert_gauges_.find(model_name);
  if (found == expert_gauges_.end()) {
    const auto gauge = [&](const char* name, const char* help) {
      return metrics_->AddGauge(name, help, {{"model_name", model_name}});
    };
    const ExpertGauges made = {
        .device_share = gauge("conclave_expert_device_share",
                              "Share of late choices of experts that the GPU has, 0 to 1."),
        .device_selections = gauge("conclave_expert_device_selections",
                                   "Choices of experts the GPU computed, since the load."),
        .selections =
            gauge("conclave_expert_selections", "Choices of shared experts, since the load."),
        .exchanges = gauge("conclave_expert_exchanges",
                           "Pairs of experts that changed places, since the load."),
        .moved_bytes = gauge("conclave_expert_moved_bytes", "Of those, both ways.")};
    found = expert_gauges_.emplace(model_name, made).first;
  }
  const ExpertGauges& g = found->second;
  g.device_share.Set(report.device_share);
  g.device_selections.Set(static_cast<double>(report.device_selections));
  g.selections.Set(static_cast<double>(report.selections));
  g.exchanges.Set(static_cast<double>(report.exchanges));
  g.moved_bytes.Set(static_cast<double>(report.moved_bytes));
}

// Models that are not in memory count 0; so do those that share another's.
void WorkerMetrics::CollectMemory() {
  const ModelHost::Memory memory = host_->memory();
  memory_budget_.Set(static_cast<double>(memory.budget));
  memory_used_.Set(static_cast<double>(memory.used));
  for (auto& [name, gauge] : model_bytes_) gauge.Set(0);
  for (const auto& model : host_->List()) {
    if (!model->base().empty()) continue;
    auto found = model_bytes_.find(model->name);
    if (found == model_bytes_.end()) {
      found = model_bytes_
                  .emplace(model->name, metrics_->AddGauge("conclave_model_memory_bytes",
                                                           "What the model takes in memory now.",
                                                           {{"model_name", model->name}}))
                  .first;
    }
    found->second.Set(static_cast<double>(model->life().bytes));
  }
}

}  // namespace conclave::worker
