#include "engine/run/stats.h"

#include <catch2/catch.hpp>

namespace conclave::engine {

TEST_CASE("rates share a mixed step's time by rows") {
  StatsKeeper keeper;
  keeper.AddStep({.ms = 10, .decode_rows = 1, .prefill_rows = 9});
  const EngineStats stats = keeper.Snapshot();
  CHECK(stats.decode_tps == Approx(1000));
  CHECK(stats.prefill_tps == Approx(1000));
  CHECK(stats.step_ms_p50 == Approx(10));
}

TEST_CASE("old steps leave the averages") {
  StatsKeeper keeper;
  for (int i = 0; i < 300; ++i) keeper.AddStep({.ms = 100, .decode_rows = 1});
  for (int i = 0; i < 256; ++i) keeper.AddStep({.ms = 1, .decode_rows = 1});
  CHECK(keeper.Snapshot().step_ms_p50 == Approx(1));
  CHECK(keeper.Snapshot().decode_tps == Approx(1000));
  CHECK(keeper.Snapshot().steps_total == 556);
}

TEST_CASE("before the first step there are no rates") {
  CHECK(StatsKeeper().Snapshot().decode_tps == 0);
  CHECK(StatsKeeper().Snapshot().step_ms_p50 == 0);
}

}  // namespace conclave::engine
