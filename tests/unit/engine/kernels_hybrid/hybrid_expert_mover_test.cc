// Experts of one layer that change places between the emulated device and the processors: the same
// bits as where they had been there from the beginning.
#include "engine/kernels/hybrid/hybrid_expert_mover.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <memory>
#include <utility>
#include <vector>

#include "gpu/shared_layer.h"
#include "unit/engine/kernels_hybrid/emulated.h"

namespace conclave::engine {
namespace {

std::unique_ptr<Kernels> Open(std::vector<int32_t> experts, int64_t stream_rows = -1) {
  absl::StatusOr<std::unique_ptr<Kernels>> kernels =
      CreateKernels({.device = "cuda",
                     .num_threads = 2,
                     .isa = {},
                     .device_experts = {std::move(experts)},
                     .stream_rows = stream_rows});
  REQUIRE(kernels.ok());
  return *std::move(kernels);
}

int64_t Arrive(ExpertMover& mover) {
  int64_t arrived = 0;
  for (int i = 0; i < 100 && !mover.idle(); ++i) {
    const absl::StatusOr<int64_t> more = mover.Finish();
    REQUIRE(more.ok());
    arrived += *more;
  }
  return arrived;
}

}  // namespace

TEST_CASE(
    "experts that changed places compute the bits of those that were there, in every format") {
  const Emulated device;
  for (const QuantFormat* format : AllFormats()) {
    CAPTURE(format->name());
    const SharedLayer layer(*format, 6, 3, 256, 256);
    const SharedLayer::Rows rows = layer.MakeRows(19);
    const auto moving = Open({1, 4});
    absl::StatusOr<SharedLayer::Packed> packed = layer.Pack(*moving);
    REQUIRE(packed.ok());
    ExpertMover& mover = *moving->mover();
    mover.Share(packed->shared());
    const std::vector<float> before = layer.Shared(*moving, *packed, rows);
    REQUIRE(mover.Reserve(0).ok());
    const std::vector<ExpertExchange> exchanges = {{0, 5, 1}, {0, 0, 4}};
    // Room for one at a time, and steps go on meanwhile.
    REQUIRE(*mover.Start(exchanges) == 1);
    CHECK(layer.Shared(*moving, *packed, rows) == before);
    REQUIRE(mover.ready());
    REQUIRE(*mover.Start(std::span(exchanges).subspan(1)) == 1);
    CHECK_FALSE(mover.ready());
    CHECK(Arrive(mover) == 2);
    CHECK(mover.DeviceExperts() == std::vector<std::vector<int32_t>>{{0, 5}});
    const auto there = Open({0, 5});
    CHECK(layer.Shared(*moving, *packed, rows) == layer.Shared(*there, rows));
    // And back.
    REQUIRE(*mover.Start(std::vector<ExpertExchange>{{0, 4, 5}}) == 1);
    REQUIRE(*mover.Start(std::vector<ExpertExchange>{{0, 1, 0}}) == 1);
    CHECK(Arrive(mover) == 2);
    CHECK(layer.Shared(*moving, *packed, rows) == before);
  }
}

TEST_CASE("what rows choose is counted, handed over or streamed") {
  const Emulated device;
  const SharedLayer layer(*FindFormat(DType::kQ4_K), 6, 3, 256, 256);
  const SharedLayer::Rows rows = layer.MakeRows(19);
  std::vector<int64_t> expected(6);
  for (const int32_t id : rows.ids) ++expected[static_cast<size_t>(id)];
  for (const int64_t stream_rows : {-1, 1}) {
    const auto kernels = Open({1, 4}, stream_rows);
    absl::StatusOr<SharedLayer::Packed> packed = layer.Pack(*kernels);
    REQUIRE(packed.ok());
    kernels->mover()->Share(packed->shared());
    for (int round = 0; round < 2; ++round) {
      REQUIRE_FALSE(layer.Shared(*kernels, *packed, rows).empty());
      CHECK(*kernels->mover()->TakeCounts() == ExpertCounts{expected});
    }
    CHECK(*kernels->mover()->TakeCounts() == ExpertCounts{std::vector<int64_t>(6)});
  }
}

TEST_CASE("copies that the driver refuses leave all as it was, and are tried again") {
  Emulated device;
  const SharedLayer layer(*FindFormat(DType::kQ8_0), 6, 3, 256, 256);
  const SharedLayer::Rows rows = layer.MakeRows(5);
  const auto kernels = Open({1, 4});
  absl::StatusOr<SharedLayer::Packed> packed = layer.Pack(*kernels);
  REQUIRE(packed.ok());
  ExpertMover& mover = *kernels->mover();
  mover.Share(packed->shared());
  const std::vector<float> before = layer.Shared(*kernels, *packed, rows);
  REQUIRE(mover.Reserve(0).ok());
  const std::vector<ExpertExchange> exchange = {{0, 5, 1}};
  for (const int64_t copy : {1, 2, 4}) {  // the one up, the first and the last down
    device.Set("CONCLAVE_EMULATOR_FAIL_COPY", copy);
    CHECK(mover.Start(exchange).status().code() == absl::StatusCode::kAborted);
    CHECK(kernels->status().ok());
    CHECK(Arrive(mover) == 0);
    CHECK(mover.DeviceExperts() == std::vector<std::vector<int32_t>>{{1, 4}});
    CHECK(layer.Shared(*kernels, *packed, rows) == before);
  }
  REQUIRE(*mover.Start(exchange) == 1);
  CHECK(Arrive(mover) == 1);
  CHECK(layer.Shared(*kernels, *packed, rows) == layer.Shared(*Open({4, 5}), rows));
}

TEST_CASE("without memory for experts on their way none move, and a copy that breaks is told") {
  Emulated device;
  const SharedLayer layer(*FindFormat(DType::kQ8_0), 6, 3, 256, 256);
  const auto kernels = Open({1, 4});
  absl::StatusOr<SharedLayer::Packed> packed = layer.Pack(*kernels);
  REQUIRE(packed.ok());
  ExpertMover& mover = *kernels->mover();
  mover.Share(packed->shared());
  CHECK_FALSE(mover.ready());
  for (const auto& [what, which] :
       {std::pair("CONCLAVE_EMULATOR_FAIL_PIN", 1), std::pair("CONCLAVE_EMULATOR_FAIL_PIN", 3),
        std::pair("CONCLAVE_EMULATOR_FAIL_ALLOC", 2)}) {
    device.Set(what, which);
    CHECK(mover.Reserve(0).code() == absl::StatusCode::kResourceExhausted);
    CHECK_FALSE(mover.ready());
    CHECK(kernels->status().ok());
  }
  REQUIRE(mover.Reserve(0).ok());
  device.Set("CONCLAVE_EMULATOR_BREAK_COPY", 2);
  REQUIRE(mover.Start(std::vector<ExpertExchange>{{0, 5, 1}}).ok());
  CHECK(mover.Finish().status().code() == absl::StatusCode::kUnavailable);
  CHECK(kernels->status().code() == absl::StatusCode::kUnavailable);
}

}  // namespace conclave::engine
