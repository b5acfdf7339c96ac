// The engine on a device that is not the CPU: what does not fit, what breaks, who is told.
#include <catch2/catch.hpp>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "engine/kernels/kernels.h"
#include "support/tiny_model.h"
#include "tools/collector.h"

namespace conclave::engine {
namespace {

using namespace std::chrono_literals;

constexpr auto kDeadline = 120s;

// The emulated device, set up anew for each case.
class Emulated final {
 public:
  Emulated() { setenv("CONCLAVE_CUDA_MODULE", CONCLAVE_EMULATED_CUDA_MODULE, 1); }
  ~Emulated() {
    unsetenv("CONCLAVE_EMULATOR_MEMORY");
    unsetenv("CONCLAVE_EMULATOR_FAIL_LAUNCH");
    unsetenv("CONCLAVE_EMULATOR_HANG_LAUNCH");
    unsetenv("CONCLAVE_CUDA_STEP_SECONDS");
  }
  void LimitMemory(int64_t bytes) {
    setenv("CONCLAVE_EMULATOR_MEMORY", std::to_string(bytes).c_str(), 1);
  }
  void HangAt(int64_t launch) {
    setenv("CONCLAVE_EMULATOR_HANG_LAUNCH", std::to_string(launch).c_str(), 1);
    setenv("CONCLAVE_CUDA_STEP_SECONDS", "0.2", 1);
  }
  void FailLaunch(int64_t number) {
    setenv("CONCLAVE_EMULATOR_FAIL_LAUNCH", std::to_string(number).c_str(), 1);
  }
};

absl::StatusOr<std::unique_ptr<Engine>> OpenTiny() {
  return Engine::Open(MakeTinySource("qwen3moe"), {.num_threads = 1,
                                                   .context_length = 256,
                                                   .max_sequences = 4,
                                                   .kv_bytes = 1 << 20,
                                                   .device = "cuda"});
}

std::shared_ptr<Collector> Start(Engine& engine, const std::string& id, int32_t max_tokens) {
  auto collector = std::make_shared<Collector>();
  const absl::Status status = engine.Submit({.id = id,
                                             .prompt = TinyPrompt(1, 20, 128),
                                             .sampling = {.temperature = 0},
                                             .max_tokens = max_tokens},
                                            collector);
  REQUIRE(status.ok());
  return collector;
}

}  // namespace

TEST_CASE("an engine says which device it computes on") {
  const Emulated device;
  const auto engine = OpenTiny();
  REQUIRE(engine.ok());
  CHECK((*engine)->info().device == "cuda/emulated");
  CHECK((*engine)->Health().ok());
}

TEST_CASE("a model that does not fit the device is refused with both sizes") {
  Emulated device;
  device.LimitMemory(200'000);
  const auto engine = OpenTiny();
  REQUIRE(engine.status().code() == absl::StatusCode::kResourceExhausted);
  const std::string message(engine.status().message());
  CHECK(message.find("bytes wanted") != std::string::npos);
  CHECK(message.find("free") != std::string::npos);
  // And when there is room again it opens.
  device.LimitMemory(1 << 28);
  CHECK(OpenTiny().ok());
}

TEST_CASE("a device that fails ends its sequences, and the engine takes no more") {
  Emulated device;
  device.FailLaunch(400);  // some steps after the first
  const auto engine = OpenTiny();
  REQUIRE(engine.ok());
  const auto first = Start(**engine, "first", 200);
  const auto second = Start(**engine, "second", 200);
  for (const auto& collector : {first, second}) {
    const std::optional<Event> end = collector->WaitFinished(kDeadline);
    REQUIRE(end.has_value());
    CHECK(end->reason == FinishReason::kError);
    CHECK(end->status.code() == absl::StatusCode::kUnavailable);
    CHECK(std::string(end->status.message()).find("CUDA device failed") != std::string::npos);
  }
  CHECK((*engine)->Health().code() == absl::StatusCode::kUnavailable);
  CHECK((*engine)
            ->Submit({.id = "third", .prompt = {1}, .max_tokens = 1}, std::make_shared<Collector>())
            .code() == absl::StatusCode::kUnavailable);
  CHECK((*engine)->Stats().running == 0);
  CHECK((*engine)->Stats().kv_blocks_used == 0);
}

TEST_CASE("a device that fails in the first step is an error of opening") {
  Emulated device;
  device.FailLaunch(10);
  CHECK(OpenTiny().status().code() == absl::StatusCode::kUnavailable);
}

TEST_CASE(
    "a device that never answers fails its step at the deadline, and a new one starts clean") {
  for (const int64_t launch : {10, 400}) {
    Emulated device;
    device.HangAt(launch);
    {
      const auto engine = OpenTiny();
      if (launch == 10) {
        CHECK(engine.status().code() == absl::StatusCode::kUnavailable);
        CHECK(base::ReasonOf(engine.status()) == kDeviceFailed);
        continue;
      }
      REQUIRE(engine.ok());
      const Event end = *Start(**engine, "first", 200)->WaitFinished(kDeadline);
      CHECK(end.reason == FinishReason::kError);
      CHECK(end.status.code() == absl::StatusCode::kUnavailable);
      CHECK(std::string(end.status.message()).find("does not answer") != std::string::npos);
      CHECK(base::ReasonOf((*engine)->Health()) == kDeviceFailed);
    }
    // What it held is left alone: to give it back would be to wait for it.
    Emulated again;
    unsetenv("CONCLAVE_EMULATOR_HANG_LAUNCH");
    const auto engine = OpenTiny();
    REQUIRE(engine.ok());
    CHECK(Start(**engine, "second", 8)->WaitFinished(kDeadline)->status.ok());
  }
}

using Trace = std::vector<std::pair<TokenId, float>>;

// Tokens with the logprobs that were asked for.
Trace TraceOf(const Collector& collector, bool has_logprobs) {
  const std::optional<Event> end = collector.WaitFinished(kDeadline);
  REQUIRE(end.has_value());
  CHECK(end->status.ok());
  Trace trace;
  for (const Event& event : collector.events()) {
    for (const ScoredToken& score : event.scores) {
      trace.emplace_back(score.logprob.id, score.logprob.logprob);
      for (const auto& other : score.alternatives) trace.emplace_back(other.id, other.logprob);
    }
    if (event.kind != Event::Kind::kToken) continue;
    trace.emplace_back(event.token, has_logprobs ? event.logprob.logprob : 0.0f);
    for (const auto& other : event.alternatives) trace.emplace_back(other.id, other.logprob);
  }
  return trace;
}

// Of requests with many kinds of settings, one after the other or together.
std::vector<Trace> Answers(Engine& engine, bool together) {
  const SamplingParams all[] = {
      {.temperature = 0},
      {.seed = 1},
      {.temperature = 0.8f, .top_p = 0.95f, .seed = 2},
      {.temperature = 0.7f, .top_k = 20, .min_p = 0.05f, .seed = 3},
      {.typical_p = 0.8f, .repetition_penalty = 1.2f, .presence_penalty = 0.5f, .seed = 4},
      {.temperature = 0.9f, .repetition_penalty = 1.1f, .seed = 5, .logit_bias = {{7, 4}, {9, -3}}},
  };
  std::vector<std::shared_ptr<Collector>> collectors;
  std::vector<Trace> traces;
  for (int32_t i = 0; i < 6; ++i) {
    GenerateRequest request = {.id = "r" + std::to_string(i),
                               .prompt = TinyPrompt(1, 20, 128),
                               .sampling = all[i],
                               .max_tokens = 6,
                               .num_logprobs = i % 3 - 1};
    request.num_prompt_logprobs = i == 2 ? 3 : -1;
    auto& collector = collectors.emplace_back(std::make_shared<Collector>());
    REQUIRE(engine.Submit(std::move(request), collector).ok());
    if (!together) traces.push_back(TraceOf(*collector, i % 3 > 0));
  }
  for (int32_t i = 0; together && i < 6; ++i) {
    traces.push_back(TraceOf(*collectors[static_cast<size_t>(i)], i % 3 > 0));
  }
  return traces;
}

TEST_CASE("answers are the same whether logits come whole or in part, alone and in batches") {
  const Emulated device;
  const auto open = [](const char* digests) {
    setenv("CONCLAVE_CUDA_DIGESTS", digests, 1);
    auto engine = OpenTiny();
    unsetenv("CONCLAVE_CUDA_DIGESTS");
    REQUIRE(engine.ok());
    return *std::move(engine);
  };
  const auto expected = Answers(*open("0"), false);
  for (const char* digests : {"0", "1", "always"}) {
    CAPTURE(digests);
    const auto engine = open(digests);
    CHECK(Answers(*engine, true) == expected);
    if (digests == std::string("always")) CHECK(Answers(*engine, false) == expected);
  }
}

TEST_CASE("devices are chosen by name and unknown ones refused") {
  const Emulated device;
  REQUIRE(unsetenv("CONCLAVE_DEVICE") == 0);
  CHECK((*CreateKernels({.num_threads = 1}))->name().substr(0, 4) == "cpu/");
  CHECK((*CreateKernels({.device = "auto", .num_threads = 1}))->name().substr(0, 4) == "cpu/");
  CHECK((*CreateKernels({.device = "cuda", .num_threads = 1}))->name() == "cuda/emulated");
  REQUIRE(setenv("CONCLAVE_DEVICE", "cuda", 1) == 0);
  CHECK((*CreateKernels({.num_threads = 1}))->name() == "cuda/emulated");
  CHECK((*CreateKernels({.device = "cpu", .num_threads = 1}))->name().substr(0, 4) == "cpu/");
  REQUIRE(unsetenv("CONCLAVE_DEVICE") == 0);
  CHECK(CreateKernels({.device = "tpu"}).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(EngineOptions{.device = "tpu"}.Validate().code() == absl::StatusCode::kInvalidArgument);
}

}  // namespace conclave::engine
