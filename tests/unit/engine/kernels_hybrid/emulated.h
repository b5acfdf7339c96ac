// The emulated device beside the processors, through the engine's door.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "unit/engine/run/engine_checks.h"

namespace conclave::engine {

// Sums in another order, over weights in fp32.
inline constexpr double kApartMax = 2e-3;
inline constexpr int32_t kTokens = 7;
inline constexpr int kPrompts = 2;

// The emulated device, set up anew for each case.
class Emulated final {
 public:
  Emulated() { setenv("CONCLAVE_CUDA_MODULE", CONCLAVE_EMULATED_CUDA_MODULE, 1); }
  ~Emulated() {
    for (const char* const name : kSettings) unsetenv(name);
  }
  void Set(const char* name, int64_t value) { setenv(name, std::to_string(value).c_str(), 1); }

 private:
  static constexpr const char* kSettings[] = {
      "CONCLAVE_EMULATOR_MEMORY",      "CONCLAVE_EMULATOR_FAIL_LAUNCH",
      "CONCLAVE_EMULATOR_FAIL_ALLOC",  "CONCLAVE_EMULATOR_FAIL_PIN",
      "CONCLAVE_EMULATOR_FAIL_COPY",   "CONCLAVE_EMULATOR_BREAK_COPY",
      "CONCLAVE_EMULATOR_SLOW_COPIES", "CONCLAVE_EMULATOR_HANG_LAUNCH",
      "CONCLAVE_CUDA_STEP_SECONDS",    "CONCLAVE_CUDA_GRAPHS"};
};

inline EngineOptions Options(const std::string& device, int32_t gpu_experts = -1) {
  return {.num_threads = 2,
          .context_length = 256,
          .max_sequences = 4,
          .step_token_budget = 32,
          .kv_bytes = 1 << 20,
          .prefix_cache = false,
          .device = device,
          .gpu_experts = gpu_experts};
}

inline GenerateRequest Prompt(int which) {
  GenerateRequest request =
      Request("p" + std::to_string(which),
              TinyPrompt(static_cast<uint64_t>(which), 3 + 34 * which, 128), kTokens);
  request.num_logprobs = 4;
  return request;
}

using Answers = std::vector<std::vector<std::pair<TokenId, float>>>;

inline Answers Alone(Engine& engine) {
  Answers answers;
  for (int i = 0; i < kPrompts; ++i) {
    const auto collector = Start(engine, Prompt(i));
    CHECK(Finish(*collector).status.ok());
    answers.push_back(Trace(*collector));
  }
  return answers;
}

inline Answers Together(Engine& engine) {
  std::vector<std::shared_ptr<Collector>> collectors;
  for (int i = 0; i < kPrompts; ++i) collectors.push_back(Start(engine, Prompt(i)));
  Answers answers;
  for (const auto& collector : collectors) {
    CHECK(Finish(*collector).status.ok());
    answers.push_back(Trace(*collector));
  }
  return answers;
}

// The same tokens, and log-probabilities within the bound.
inline void CheckNear(const Answers& found, const Answers& expected) {
  double apart = 0;
  REQUIRE(found.size() == expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    REQUIRE(found[i].size() == expected[i].size());
    for (size_t j = 0; j < found[i].size(); ++j) {
      if (j % 5 == 0) CHECK(found[i][j].first == expected[i][j].first);
      apart =
          std::max(apart, std::fabs(double{found[i][j].second} - double{expected[i][j].second}));
    }
  }
  CHECK(apart < kApartMax);
}

}  // namespace conclave::engine
