#include "engine/kv/block_pool.h"

#include <catch2/catch.hpp>
#include <set>
#include <utility>

namespace conclave::engine {

TEST_CASE("a block pool gives distinct blocks and gets them back by itself") {
  BlockPool pool(4);
  {
    absl::StatusOr<std::vector<Block>> blocks = pool.Allocate(3);
    REQUIRE(blocks.ok());
    std::set<int32_t> indexes;
    for (const Block& block : *blocks) indexes.insert(block.index());
    CHECK(indexes.size() == 3);
    CHECK(*indexes.rbegin() < 4);
    CHECK(pool.num_free() == 1);
    CHECK(pool.num_used() == 3);
  }
  CHECK(pool.num_free() == 4);
}

TEST_CASE("a block pool gives all or nothing") {
  BlockPool pool(2);
  CHECK(pool.Allocate(3).status().code() == absl::StatusCode::kResourceExhausted);
  CHECK(pool.num_free() == 2);
  CHECK(pool.Allocate(0)->empty());
}

TEST_CASE("a block lives until its last handle goes") {
  BlockPool pool(1);
  Block first = std::move(pool.Allocate(1)->front());
  Block second = first;
  CHECK(second.index() == first.index());
  CHECK(first.num_handles() == 2);
  first = Block();
  CHECK(first.empty());
  CHECK(pool.num_free() == 0);
  Block third = std::move(second);
  CHECK(third.num_handles() == 1);
  Block& alias = third;
  third = alias;  // to itself: nothing is lost
  CHECK(pool.num_free() == 0);
  third = Block();
  CHECK(pool.num_free() == 1);
}

TEST_CASE("a block that only the cache holds is idle, not used") {
  BlockPool pool(2);
  Block held = std::move(pool.Allocate(1)->front());
  Block cached = held;
  pool.MarkCached(cached, true);
  CHECK(pool.num_idle() == 0);
  held = Block();
  CHECK(pool.num_idle() == 1);
  CHECK(pool.num_used() == 0);
  held = cached;
  CHECK(pool.num_used() == 1);
  held = Block();
  pool.MarkCached(cached, false);
  CHECK(pool.num_idle() == 0);
}

}  // namespace conclave::engine
