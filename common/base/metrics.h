// Counters, gauges and histograms over prometheus-cpp, and their text for /metrics. metrics.cc is
// the one file that knows prometheus-cpp (target conclave::metrics).
//
//   Metrics metrics;
//   Counter tokens = metrics.AddCounter("conclave_tokens_total", "Tokens by kind.", {{"kind",
//   "completion"}}); tokens.Add(3);
//
// Names are fixed in the code, never made from input. Add… hashes labels under a lock: call it when
// a model or a route appears, keep the handle, and never look one up per token. The same name with
// the same labels gives the same series. Handles are small values, thread-safe, and do nothing when
// default-made; they must not be used after the Metrics object is gone.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace conclave::base {

class Counter final {
 public:
  Counter() = default;
  void Add(double amount = 1) const;  // amount >= 0
  double value() const;

 private:
  friend class Metrics;
  explicit Counter(prometheus::Counter* series) : series_(series) {}
  prometheus::Counter* series_ = nullptr;
};

class Gauge final {
 public:
  Gauge() = default;
  void Set(double value) const;
  void Add(double amount) const;
  double value() const;

 private:
  friend class Metrics;
  explicit Gauge(prometheus::Gauge* series) : series_(series) {}
  prometheus::Gauge* series_ = nullptr;
};

class Histogram final {
 public:
  Histogram() = default;
  void Observe(double value) const;

 private:
  friend class Metrics;
  explicit Histogram(prometheus::Histogram* series) : series_(series) {}
  prometheus::Histogram* series_ = nullptr;
};

using MetricLabels = std::map<std::string, std::string>;

// Bucket bounds in seconds: 1 ms to 120 s for whole requests, 0.1 ms to 2.5 s between tokens.
std::vector<double> RequestSecondsBuckets();
std::vector<double> TokenSecondsBuckets();

// Thread-safe.
class Metrics final {
 public:
  // A family holds at most this many series; Add… beyond it gives a handle that does nothing, so
  // that a label that grows with the input cannot eat the memory.
  static constexpr size_t kSeriesMax = 2000;

  Metrics();
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  Counter AddCounter(const std::string& name, const std::string& help,
                     const MetricLabels& labels = {});
  Gauge AddGauge(const std::string& name, const std::string& help, const MetricLabels& labels = {});
  // `buckets`: upper bounds, ascending; +Inf is added. The first call of a name decides.
  Histogram AddHistogram(const std::string& name, const std::string& help,
                         const std::vector<double>& buckets, const MetricLabels& labels = {});

  // Drops one series (a model unloaded, a worker gone); its handles must not be used any more.
  void Remove(const std::string& name, const MetricLabels& labels);

  // Called at the start of every Text(), to set gauges that are read rather than kept.
  void OnCollect(std::function<void()> collect);

  // The exposition text, format 0.0.4.
  std::string Text() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace conclave::base
