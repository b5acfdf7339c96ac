#include "engine/kv/prefix_cache.h"

#include <catch2/catch.hpp>
#include <numeric>

#include "engine/kv/block_pool.h"

namespace conclave::engine {
namespace {

constexpr int32_t kBlock = 4;

std::vector<TokenId> Tokens(int32_t first, int32_t count) {
  std::vector<TokenId> tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

// Allocates blocks for all full blocks of `tokens`, as a sequence that computes them would.
std::vector<Block> InsertAll(PrefixCache& cache, BlockPool& pool, std::string_view salt,
                             const std::vector<TokenId>& tokens) {
  PrefixCache::Cursor cursor;
  std::vector<Block> blocks = *pool.Allocate(static_cast<int32_t>(tokens.size()) / kBlock);
  for (size_t i = 0; i < blocks.size(); ++i) {
    cache.Insert(salt, cursor, std::span(tokens).subspan(i * kBlock, kBlock), blocks[i]);
  }
  return blocks;
}

}  // namespace

TEST_CASE("the prefix cache matches whole blocks from the beginning only") {
  BlockPool pool(8);
  PrefixCache cache(&pool, kBlock);
  const std::vector<Block> blocks = InsertAll(cache, pool, "", Tokens(0, 12));
  CHECK(cache.num_blocks() == 3);

  const PrefixCache::MatchResult longer = cache.Match("", Tokens(0, 15));
  REQUIRE(longer.blocks.size() == 3);
  CHECK(longer.blocks[2].index() == blocks[2].index());

  CHECK(cache.Match("", Tokens(0, 7)).blocks.size() == 1);
  CHECK(cache.Match("", Tokens(0, 3)).blocks.empty());
  CHECK(cache.Match("", Tokens(4, 8)).blocks.empty());  // known tokens in another place

  std::vector<TokenId> differs = Tokens(0, 12);
  differs[5] = 99;
  CHECK(cache.Match("", differs).blocks.size() == 1);
}

TEST_CASE("the prefix cache keeps salts apart") {
  BlockPool pool(8);
  PrefixCache cache(&pool, kBlock);
  InsertAll(cache, pool, "alice", Tokens(0, 8));
  CHECK(cache.Match("bob", Tokens(0, 8)).blocks.empty());
  CHECK(cache.Match("", Tokens(0, 8)).blocks.empty());
  CHECK(cache.Match("alice", Tokens(0, 8)).blocks.size() == 2);
}

TEST_CASE("of two sequences that computed the same block the first one's is kept") {
  BlockPool pool(8);
  PrefixCache cache(&pool, kBlock);
  const std::vector<Block> first = InsertAll(cache, pool, "", Tokens(0, 8));
  {
    const std::vector<Block> second = InsertAll(cache, pool, "", Tokens(0, 8));
    CHECK(cache.num_blocks() == 2);
    CHECK(cache.Match("", Tokens(0, 8)).blocks[0].index() == first[0].index());
  }
  CHECK(pool.num_free() == 6);
}

TEST_CASE("the prefix cache evicts the least recently used leaf") {
  BlockPool pool(8);
  PrefixCache cache(&pool, kBlock);
  InsertAll(cache, pool, "", Tokens(0, 8));    // a chain of two
  InsertAll(cache, pool, "", Tokens(100, 4));  // a chain of one, newer
  InsertAll(cache, pool, "", Tokens(200, 4));
  cache.Match("", Tokens(0, 8));  // now the oldest is 100…
  CHECK(pool.num_idle() == 4);

  CHECK(cache.Evict(1) == 1);
  CHECK(cache.Match("", Tokens(100, 4)).blocks.empty());
  CHECK(cache.Match("", Tokens(0, 8)).blocks.size() == 2);

  // A chain goes from its end; its beginning stays matchable.
  CHECK(cache.Evict(2) == 2);  // 200… and the end of 0…
  CHECK(cache.Match("", Tokens(200, 4)).blocks.empty());
  CHECK(cache.Match("", Tokens(0, 8)).blocks.size() == 1);
  CHECK(cache.Evict(10) == 1);
  CHECK(cache.num_blocks() == 0);
  CHECK(pool.num_free() == 8);
}

TEST_CASE("the prefix cache never evicts what a sequence holds") {
  BlockPool pool(4);
  PrefixCache cache(&pool, kBlock);
  const std::vector<Block> held = InsertAll(cache, pool, "", Tokens(0, 8));
  CHECK(cache.Evict(4) == 0);
  CHECK(cache.num_blocks() == 2);
  CHECK(pool.num_used() == 2);
}

TEST_CASE("a chain evicted behind a sequence ends its insertions without harm") {
  BlockPool pool(8);
  PrefixCache cache(&pool, kBlock);
  const std::vector<TokenId> tokens = Tokens(0, 12);
  { InsertAll(cache, pool, "", Tokens(0, 8)); }
  // A second sequence computed the same two blocks by itself; the cache kept the first one's.
  std::vector<Block> own = *pool.Allocate(3);
  PrefixCache::Cursor cursor;
  cache.Insert("", cursor, std::span(tokens).subspan(0, 4), own[0]);
  cache.Insert("", cursor, std::span(tokens).subspan(4, 4), own[1]);
  CHECK(cache.Evict(2) == 2);
  cache.Insert("", cursor, std::span(tokens).subspan(8, 4), own[2]);
  CHECK(cursor.broken);
  CHECK(cache.num_blocks() == 0);
  CHECK(cache.Match("", tokens).blocks.empty());
}

TEST_CASE("an emptied salt leaves nothing behind and can be used again") {
  BlockPool pool(2);
  PrefixCache cache(&pool, kBlock);
  for (int round = 0; round < 3; ++round) {
    {
      InsertAll(cache, pool, "tenant", Tokens(0, 8));
    }
    CHECK(cache.Match("tenant", Tokens(0, 8)).blocks.size() == 2);
    CHECK(cache.Evict(2) == 2);
    CHECK(cache.num_blocks() == 0);
  }
}

}  // namespace conclave::engine
