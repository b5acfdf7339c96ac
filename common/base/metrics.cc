#include "base/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <mutex>

#include "base/check.h"
#include "base/log.h"

namespace conclave::base {
namespace {

// The series of one name. Holds what prometheus-cpp gave us, so that asking again is one look-up.
template <typename Series>
struct Family {
  prometheus::Family<Series>* family = nullptr;
  std::map<MetricLabels, Series*> series;
  bool overflow_logged = false;
};

template <typename Series>
using Families = std::map<std::string, Family<Series>>;

template <typename Series, typename Make>
Series* FindOrMake(Family<Series>& family, const std::string& name, const MetricLabels& labels,
                   const Make& make) {
  if (const auto it = family.series.find(labels); it != family.series.end()) return it->second;
  if (family.series.size() >= Metrics::kSeriesMax) {
    if (!std::exchange(family.overflow_logged, true)) {
      LogWarning("too many series of a metric; further ones are dropped", {{"metric", name}});
    }
    return nullptr;
  }
  Series* series = make();
  family.series.emplace(labels, series);
  return series;
}

template <typename Series>
bool RemoveFrom(Families<Series>& families, const std::string& name, const MetricLabels& labels) {
  const auto it = families.find(name);
  if (it == families.end()) return false;
  if (const auto series = it->second.series.find(labels); series != it->second.series.end()) {
    it->second.family->Remove(series->second);
    it->second.series.erase(series);
  }
  return true;
}

}  // namespace

void Counter::Add(double amount) const {
  if (series_ != nullptr) series_->Increment(amount);
}
double Counter::value() const { return series_ == nullptr ? 0 : series_->Value(); }

void Gauge::Set(double value) const {
  if (series_ != nullptr) series_->Set(value);
}
void Gauge::Add(double amount) const {
  if (series_ != nullptr) series_->Increment(amount);
}
double Gauge::value() const { return series_ == nullptr ? 0 : series_->Value(); }

void Histogram::Observe(double value) const {
  if (series_ != nullptr) series_->Observe(value);
}

std::vector<double> RequestSecondsBuckets() {
  return {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120};
}

std::vector<double> TokenSecondsBuckets() {
  return {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5};
}

struct Metrics::Impl {
  prometheus::Registry registry;
  std::mutex mutex;
  Families<prometheus::Counter> counters;
  Families<prometheus::Gauge> gauges;
  Families<prometheus::Histogram> histograms;
  std::vector<std::function<void()>> collectors;
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

Counter Metrics::AddCounter(const std::string& name, const std::string& help,
                            const MetricLabels& labels) {
  const std::lock_guard lock(impl_->mutex);
  CHECK(!impl_->gauges.contains(name) && !impl_->histograms.contains(name));
  Family<prometheus::Counter>& family = impl_->counters[name];
  if (family.family == nullptr) {
    family.family = &prometheus::BuildCounter().Name(name).Help(help).Register(impl_->registry);
  }
  return Counter(FindOrMake(family, name, labels, [&] { return &family.family->Add(labels); }));
}

Gauge Metrics::AddGauge(const std::string& name, const std::string& help,
                        const MetricLabels& labels) {
  const std::lock_guard lock(impl_->mutex);
  CHECK(!impl_->counters.contains(name) && !impl_->histograms.contains(name));
  Family<prometheus::Gauge>& family = impl_->gauges[name];
  if (family.family == nullptr) {
    family.family = &prometheus::BuildGauge().Name(name).Help(help).Register(impl_->registry);
  }
  return Gauge(FindOrMake(family, name, labels, [&] { return &family.family->Add(labels); }));
}

Histogram Metrics::AddHistogram(const std::string& name, const std::string& help,
                                const std::vector<double>& buckets, const MetricLabels& labels) {
  const std::lock_guard lock(impl_->mutex);
  CHECK(!impl_->counters.contains(name) && !impl_->gauges.contains(name));
  Family<prometheus::Histogram>& family = impl_->histograms[name];
  if (family.family == nullptr) {
    family.family = &prometheus::BuildHistogram().Name(name).Help(help).Register(impl_->registry);
  }
  return Histogram(FindOrMake(family, name, labels, [&] {
    return &family.family->Add(labels, prometheus::Histogram::BucketBoundaries(buckets));
  }));
}

void Metrics::Remove(const std::string& name, const MetricLabels& labels) {
  const std::lock_guard lock(impl_->mutex);
  RemoveFrom(impl_->counters, name, labels) || RemoveFrom(impl_->gauges, name, labels) ||
      RemoveFrom(impl_->histograms, name, labels);
}

void Metrics::OnCollect(std::function<void()> collect) {
  const std::lock_guard lock(impl_->mutex);
  impl_->collectors.push_back(std::move(collect));
}

std::string Metrics::Text() const {
  std::vector<std::function<void()>> collectors;
  {
    const std::lock_guard lock(impl_->mutex);
    collectors = impl_->collectors;
  }
  for (const std::function<void()>& collect : collectors) collect();
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace conclave::base
