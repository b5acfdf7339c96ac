// conclave-bench: how fast the engine is with a model, through the same door the worker uses.
//
//   conclave-bench --model m.gguf --prompt 512 --output 128 --threads 2
//
// pp: a prompt of random tokens, from Submit to the first token. tg: decoding after a short prompt,
// greedy unless told otherwise, per sequence count. GB/s is what decoding had to read of the
// weights; it is held against the machine's own reading speed, measured just before. The hash is
// over tokens and logprobs of a fixed answer: the same on every machine with the same model, or a
// kernel has changed its bits.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_format.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/options.h"
#include "engine/engine.h"
#include "engine/kernels/cpu/thread_pool.h"
#include "engine/weights/model_file.h"
#include "tools/bandwidth.h"
#include "tools/collector.h"
#include "tools/command_line.h"

namespace conclave::engine {
namespace {

constexpr auto kDeadline = std::chrono::hours(1);
constexpr int32_t kHashTokens = 16;
constexpr int32_t kHashLogprobs = 8;

struct Options {
  std::string model;
  int prompt = 512;
  int output = 128;
  int sequences = 1;
  int repeat = 3;
  int threads = 0;
  int step_tokens = 512;
  bool probe = true;
  bool json = false;
  std::string device;
  int64_t vram_budget = 0;
  int gpu_experts = -1;
  std::string expert_placement;
  int expert_half_life = 4096;
  std::string isa;
  std::string kv_type = "f16";
  std::string numerics = "exact";
  double temperature = 0;
  int top_k = 0;
  double top_p = 1;
  double min_p = 0;
  int logprobs = -1;
};

struct Result {
  std::string test;
  std::vector<double> rates;  // tokens per second, one per repetition

  double median() const {
    std::vector<double> sorted = rates;
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }
};

class Bench {
 public:
  Bench(const Options& options, Engine& engine) : options_(options), engine_(engine) {}

  absl::StatusOr<Result> Prefill() {
    Result result{.test = absl::StrFormat("pp%d", options_.prompt)};
    for (int i = 0; i < options_.repeat; ++i) {
      ASSIGN_OR_RETURN(const Event end, RunOne(RandomPrompt(options_.prompt), 1));
      result.rates.push_back(options_.prompt / end.timings.prefill_ms * 1000);
    }
    return result;
  }

  // All sequences together; the first token of each belongs to its prompt.
  absl::StatusOr<Result> Decode() {
    Result result{.test = absl::StrFormat("tg%d", options_.output)};
    if (options_.sequences > 1) result.test += absl::StrFormat("×%d", options_.sequences);
    for (int i = 0; i < options_.repeat; ++i) {
      std::vector<std::shared_ptr<Collector>> collectors;
      for (int s = 0; s < options_.sequences; ++s) {
        ASSIGN_OR_RETURN(collectors.emplace_back(), Start(RandomPrompt(4), options_.output + 1,
                                                          options_.logprobs, Sampling()));
      }
      double decode_ms = 0;
      for (const auto& collector : collectors) {
        ASSIGN_OR_RETURN(const Event end, Finish(*collector));
        decode_ms = std::max(decode_ms, end.timings.decode_ms);
      }
      result.rates.push_back(options_.sequences * options_.output / decode_ms * 1000);
    }
    return result;
  }

  absl::StatusOr<uint64_t> Hash() {
    std::vector<TokenId> prompt(16);
    for (size_t i = 0; i < prompt.size(); ++i) {
      prompt[i] = static_cast<TokenId>(i * 37 % static_cast<size_t>(engine_.info().vocab_size));
    }
    ASSIGN_OR_RETURN(const auto collector, Start(std::move(prompt), kHashTokens, kHashLogprobs));
    RETURN_IF_ERROR(Finish(*collector).status());
    uint64_t hash = 0xcbf29ce484222325ULL;
    const auto add = [&](uint32_t word) { hash = (hash ^ word) * 0x100000001b3ULL; };
    for (const Event& event : collector->events()) {
      for (const TokenLogprob& one : event.alternatives) {
        uint32_t bits = 0;
        std::memcpy(&bits, &one.logprob, sizeof bits);
        add(static_cast<uint32_t>(one.id));
        add(bits);
      }
    }
    return hash;
  }

 private:
  std::vector<TokenId> RandomPrompt(int count) {
    std::vector<TokenId> tokens(static_cast<size_t>(count));
    for (TokenId& token : tokens) {
      token = static_cast<TokenId>(random_() % static_cast<uint32_t>(engine_.info().vocab_size));
    }
    return tokens;
  }

