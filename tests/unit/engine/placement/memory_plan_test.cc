#include "engine/placement/memory_plan.h"

#include <catch2/catch.hpp>
#include <string>

namespace conclave::engine {
namespace {

// 1,000 bytes of weights, 100 of scratch, and a KV block of 64 bytes for 16 tokens.
MemoryNeeds Needs() {
  return {.architecture = "llama",
          .device = "cpu",
          .file_bytes = 900,
          .weight_bytes = 1'000,
          .mapped_bytes = 50,
          .scratch_bytes = 100,
          .model_context = 4'096,
          .block_bytes_f16 = 64,
          .block_bytes_f32 = 128,
          .block_tokens = 16};
}

const EngineOptions kOne{.max_sequences = 1};

}  // namespace

TEST_CASE("a plan is the sum of weights, cache and scratch") {
  const MemoryPlan plan = PlanMemory(Needs(), kOne, {.budget = 1 << 20});
  CHECK(plan.context_length == 4'096);
  CHECK(plan.kv_bytes == 4'096 / 16 * 64);
  CHECK(plan.kv_tokens == 4'096);
  CHECK(plan.kv_bytes_per_token == 4);
  CHECK(plan.total_bytes == 1'000 + 100 + plan.kv_bytes);
  CHECK(plan.fits);
  CHECK(plan.fits_now);
  CHECK(plan.options.empty());
}

TEST_CASE("the cache takes half of what the weights leave, and the context follows") {
  const MemoryPlan plan = PlanMemory(Needs(), kOne, {.budget = 1'100 + 2 * 64 * 64});
  CHECK(plan.kv_bytes == 64 * 64);
  CHECK(plan.context_length == 1'024);
  CHECK(plan.fits);
}

TEST_CASE("what others use is taken unless they would make room") {
  const MemoryRoom room{.budget = 40'000, .used = 25'000, .evictable = 0};
  CHECK(PlanMemory(Needs(), kOne, room).kv_bytes < 16'384);
  MemoryRoom giving = room;
  giving.evictable = 25'000;
  const MemoryPlan plan = PlanMemory(Needs(), kOne, giving);
  CHECK(plan.kv_bytes == 16'384);
  CHECK(plan.fits);
  CHECK_FALSE(plan.fits_now);
}

TEST_CASE("a cache that does not fit comes with settings that would") {
  EngineOptions options = kOne;
  options.kv_bytes = 1 << 20;
  const MemoryPlan plan = PlanMemory(Needs(), options, {.budget = 40'000});
  CHECK_FALSE(plan.fits);
  REQUIRE(plan.options.size() == 2);
  CHECK(plan.options[0].setting == "kv_bytes");
  CHECK(plan.options[0].total_bytes <= 40'000);
  CHECK(plan.options[1].setting == "memory_budget");
  CHECK(plan.options[1].value == std::to_string(plan.total_bytes));
}

TEST_CASE("weights that do not fit ask for a budget") {
  const MemoryPlan plan = PlanMemory(Needs(), kOne, {.budget = 900});
  CHECK_FALSE(plan.fits);
  CHECK(plan.total_bytes == 1'100 + 4 * 64);
  REQUIRE(plan.options.size() == 1);
  CHECK(plan.options[0].setting == "memory_budget");
}

TEST_CASE("a plan is told in words") {
  const std::string text = PlanMemory(Needs(), kOne, {.budget = 900}).ToString();
  CHECK(text.find("llama on cpu, context 64") == 0);
  CHECK(text.find("does not fit") != std::string::npos);
  CHECK(text.find("would fit with memory_budget = 1356") != std::string::npos);
}

}  // namespace conclave::engine
