#include "engine/placement/plan.h"

#include <catch2/catch.hpp>
#include <string>

namespace conclave::engine {
namespace {

constexpr KvDemand kDemand{
    .model_context = 8192, .bytes_per_block = 1024, .block_tokens = 16, .available_bytes = 1 << 30};

}  // namespace

TEST_CASE("KV is planned for all slots by default") {
  const absl::StatusOr<KvPlan> plan = PlanKv({.max_sequences = 4}, kDemand);
  REQUIRE(plan.ok());
  CHECK(plan->context_length == 8192);
  CHECK(plan->num_blocks == 4 * 2048 / 16);
  CHECK(plan->kv_bytes == plan->num_blocks * 1024);
}

TEST_CASE("one whole context fits even with one slot") {
  CHECK(PlanKv({.max_sequences = 1}, kDemand)->num_blocks == 8192 / 16);
}

TEST_CASE("a context is the smallest of what model, option and memory allow") {
  CHECK(PlanKv({.context_length = 1000}, kDemand)->context_length == 1000);
  CHECK(PlanKv({.context_length = 100000}, kDemand)->context_length == 8192);
  CHECK(PlanKv({.kv_bytes = 10 * 1024}, kDemand)->context_length == 160);
  KvDemand tight = kDemand;
  tight.available_bytes = 64 * 1024;
  CHECK(PlanKv({}, tight)->num_blocks == 32);
  KvDemand long_model = kDemand;
  long_model.model_context = 1 << 20;
  CHECK(PlanKv({}, long_model)->context_length == 32768);
}

TEST_CASE("too little memory for one sequence is refused by name") {
  const absl::Status status = PlanKv({.kv_bytes = 1024}, kDemand).status();
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
  CHECK(std::string(status.message()).find("kv_bytes") != std::string::npos);
}

TEST_CASE("options outside their bounds are refused by name") {
  CHECK(EngineOptions{}.Validate().ok());
  CHECK_FALSE(EngineOptions{.num_threads = -1}.Validate().ok());
  CHECK_FALSE(EngineOptions{.max_sequences = 0}.Validate().ok());
  CHECK_FALSE(EngineOptions{.step_token_budget = 1}.Validate().ok());
  const absl::Status status = EngineOptions{.isa = "mmx"}.Validate();
  CHECK(std::string(status.message()).rfind("isa", 0) == 0);
}

}  // namespace conclave::engine
