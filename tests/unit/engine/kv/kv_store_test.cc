#include "engine/kv/kv_store.h"

#include <catch2/catch.hpp>

namespace conclave::engine {

TEST_CASE("layers of a KV store lie apart and hold every block") {
  const KvLayout layout{.num_kv_heads = 2, .head_dim = 8, .value_dim = 8};
  absl::StatusOr<KvStore> store = KvStore::Create(layout, 3, 5);
  REQUIRE(store.ok());
  const auto distance =
      static_cast<std::byte*>(store->layer(1)) - static_cast<std::byte*>(store->layer(0));
  CHECK(distance == layout.block_bytes() * 5);
  CHECK(store->bytes() == 3 * distance);
  // K: 2 heads × 8 × 16 halves; V the same, padded to 16.
  CHECK(layout.block_bytes() == 2 * (8 * 16 * 2 + 16 * 16 * 2));
}

TEST_CASE("a KV store that cannot be had says so") {
  const KvLayout layout{.num_kv_heads = 1024, .head_dim = 1024, .value_dim = 1024};
  const absl::Status status = KvStore::Create(layout, 1024, 1 << 20).status();
  CHECK(status.code() == absl::StatusCode::kResourceExhausted);
}

}  // namespace conclave::engine
