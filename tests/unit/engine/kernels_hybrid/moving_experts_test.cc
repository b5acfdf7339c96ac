// Models whose experts change places while streams run, through the engine's door.
#include <algorithm>
#include <catch2/catch.hpp>
#include <memory>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "unit/engine/kernels_hybrid/emulated.h"

namespace conclave::engine {
namespace {

// Sixteen experts, of which the device has a quarter.
SynthSpec Mixture(const char* name = "qwen3moe") {
  SynthSpec spec = *TinySpec(name);
  spec.num_experts = 16;
  spec.routing.num_groups = spec.routing.num_groups_used = 0;
  return spec;
}

EngineOptions Moving() {
  EngineOptions options = Options("cuda", 4);
  options.numerics = "fast";
  options.expert_half_life = 256;
  options.step_token_budget = 64;  // below what is streamed
  return options;
}

// A token many times over chooses much the same experts each time.
GenerateRequest Monotone(const std::string& id, TokenId token, int32_t tokens) {
  return Request(id, std::vector<TokenId>(static_cast<size_t>(tokens), token), 4);
}

// Of a while's routing, the device's share, and that of the best as many experts.
struct Shares {
  double device = 0;
  double best = 0;
};
Shares SharesOf(const ExpertTable& table) {
  double all = 0, device = 0, best = 0;
  for (size_t layer = 0; layer < table.hotness.size(); ++layer) {
    std::vector<double> hot = table.hotness[layer];
    for (const int32_t e : table.device[layer]) device += hot[static_cast<size_t>(e)];
    std::sort(hot.rbegin(), hot.rend());
    all += std::accumulate(hot.begin(), hot.end(), 0.0);
    best += std::accumulate(hot.begin(),
                            hot.begin() + static_cast<ptrdiff_t>(table.device[layer].size()), 0.0);
  }
  return {device / all, best / all};
}

void Serve(Engine& engine, TokenId token, int requests) {
  for (int i = 0; i < requests; ++i) {
    CHECK(Finish(*Start(engine, Monotone("m" + std::to_string(i), token, 120))).status.ok());
  }
}

}  // namespace

TEST_CASE("experts move while streams run, and answers stay the processors'") {
  Emulated device;
  for (const char* const name : {"qwen3moe", "gpt-oss", "deepseek2_lite"}) {
    for (const int64_t slow : {0, 3}) {
      device.Set("CONCLAVE_EMULATOR_SLOW_COPIES", slow);
      CAPTURE(name, slow);
      const SynthSpec spec = Mixture(name);
      const Answers expected = Alone(*OpenTiny(Options("cpu"), spec));
      const auto engine = OpenTiny(Moving(), spec);
      CheckNear(Alone(*engine), expected);
      // Beside a stream that has experts move.
      for (int round = 0; round < 3; ++round) {
        const auto other = Start(*engine, Monotone("other", 7 + round, 120));
        CheckNear(Together(*engine), expected);
        CHECK(Finish(*other).status.ok());
      }
      const ExpertStats stats = engine->Stats().experts;
      CHECK(stats.moves);
      CHECK(stats.exchanges_total > 0);
      CHECK(stats.bytes_moved_total > 0);
      CheckNear(Alone(*engine), expected);
      CHECK(engine->Health().ok());
    }
  }
}

TEST_CASE("the device's share of what is chosen follows the routing") {
  const Emulated device;
  const auto engine = OpenTiny(Moving(), Mixture());
  Serve(*engine, 3, 8);
  const Shares first = SharesOf(engine->Experts());
  CAPTURE(first.device, first.best);
  CHECK(first.device > first.best - 0.05);
  CHECK(engine->Stats().experts.device_share == Approx(first.device));
  const ExpertTable before = engine->Experts();
  Serve(*engine, 90, 16);
  const Shares second = SharesOf(engine->Experts());
  CAPTURE(second.device, second.best);
  CHECK(engine->Experts().device != before.device);
  CHECK(second.device > second.best - 0.05);
  // As many as before in each layer.
  for (const auto& experts : engine->Experts().device) CHECK(experts.size() == 4);
  const ExpertStats stats = engine->Stats().experts;
  CHECK(stats.device_selections_total > 0);
  CHECK(stats.device_selections_total < stats.selections_total);
}

TEST_CASE("exact numerics count and move nothing: bits do not depend on who came before") {
  const Emulated device;
  EngineOptions options = Moving();
  options.numerics = "exact";
  const auto engine = OpenTiny(options, Mixture());
  const Answers alone = Alone(*engine);
  Serve(*engine, 3, 8);
  CHECK(Alone(*engine) == alone);
  const ExpertStats stats = engine->Stats().experts;
  CHECK_FALSE(stats.moves);
  CHECK(stats.exchanges_total == 0);
  CHECK(stats.selections_total > 0);
  CHECK(engine->Experts().hotness.size() == 2);
  options.expert_placement = "dynamic";
  CHECK(options.Validate().code() == absl::StatusCode::kInvalidArgument);
  options.numerics = "fast";
  CHECK(options.Validate().ok());
  options.expert_placement = "static";
  CHECK_FALSE(OpenTiny(options, Mixture())->Stats().experts.moves);
  options.expert_placement = "sometimes";
  CHECK(options.Validate().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("graphs of steps go on with experts that moved") {
  Emulated device;
  device.Set("CONCLAVE_CUDA_GRAPHS", 1);
  const auto graphs = OpenTiny(Moving(), Mixture());
  device.Set("CONCLAVE_CUDA_GRAPHS", 0);
  const auto launched = OpenTiny(Moving(), Mixture());
  for (int round = 0; round < 4; ++round) {
    Serve(*graphs, 3 + 20 * round, 3);
    Serve(*launched, 3 + 20 * round, 3);
    CHECK(graphs->Experts().device == launched->Experts().device);
    CHECK(Alone(*graphs) == Alone(*launched));
  }
  CHECK(graphs->Stats().experts.exchanges_total > 4);
}

TEST_CASE("experts that cannot be moved stay, and the streams run on") {
  Emulated device;
  const SynthSpec spec = Mixture();
  const Answers expected = Alone(*OpenTiny(Options("cpu"), spec));
  // The driver refuses a copy: later ones succeed.
  const auto engine = OpenTiny(Moving(), spec);
  device.Set("CONCLAVE_EMULATOR_FAIL_COPY", 2);
  Serve(*engine, 3, 8);
  CHECK(engine->Stats().experts.refused_total == 1);
  CHECK(engine->Stats().experts.exchanges_total > 0);
  CheckNear(Alone(*engine), expected);
  // No pinned memory for them at load: those of inputs come before, and those of steps after.
  device.Set("CONCLAVE_EMULATOR_FAIL_PIN", 1);
  const auto still = OpenTiny(Moving(), spec);
  CHECK_FALSE(still->Stats().experts.moves);
  Serve(*still, 3, 4);
  CHECK(still->Stats().experts.exchanges_total == 0);
  CheckNear(Alone(*still), expected);
}

TEST_CASE("a copy of experts that never ends fails the device at the deadline") {
  Emulated device;
  setenv("CONCLAVE_CUDA_STEP_SECONDS", "0.5", 1);
  const auto engine = OpenTiny(Moving(), Mixture());
  device.Set("CONCLAVE_EMULATOR_SLOW_COPIES", int64_t{1} << 40);
  absl::Status status;
  for (int i = 0; i < 1000 && status.ok(); ++i) {
    const auto stream = std::make_shared<Collector>();
    status = engine->Submit(Monotone("s" + std::to_string(i), 3, 64), stream);
    if (status.ok()) status = Finish(*stream).status;
  }
  CAPTURE(status.ToString());
  CHECK(status.code() == absl::StatusCode::kUnavailable);
  CHECK(std::string(status.message()).find("does not answer") != std::string::npos);
  CHECK(engine->Stats().experts.exchanges_total == 0);
}

TEST_CASE("a copy of experts that breaks the device ends its streams") {
  Emulated device;
  const auto engine = OpenTiny(Moving(), Mixture());
  device.Set("CONCLAVE_EMULATOR_BREAK_COPY", 1);
  const auto stream = Start(*engine, Request("long", std::vector<TokenId>(120, 3), 200));
  const Event end = Finish(*stream);
  CHECK(end.reason == FinishReason::kError);
  CHECK(end.status.code() == absl::StatusCode::kUnavailable);
  CHECK(engine->Health().code() == absl::StatusCode::kUnavailable);
}

}  // namespace conclave::engine
