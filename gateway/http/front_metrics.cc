#include "gateway/http/front_metrics.h"

namespace conclave::gateway {

using base::RequestSecondsBuckets;
using base::TokenSecondsBuckets;

FrontMetrics::FrontMetrics(base::Metrics* metrics) : metrics_(metrics) {
  if (metrics_ == nullptr) return;
  cancel_seconds = metrics_->AddHistogram(
      "conclave_cancel_seconds", "From the client's going to the end of the upstream call.",
      TokenSecondsBuckets());
  queue_seconds = metrics_->AddHistogram("conclave_queue_seconds", "Waited in the gateway's queue.",
                                         RequestSecondsBuckets());
  stream_buffer_bytes = metrics_->AddGauge("conclave_stream_buffer_bytes",
                                           "Received from workers, not yet written to clients.");
  streams = metrics_->AddGauge("conclave_streams", "Answers being streamed.");
}

void FrontMetrics::CountRequest(std::string_view route, int status, double seconds) {
  if (metrics_ == nullptr) return;
  const std::lock_guard lock(mutex_);
  const std::string name(route);
  const auto [counter, fresh] = requests_.try_emplace({name, status});
  if (fresh) {
    counter->second = metrics_->AddCounter("conclave_http_requests_total", "Requests answered.",
                                           {{"route", name}, {"code", std::to_string(status)}});
  }
  counter->second.Add();
  const auto [histogram, first] = seconds_.try_emplace(name);
  if (first) {
    histogram->second = metrics_->AddHistogram("conclave_request_seconds", "From head to answer.",
                                               RequestSecondsBuckets(), {{"route", name}});
  }
  histogram->second.Observe(seconds);
}

void FrontMetrics::CountRejected(std::string_view reason) {
  if (metrics_ == nullptr) return;
  const std::lock_guard lock(mutex_);
  const auto [counter, fresh] = rejected_.try_emplace(std::string(reason));
  if (fresh) {
    counter->second =
        metrics_->AddCounter("conclave_http_rejected_total", "Refused before a handler saw them.",
                             {{"reason", std::string(reason)}});
  }
  counter->second.Add();
}

std::shared_ptr<const ModelMetrics> FrontMetrics::ForModel(const std::string& model) {
  const std::lock_guard lock(mutex_);
  auto& entry = models_[model];
  if (entry) return entry;
  auto made = std::make_shared<ModelMetrics>();
  if (metrics_ != nullptr) {
    const base::MetricLabels label = {{"model", model}};
    made->ttft_seconds = metrics_->AddHistogram(
        "conclave_ttft_seconds", "From head to first token.", RequestSecondsBuckets(), label);
    made->itl_seconds = metrics_->AddHistogram(
        "conclave_itl_seconds", "Between tokens of a stream.", TokenSecondsBuckets(), label);
    const auto tokens = [&](const std::string& kind) {
      return metrics_->AddCounter("conclave_tokens_total", "Tokens by kind.",
                                  {{"model", model}, {"kind", kind}});
    };
    made->prompt_tokens = tokens("prompt");
    made->cached_tokens = tokens("cached");
    made->completion_tokens = tokens("completion");
    made->reasoning_tokens = tokens("reasoning");
  }
  entry = std::move(made);
  return entry;
}

}  // namespace conclave::gateway
