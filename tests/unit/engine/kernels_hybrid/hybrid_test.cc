// Models whose experts are shared between a device and the processors, through the engine's door.
#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <utility>

#include "engine/engine.h"
#include "engine/kernels/kernels.h"
#include "unit/engine/kernels_hybrid/emulated.h"

namespace conclave::engine {
namespace {

const char* const kMixtures[] = {
    "qwen3moe", "qwen2moe",   "deepseek2", "deepseek2_lite",    "gpt-oss",
    "glm4moe",  "minimax-m2", "mixtral",   "deepseek2_gate_up", "mixtral_apart"};

}  // namespace

TEST_CASE("experts shared with the processors give the processors' answers") {
  const Emulated device;
  for (const char* const name : kMixtures) {
    const SynthSpec spec = *TinySpec(name);
    const Answers expected = Alone(*OpenTiny(Options("cpu"), spec));
    for (const int32_t percent : {0, 50, 100}) {
      CAPTURE(name, percent);
      const auto engine = OpenTiny(Options("cuda", spec.num_experts * percent / 100), spec);
      const bool shared = percent < 100;
      CHECK((engine->info().device.find(" + cpu/") != std::string::npos) == shared);
      CHECK((engine->info().placement.find("DRAM") != std::string::npos) == shared);
      CheckNear(Alone(*engine), expected);
    }
  }
}

TEST_CASE("fast numerics share experts as well, whichever of both ways is measured to be faster") {
  const Emulated device;
  for (const char* const name : {"qwen3moe", "deepseek2_lite"}) {
    CAPTURE(name);
    const SynthSpec spec = *TinySpec(name);
    EngineOptions options = Options("cuda", spec.num_experts / 2);
    options.numerics = "fast";
    options.step_token_budget = 128;
    const auto engine = OpenTiny(options, spec);
    const auto cpu = OpenTiny(Options("cpu"), spec);
    GenerateRequest request = Request("long", TinyPrompt(3, 120, 128), kTokens);
    request.num_logprobs = 4;
    const auto found = Start(*engine, request), expected = Start(*cpu, request);
    CHECK(Finish(*found).status.ok());
    CHECK(Finish(*expected).status.ok());
    CheckNear({Trace(*found)}, {Trace(*expected)});
  }
}

TEST_CASE("rows have the same bits alone and among others, as graphs and not") {
  Emulated device;
  const std::pair<const char*, DType> cases[] = {
      {"qwen3moe", DType::kF32}, {"deepseek2_lite", DType::kQ8_0}, {"gpt-oss", DType::kQ8_0}};
  for (const auto& [name, experts] : cases) {
    CAPTURE(name, NameOf(experts));
    SynthSpec spec = *TinySpec(name);
    spec.experts = experts;
    device.Set("CONCLAVE_CUDA_GRAPHS", 0);
    const auto launched = OpenTiny(Options("cuda", spec.num_experts / 2), spec);
    const Answers alone = Alone(*launched);
    CHECK(Together(*launched) == alone);
    device.Set("CONCLAVE_CUDA_GRAPHS", 1);
    const auto graphs = OpenTiny(Options("cuda", spec.num_experts / 2), spec);
    CHECK(Alone(*graphs) == alone);
    CHECK(Together(*graphs) == alone);
  }
}

TEST_CASE("a GPU smaller than the model keeps what fits and the processors have the rest") {
  Emulated device;
  SynthSpec spec = *TinySpec("qwen3moe");
  spec.num_experts = 64;
  const Answers expected = Alone(*OpenTiny(Options("cpu"), spec));
  EngineOptions options = Options("cuda");
  CHECK(OpenTiny(options, spec)->info().device == "cuda/emulated");
  // By its size, and by what may be used of it.
  device.Set("CONCLAVE_EMULATOR_MEMORY", 6 << 20);
  const auto small = OpenTiny(options, spec);
  CAPTURE(small->info().placement);
  CHECK(small->info().placement.find("DRAM") != std::string::npos);
  CheckNear(Alone(*small), expected);
  device.Set("CONCLAVE_EMULATOR_MEMORY", 1 << 30);
  options.vram_budget = 6 << 20;
  const auto budget = OpenTiny(options, spec);
  CHECK(budget->info().placement == small->info().placement);
  CheckNear(Alone(*budget), expected);
  // And not even that.
  options.vram_budget = 2 << 20;
  const absl::Status little = Engine::Open(MakeTinySource(spec), options).status();
  CHECK(little.code() == absl::StatusCode::kResourceExhausted);
  CHECK(std::string(little.message()).find("bytes wanted for all but the experts") !=
        std::string::npos);
}

TEST_CASE("memory that runs out while loading makes a smaller plan, or an error") {
  Emulated device;
  SynthSpec spec = *TinySpec("qwen3moe");
  spec.num_experts = 64;
  EngineOptions options = Options("cuda");
  options.vram_budget = 6 << 20;
  const std::string plan = OpenTiny(options, spec)->info().placement;
  // Somebody else took what was free, in the middle of loading.
  device.Set("CONCLAVE_EMULATOR_FAIL_ALLOC", 20);
  const auto engine = OpenTiny(options, spec);
  CHECK(engine->info().placement != plan);
  CHECK(engine->info().placement.find("DRAM") != std::string::npos);
  CheckNear(Alone(*engine), Alone(*OpenTiny(Options("cpu"), spec)));
  device.Set("CONCLAVE_EMULATOR_FAIL_ALLOC", 20);
  options.gpu_experts = 2;  // as asked for or not at all
  CHECK(Engine::Open(MakeTinySource(spec), options).status().code() ==
        absl::StatusCode::kResourceExhausted);
}

TEST_CASE("a device that fails at a hand-over ends its streams, and the engine is unhealthy") {
  Emulated device;
  // In the first step, in the layers of a later one, and while steps are replayed as graphs.
  for (const int64_t launch : {30, 31, 32, 33, 34, 35, 300, 900}) {
    CAPTURE(launch);
    device.Set("CONCLAVE_EMULATOR_FAIL_LAUNCH", launch);
    auto opened = Engine::Open(MakeTinySource("qwen3moe"), Options("cuda", 4));
    if (!opened.ok()) {
      CHECK(opened.status().code() == absl::StatusCode::kUnavailable);
      continue;
    }
    const auto first = Start(**opened, Request("first", TinyPrompt(1, 20, 128), 200));
    const auto second = Start(**opened, Request("second", TinyPrompt(2, 20, 128), 200));
    for (const auto& collector : {first, second}) {
      const Event end = Finish(*collector);
      CHECK(end.reason == FinishReason::kError);
      CHECK(end.status.code() == absl::StatusCode::kUnavailable);
    }
    CHECK((*opened)->Health().code() == absl::StatusCode::kUnavailable);
    CHECK((*opened)->Stats().running == 0);
  }
}

TEST_CASE("a device that never answers at a hand-over fails the step at the deadline") {
  Emulated device;
  setenv("CONCLAVE_CUDA_STEP_SECONDS", "0.2", 1);
  for (const int64_t launch : {5, 31, 300}) {
    CAPTURE(launch);
    device.Set("CONCLAVE_EMULATOR_HANG_LAUNCH", launch);
    auto opened = Engine::Open(MakeTinySource("qwen3moe"), Options("cuda", 4));
    absl::Status status = opened.status();
    if (opened.ok()) status = Finish(*Start(**opened, Prompt(1))).status;
    CHECK(status.code() == absl::StatusCode::kUnavailable);
    CHECK(std::string(status.message()).find("does not answer") != std::string::npos);
  }
}

TEST_CASE("a step without pinned memory is an error of opening") {
  Emulated device;
  for (const int which : {1, 2, 3, 7}) {
    device.Set("CONCLAVE_EMULATOR_FAIL_PIN", which);
    CHECK(Engine::Open(MakeTinySource("qwen3moe"), Options("cuda", 4)).status().code() ==
          absl::StatusCode::kResourceExhausted);
  }
}

TEST_CASE("no step needs more memory than was taken at load") {
  Emulated device;
  for (const auto& [name, numerics] : {std::pair("qwen3moe", "fast"), std::pair("gpt-oss", "fast"),
                                       std::pair("deepseek2_lite", "exact")}) {
    CAPTURE(name, numerics);
    SynthSpec spec = *TinySpec(name);
    spec.experts = spec.weights = DType::kQ8_0;
    EngineOptions options = Options("cuda", 2);
    options.numerics = numerics;
    options.step_token_budget = 128;
    const auto engine = OpenTiny(options, spec);
    device.Set("CONCLAVE_EMULATOR_FAIL_ALLOC", 1);
    device.Set("CONCLAVE_EMULATOR_FAIL_PIN", 1);
    // As many rows, sequences, tokens and logits as there may be.
    std::vector<std::shared_ptr<Collector>> streams;
    for (int i = 0; i < options.max_sequences; ++i) {
      GenerateRequest request = Request("s" + std::to_string(i),
                                        TinyPrompt(static_cast<uint64_t>(i), 100 + 40 * i, 128), 4);
      request.num_prompt_logprobs = 2;
      streams.push_back(Start(*engine, std::move(request)));
    }
    for (const auto& stream : streams) CHECK(Finish(*stream).status.ok());
    CHECK(std::string(std::getenv("CONCLAVE_EMULATOR_FAIL_ALLOC")) == "1");
    CHECK(std::string(std::getenv("CONCLAVE_EMULATOR_FAIL_PIN")) == "1");
    device.Set("CONCLAVE_EMULATOR_FAIL_ALLOC", 0);
    device.Set("CONCLAVE_EMULATOR_FAIL_PIN", 0);
  }
}

TEST_CASE("a cancelled stream leaves the others as they were") {
  const Emulated device;
  const auto engine = OpenTiny(Options("cuda", 4));
  const Answers expected = Alone(*engine);
  const auto cancelled = Start(*engine, Request("long", TinyPrompt(9, 40, 128), 200));
  std::vector<std::shared_ptr<Collector>> others;
  for (int i = 0; i < kPrompts; ++i) others.push_back(Start(*engine, Prompt(i)));
  engine->Cancel("long");
  for (size_t i = 0; i < others.size(); ++i) {
    CHECK(Finish(*others[i]).status.ok());
    CHECK(Trace(*others[i]) == expected[i]);
  }
  CHECK(Finish(*cancelled).reason == FinishReason::kCancelled);
  CHECK(engine->Stats().kv_blocks_used == 0);
}

TEST_CASE("a placement is refused where there is only one memory") {
  for (const EngineOptions& options : {EngineOptions{.device = "cpu", .vram_budget = 1 << 30},
                                       EngineOptions{.device = "cpu", .gpu_experts = 1}}) {
    const absl::Status status = Engine::Open(MakeTinySource("qwen3moe"), options).status();
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK(std::string(status.message()).find("no memory of its own") != std::string::npos);
  }
  CHECK_FALSE(EngineOptions{.gpu_experts = -2}.Validate().ok());
  CHECK_FALSE(EngineOptions{.vram_budget = -1}.Validate().ok());
}

}  // namespace conclave::engine