  absl::StatusOr<std::shared_ptr<Collector>> Start(std::vector<TokenId> prompt, int32_t max_tokens,
                                                   int32_t logprobs,
                                                   const SamplingParams& sampling = {
                                                       .temperature = 0, .ignore_eos = true}) {
    auto collector = std::make_shared<Collector>();
    RETURN_IF_ERROR(engine_.Submit({.id = std::to_string(next_id_++),
                                    .prompt = std::move(prompt),
                                    .sampling = sampling,
                                    .max_tokens = max_tokens,
                                    .num_logprobs = logprobs},
                                   collector));
    return collector;
  }

  // What is decoded is drawn as the options say, each sequence with a seed of its own.
  SamplingParams Sampling() {
    return {.temperature = static_cast<float>(options_.temperature),
            .top_k = options_.top_k,
            .top_p = static_cast<float>(options_.top_p),
            .min_p = static_cast<float>(options_.min_p),
            .seed = static_cast<uint64_t>(next_id_),
            .ignore_eos = true};
  }

  static absl::StatusOr<Event> Finish(const Collector& collector) {
    const std::optional<Event> end = collector.WaitFinished(kDeadline);
    if (!end.has_value()) return absl::DeadlineExceededError("no answer within an hour");
    RETURN_IF_ERROR(end->status);
    return *end;
  }

  absl::StatusOr<Event> RunOne(std::vector<TokenId> prompt, int32_t max_tokens) {
    ASSIGN_OR_RETURN(const auto collector, Start(std::move(prompt), max_tokens, -1));
    return Finish(*collector);
  }

  const Options& options_;
  Engine& engine_;
  std::mt19937 random_{42};
  int next_id_ = 0;
};

struct Report {
  ModelInfo model;
  int threads = 0;
  double open_ms = 0;
  double read_gbps = 0;  // 0 = not measured
  std::vector<Result> results;
  ExpertStats experts;
  uint64_t hash = 0;

