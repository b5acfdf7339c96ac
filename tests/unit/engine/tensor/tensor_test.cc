#include <catch2/catch.hpp>
#include <set>

#include "engine/tensor/arena.h"
#include "engine/tensor/buffer.h"
#include "engine/tensor/dtype.h"
#include "engine/tensor/tensor_view.h"

namespace conclave::engine {

TEST_CASE("every type has its facts once, and GGUF ids find theirs") {
  std::set<DType> seen;
  for (const DTypeInfo& info : AllDTypes()) {
    CHECK(seen.insert(info.dtype).second);
    CHECK(&InfoOf(info.dtype) == &info);
    const auto id = static_cast<uint32_t>(info.dtype);
    CHECK(DTypeFromGguf(id).has_value() == (id < 1000));
  }
  CHECK_FALSE(DTypeFromGguf(4).has_value());  // a type GGUF gave up
  CHECK_FALSE(DTypeFromGguf(0xffffffff).has_value());
  CHECK_FALSE(DTypeFromGguf(1001).has_value());
  CHECK(NameOf(DType::kQ4_K) == "Q4_K");
}

TEST_CASE("a view knows its rows and their bytes, and gives slices") {
  std::byte memory[4 * 3 * 36] = {};
  TensorView view;
  view.dtype = DType::kQ4_0;
  view.shape = {4, 3, 64};
  view.data = memory;
  CHECK(view.cols() == 64);
  CHECK(view.rows() == 12);
  CHECK(view.row_bytes() == 36);
  CHECK(view.bytes() == 432);
  CHECK(view.row(5) == memory + 180);
  const TensorView slice = view.Slice(2);
  CHECK(slice.shape == Shape{3, 64});
  CHECK(slice.data == memory + 2 * 108);
  CHECK(view.shape.ToString() == "[4][3][64]");
  CHECK(Shape{}.ToString() == "[]");
  CHECK_FALSE(Shape{4} == Shape{4, 1});
}

TEST_CASE("a buffer is aligned, zeroed and moves") {
  auto buffer = Buffer::Allocate(5 << 20);
  REQUIRE(buffer.ok());
  CHECK(reinterpret_cast<uintptr_t>(buffer->data()) % 64 == 0);
  CHECK(buffer->data()[(5 << 20) - 1] == std::byte{0});
  buffer->as<int32_t>()[3] = 7;
  Buffer moved = *std::move(buffer);
  CHECK(moved.as<int32_t>()[3] == 7);
  Buffer other;
  other = std::move(moved);
  CHECK(other.size() == 5 << 20);
  CHECK(Buffer::Allocate(0)->data() == nullptr);
  CHECK(Buffer::Allocate(-1).status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(Buffer::Allocate(int64_t{1} << 60).status().code() == absl::StatusCode::kResourceExhausted);
}

TEST_CASE("an arena gives aligned pieces until it is reset") {
  Arena arena;
  REQUIRE(arena.Reserve(Arena::Bytes<float>(3) + Arena::Bytes<int8_t>(65)).ok());
  const auto floats = arena.Take<float>(3);
  const auto bytes = arena.Take<int8_t>(65);
  CHECK(floats.size() == 3);
  CHECK(reinterpret_cast<uintptr_t>(bytes.data()) % 64 == 0);
  CHECK(arena.used() == arena.capacity());
  arena.Reset();
  CHECK(arena.Take<float>(1).data() == floats.data());
}

}  // namespace conclave::engine
