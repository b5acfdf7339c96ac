// conclave-sample-bench: what choosing a token costs, on made-up rows of logits.
//
//   conclave-sample-bench --vocab 151936 --spread 3 [--lead 5]
//
// Rows are normally distributed; one token leads the mean by so many spreads, as a model's answer
// does where it is sure. Times are of this thread's processor, the mean of a few hundred draws;
// once for whole rows, once for the host's part of rows that stay on a device.
#include <algorithm>
#include <cstdio>
#include <ctime>
#include <deque>
#include <random>
#include <string>
#include <vector>

#include "base/options.h"
#include "engine/kernels/cpu/cpu_kernels.h"
#include "engine/sample/logprobs.h"
#include "engine/sample/row_digest.h"
#include "engine/sample/row_scan.h"
#include "engine/sample/sampler.h"
#include "tools/command_line.h"

namespace conclave::engine {
namespace {

constexpr int kRows = 8;
constexpr uint64_t kDraws = 240;

struct Options {
  int vocab = 151'936;
  int spread = 3;
  int lead = 5;
};

double CpuMicros() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e6 + static_cast<double>(now.tv_nsec) * 1e-3;
}

std::vector<std::vector<float>> MakeRows(const Options& options) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal(0.0f, static_cast<float>(options.spread));
  std::vector<std::vector<float>> rows(kRows);
  for (std::vector<float>& row : rows) {
    row.resize(static_cast<size_t>(options.vocab));
    for (float& logit : row) logit = normal(random);
    row[random() % row.size()] = static_cast<float>(options.lead * options.spread);
  }
  return rows;
}

template <typename Draw>
void Measure(const char* name, const Draw& draw) {
  draw(0);
  const double start = CpuMicros();
  for (uint64_t i = 0; i < kDraws; ++i) draw(i);
  std::printf("| %s | %.1f |\n", name, (CpuMicros() - start) / static_cast<double>(kDraws));
}

// The host's part of a draw where the device has made the digest, and what comes over for it.
// `draw` is false where it wants blocks.
template <typename Draw>
void MeasureParts(const char* name, const RowRequest& request,
                  const std::vector<std::vector<float>>& rows, const Draw& draw) {
  std::deque<HostDigest> digests;
  for (const auto& row : rows) digests.emplace_back(row, request, **ChooseIsa(""));
  RowScan scan;
  std::vector<const float*> blocks((rows[0].size() + kScanBlock - 1) / kScanBlock);
  int64_t fetched = 0, fetches = 0;
  double micros = 0;
  for (uint64_t i = 0; i < kDraws; ++i) {
    const std::vector<float>& row = rows[i % kRows];
    std::fill(blocks.begin(), blocks.end(), nullptr);
    while (true) {
      const double start = CpuMicros();
      scan.Read(digests[i % kRows].digest(), row.size(), blocks);
      const bool drawn = draw(scan, i);
      micros += CpuMicros() - start;
      if (drawn) break;
      ++fetches;
      for (const int32_t wanted : scan.wanted()) {
        const float*& block = blocks[static_cast<size_t>(wanted)];
        fetched += block == nullptr ? 1 : 0;
        block = row.data() + wanted * kScanBlock;
      }
    }
  }
  constexpr auto kCount = static_cast<double>(kDraws);
  std::printf("| %s | %.1f | %.1f | %.1f |\n", name, micros / kCount,
              static_cast<double>(fetched) / kCount, static_cast<double>(fetches) / kCount);
}

void Run(const Options& options) {
  const std::vector<std::vector<float>> rows = MakeRows(options);
  RowScan row;
  Sampler sampler;
  struct Setting {
    const char* name;
    SamplingParams params;
  };
  const Setting settings[] = {
      {"temperature 0", {.temperature = 0}},
      {"temperature 1", {}},
      {"top_k 40", {.top_k = 40}},
      {"top_p 0.95", {.top_p = 0.95f}},
      {"min_p 0.05", {.min_p = 0.05f}},
      {"typical_p 0.9", {.typical_p = 0.9f}},
      {"top_k 40, top_p 0.9, temperature 0.8", {.temperature = 0.8f, .top_k = 40, .top_p = 0.9f}},
  };
  std::printf("| %d tokens | us a draw |\n|---|---|\n", options.vocab);
  for (const Setting& setting : settings) {
    Measure(setting.name, [&](uint64_t i) {
      row.Read(rows[i % kRows]);
      sampler.Sample(row, setting.params, i);
    });
  }
  Measure("20 logprobs", [&](uint64_t i) {
    row.Read(rows[i % kRows]);
    TopLogprobs(row, LogSumExp(row), 20);
  });
  std::printf("\n| a row on a device | us a draw | blocks of %lld fetched | fetches |\n",
              static_cast<long long>((options.vocab + kScanBlock - 1) / kScanBlock));
  std::printf("|---|---|---|---|\n");
  for (const Setting& setting : settings) {
    const Sampler::Needs needs = Sampler::NeedsOf(setting.params);
    MeasureParts(setting.name,
                 {.largest = needs.largest, .factors = {RowScan::FactorOf(needs.factor), 0}}, rows,
                 [&](RowScan& scan, uint64_t i) {
                   return sampler.Sample(scan, setting.params, i).has_value();
                 });
  }
  MeasureParts("20 logprobs", {.largest = true, .factors = {1, 0}}, rows,
               [](RowScan& scan, uint64_t) {
                 return HasTop(scan, 20) && !TopLogprobs(scan, LogSumExp(scan), 20).empty();
               });
}

int Main(int argc, char** argv) {
  Options o;
  base::OptionSet options("conclave-sample-bench", "Measures what choosing a token costs.");
  options.Add("vocab", &o.vocab, "tokens of the vocabulary", 1, 1 << 20);
  options.Add("spread", &o.spread, "standard deviation of the logits", 0, 100);
  options.Add("lead", &o.lead, "of one token, in spreads", 0, 100);
  if (const auto code = ParseCommandLine(options, argc, argv)) return *code;
  Run(o);
  return 0;
}

}  // namespace
}  // namespace conclave::engine

int main(int argc, char** argv) { return conclave::engine::Main(argc, argv); }