  // What decoding one sequence read per second. Several share what they read, by how much depends
  // on the experts they meet: no figure then.
  double DecodeGbps(const Result& result) const {
    if (result.test.rfind("tg", 0) != 0 || result.test.find("×") != std::string::npos) return 0;
    return result.median() * static_cast<double>(model.active_bytes_per_token) * 1e-9;
  }
};

void PrintTable(const Report& report) {
  std::printf("%s %s, %.2f billion parameters, %.2f GiB, %.1f MB read per token\n",
              report.model.architecture.c_str(), report.model.quantization.c_str(),
              static_cast<double>(report.model.parameters) * 1e-9,
              static_cast<double>(report.model.weight_bytes) / (1 << 30),
              static_cast<double>(report.model.active_bytes_per_token) * 1e-6);
  std::printf("%s, %d threads, opened in %.0f ms", report.model.device.c_str(), report.threads,
              report.open_ms);
  if (report.read_gbps > 0) std::printf(", machine reads %.1f GB/s", report.read_gbps);
  if (!report.model.placement.empty()) std::printf("\n%s", report.model.placement.c_str());
  std::printf("\n\n%-12s %12s %12s %12s %10s %8s\n", "test", "tokens/s", "lowest", "highest",
              "GB/s", "of read");
  for (const Result& result : report.results) {
    const auto [low, high] = std::minmax_element(result.rates.begin(), result.rates.end());
    std::printf("%-12s %12.2f %12.2f %12.2f", result.test.c_str(), result.median(), *low, *high);
    const double gbps = report.DecodeGbps(result);
    if (gbps > 0) std::printf(" %10.2f", gbps);
    if (gbps > 0 && report.read_gbps > 0) std::printf(" %7.0f%%", 100 * gbps / report.read_gbps);
    std::printf("\n");
  }
  const ExpertStats& experts = report.experts;
  if (experts.selections_total > 0) {
    std::printf(
        "\nexperts on the device: %.1f%% of those chosen of late, %.1f%% of all; %lld moved",
        100 * experts.device_share,
        100 * static_cast<double>(experts.device_selections_total) /
            static_cast<double>(experts.selections_total),
        static_cast<long long>(experts.exchanges_total));
  }
  std::printf("\nhash %016llx\n", static_cast<unsigned long long>(report.hash));
}

void PrintJson(const Report& report) {
  base::JsonWriter json;
  json.BeginObject();
  json.Field("architecture", report.model.architecture);
  json.Field("quantization", report.model.quantization);
  json.Field("parameters", report.model.parameters);
  json.Field("weight_bytes", report.model.weight_bytes);
  json.Field("active_bytes_per_token", report.model.active_bytes_per_token);
  json.Field("device", report.model.device);
  json.Field("placement", report.model.placement);
  json.Field("threads", report.threads);
  json.Field("open_ms", report.open_ms);
  json.Field("read_gbps", report.read_gbps);
  json.Field("device_share", report.experts.device_share);
  json.Field("hash", absl::StrFormat("%016x", report.hash));
  json.Key("results");
  json.BeginArray();
  for (const Result& result : report.results) {
    json.BeginObject();
    json.Field("test", result.test);
    json.Field("median", result.median());
    json.Field("gbps", report.DecodeGbps(result));
    json.Key("rates");
    json.BeginArray();
    for (const double rate : result.rates) json.Double(rate);
    json.EndArray();
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  std::printf("%s\n", json.Take().c_str());
}

absl::Status Run(const Options& o) {
  if (o.model.empty()) return base::InvalidArgument("--model is missing");
  Report report{.threads = o.threads > 0 ? o.threads : UsableCores()};
  if (o.probe) {
    ASSIGN_OR_RETURN(const double bytes, MeasureReadBandwidth(report.threads));
    report.read_gbps = bytes * 1e-9;
  }
  const base::SteadyTime start = base::Clock::System().Now();
  ASSIGN_OR_RETURN(std::shared_ptr<const ModelSource> source, OpenModelFile(o.model));
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                   Engine::Open(source, {.num_threads = report.threads,
                                         .max_sequences = o.sequences,
                                         .step_token_budget = o.step_tokens,
                                         .kv_type = o.kv_type,
                                         .prefix_cache = false,
                                         .numerics = o.numerics,
                                         .device = o.device,
                                         .vram_budget = o.vram_budget,
                                         .gpu_experts = o.gpu_experts,
                                         .expert_placement = o.expert_placement,
                                         .expert_half_life = o.expert_half_life,
                                         .isa = o.isa}));
  report.open_ms = base::MillisBetween(start, base::Clock::System().Now());
  report.model = engine->info();
  Bench bench(o, *engine);
  ASSIGN_OR_RETURN(report.hash, bench.Hash());  // first: it also warms up
  if (o.prompt > 0) {
    ASSIGN_OR_RETURN(report.results.emplace_back(), bench.Prefill());
  }
  if (o.output > 0) {
    ASSIGN_OR_RETURN(report.results.emplace_back(), bench.Decode());
  }
  report.experts = engine->Stats().experts;
  o.json ? PrintJson(report) : PrintTable(report);
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Options o;
  base::OptionSet options("conclave-bench", "Measures prefill and decode rates of a model.");
  options.Add("model", &o.model, "the GGUF file or Hugging Face folder");
  options.Add("prompt", &o.prompt, "tokens of the prompt; 0 = skip", 0, 1 << 20);
  options.Add("output", &o.output, "tokens to decode; 0 = skip", 0, 1 << 20);
  options.Add("sequences", &o.sequences, "decoded at once", 1, 1024);
  options.Add("repeat", &o.repeat, "repetitions; the median counts", 1, 100);
  options.Add("threads", &o.threads, "0 = one per usable core", 0, 1024);
  options.Add("step-tokens", &o.step_tokens, "tokens of one step", 16, 1 << 16);
  options.Add("probe", &o.probe, "measure the machine's reading speed first");
  options.Add("json", &o.json, "print JSON instead of a table");
  options.Add("device", &o.device, "auto, cpu or cuda; empty = CONCLAVE_DEVICE or cpu");
  options.AddBytes("vram-budget", &o.vram_budget, "of the GPU's memory to use; 0 = what is free");
  options.Add("gpu-experts", &o.gpu_experts,
              "experts of each layer to keep on the GPU; -1 = as many as fit", -1, 1 << 20);
  options.Add("expert-placement", &o.expert_placement,
              "static, or dynamic: experts chosen most move to the GPU; empty = by numerics");
  options.Add("expert-half-life", &o.expert_half_life,
              "tokens after which what was chosen counts half", 64, 1 << 24);
  options.Add("isa", &o.isa, "scalar, avx2 or avx512; empty = the best there is");
  options.AddChoice("numerics", &o.numerics, {"exact", "fast"}, "of the engine");
  options.Add("temperature", &o.temperature, "of what is decoded; 0 = greedy", 0, 2);
  options.Add("top-k", &o.top_k, "the same; 0 = off", 0, 1 << 20);
  options.Add("top-p", &o.top_p, "the same; 1 = off", 1e-6, 1);
  options.Add("min-p", &o.min_p, "the same; 0 = off", 0, 1);
  options.Add("logprobs", &o.logprobs, "of each token decoded; -1 = none", -1, 128);
  options.AddChoice("kv-type", &o.kv_type, {"f16", "f32"}, "of stored keys and values");
  if (const auto code = ParseCommandLine(options, argc, argv)) return *code;
  const absl::Status status = Run(o);
  return status.ok() ? 0 : Fail(status);
}

}  // namespace
}  // namespace conclave::engine

int main(int argc, char** argv) { return conclave::engine::Main(argc, argv); }
