#include "base/metrics.h"

#include <catch2/catch.hpp>

namespace conclave::base {
namespace {

bool Has(const std::string& text, const std::string& line) {
  return text.find(line + "\n") != std::string::npos;
}

}  // namespace

TEST_CASE("metrics are told in the exposition format") {
  Metrics metrics;
  const Counter tokens =
      metrics.AddCounter("conclave_tokens_total", "Tokens.", {{"kind", "completion"}});
  tokens.Add();
  tokens.Add(2);
  metrics.AddGauge("vllm:num_requests_waiting", "Waiting.").Set(7);
  metrics.AddHistogram("conclave_seconds", "Time.", {0.1, 1}).Observe(0.5);
  const std::string text = metrics.Text();
  CHECK(Has(text, "# TYPE conclave_tokens_total counter"));
  CHECK(Has(text, "conclave_tokens_total{kind=\"completion\"} 3"));
  CHECK(Has(text, "vllm:num_requests_waiting 7"));
  CHECK(Has(text, "conclave_seconds_bucket{le=\"0.1\"} 0"));
  CHECK(Has(text, "conclave_seconds_bucket{le=\"1\"} 1"));
  CHECK(Has(text, "conclave_seconds_count 1"));
}

TEST_CASE("the same name and labels are the same series") {
  Metrics metrics;
  metrics.AddCounter("a_total", "A.", {{"x", "1"}}).Add();
  metrics.AddCounter("a_total", "A.", {{"x", "1"}}).Add();
  metrics.AddCounter("a_total", "A.", {{"x", "2"}}).Add();
  CHECK(metrics.AddCounter("a_total", "A.", {{"x", "1"}}).value() == 2);
  CHECK(metrics.AddCounter("a_total", "A.", {{"x", "2"}}).value() == 1);
}

TEST_CASE("a removed series is no longer told") {
  Metrics metrics;
  metrics.AddGauge("up", "Up.", {{"worker", "a"}}).Set(1);
  metrics.AddGauge("up", "Up.", {{"worker", "b"}}).Set(1);
  metrics.Remove("up", {{"worker", "a"}});
  metrics.Remove("up", {{"worker", "never"}});
  metrics.Remove("down", {});
  const std::string text = metrics.Text();
  CHECK(text.find("worker=\"a\"") == std::string::npos);
  CHECK(Has(text, "up{worker=\"b\"} 1"));
}

TEST_CASE("a family stops growing at its limit") {
  Metrics metrics;
  for (size_t i = 0; i < Metrics::kSeriesMax; ++i) {
    metrics.AddCounter("c_total", "C.", {{"i", std::to_string(i)}}).Add();
  }
  const Counter beyond = metrics.AddCounter("c_total", "C.", {{"i", "one more"}});
  beyond.Add();
  CHECK(beyond.value() == 0);
  CHECK(metrics.AddCounter("c_total", "C.", {{"i", "0"}}).value() == 1);
}

TEST_CASE("collectors run before the text is made") {
  Metrics metrics;
  const Gauge depth = metrics.AddGauge("depth", "Depth.");
  int calls = 0;
  metrics.OnCollect([&] { depth.Set(++calls); });
  CHECK(Has(metrics.Text(), "depth 1"));
  CHECK(Has(metrics.Text(), "depth 2"));
}

TEST_CASE("a default handle does nothing") {
  Counter().Add();
  Gauge().Set(1);
  Histogram().Observe(1);
  CHECK(Counter().value() == 0);
}

}  // namespace conclave::base
