// Model files that lie (test list M1–M11): each is refused with INVALID_ARGUMENT that names the
// field and the offset, quickly, and without allocating for what the file only claims to hold.
#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <chrono>
#include <cstring>
#include <functional>

#include "base/strings.h"
#include "engine/weights/gguf.h"
#include "engine/weights/gguf_writer.h"

namespace conclave::engine {
namespace {

// Builds a file byte by byte, so that every field can be wrong.
class Raw final {
 public:
  Raw(uint64_t num_tensors, uint64_t num_metadata, uint32_t version = 3) {
    Text("GGUF");
    U32(version);
    U64(num_tensors);
    U64(num_metadata);
  }
  Raw& Text(std::string_view text) {
    for (const char c : text) bytes_.push_back(static_cast<std::byte>(c));
    return *this;
  }
  Raw& U8(uint8_t v) { return Any(&v, 1); }
  Raw& U32(uint32_t v) { return Any(&v, 4); }
  Raw& U64(uint64_t v) { return Any(&v, 8); }
  Raw& String(std::string_view text) { return U64(text.size()).Text(text); }
  // name, dims in file order, type, offset
  Raw& Tensor(std::string_view name, const std::vector<uint64_t>& ne, uint32_t type,
              uint64_t offset) {
    String(name).U32(static_cast<uint32_t>(ne.size()));
    for (const uint64_t n : ne) U64(n);
    return U32(type).U64(offset);
  }
  Raw& Data(size_t bytes, size_t alignment = 32) {
    while (bytes_.size() % alignment != 0) bytes_.push_back(std::byte{0});
    bytes_.resize(bytes_.size() + bytes);
    return *this;
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }

 private:
  Raw& Any(const void* p, size_t n) {
    const auto* b = static_cast<const std::byte*>(p);
    bytes_.insert(bytes_.end(), b, b + n);
    return *this;
  }
  std::vector<std::byte> bytes_;
};

void Refused(const Raw& file, std::string_view field) {
  const auto source = OpenGgufBytes(file.bytes(), "bad.gguf");
  REQUIRE_FALSE(source.ok());
  const std::string message(base::Std(source.status().message()));
  CAPTURE(message, field);
  CHECK(source.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(message.find("bad.gguf: gguf: ") == 0);
  CHECK(message.find(field) != std::string::npos);
  CHECK(message.find(" at offset ") != std::string::npos);
}

constexpr uint64_t kHuge = uint64_t{1} << 63;
constexpr uint32_t kF32 = 0;
constexpr uint32_t kQ4_0 = 2;
constexpr uint32_t kQ4_K = 12;

}  // namespace

TEST_CASE("M1: magic and version") {
  Refused(Raw(0, 0, 1), "version");
  Refused(Raw(0, 0, 4), "version");
  Refused(Raw(0, 0, 0x03000000), "big-endian");
  const std::vector<std::byte> text(40, std::byte{'x'});
  CHECK(OpenGgufBytes(text, "m").status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(OpenGgufBytes({}, "m").status().code() == absl::StatusCode::kInvalidArgument);
}

TEST_CASE("M2: counts beyond what the file can hold") {
  Refused(Raw(kHuge, 0), "n_tensors");
  Refused(Raw(0, kHuge), "n_kv");
  Refused(Raw(UINT64_MAX, UINT64_MAX), "n_kv");
  Refused(Raw(1, 0), "n_tensors");
  Refused(Raw(0, 1), "n_kv");
}

TEST_CASE("M3: strings longer than the rest") {
  Refused(Raw(0, 1).U64(kHuge).Data(64), "kv[0].key");
  Refused(Raw(0, 1).U64(UINT64_MAX).Data(64), "kv[0].key");
  Refused(Raw(0, 1).String("k").U32(8).U64(1000).Data(64), "kv[0] (k)");
  Refused(Raw(0, 1).String("").U32(7).U8(1).Data(32), "kv[0].key");
  Refused(Raw(0, 1).String("a\nb").U32(7).U8(1).Data(32), "kv[0].key");
  Refused(Raw(0, 1).String(std::string(2000, 'k')).U32(7).U8(1), "kv[0].key");
}

TEST_CASE("M4: arrays whose count overflows, and nested ones") {
  Refused(Raw(0, 1).String("a").U32(9).U32(6).U64(kHuge).Data(64), ".count");
  Refused(Raw(0, 1).String("a").U32(9).U32(6).U64(uint64_t{1} << 62).Data(64), ".count");
  Refused(Raw(0, 1).String("a").U32(9).U32(8).U64(uint64_t{1} << 61).Data(64), ".count");
  Refused(Raw(0, 1).String("a").U32(9).U32(9).U64(1).Data(64), "arrays of arrays");
  Refused(Raw(0, 1).String("a").U32(9).U32(13).U64(1).Data(64), ".type");
  Refused(Raw(0, 1).String("a").U32(9).U32(8).U64(2).U64(0).U64(100).Data(8), "kv[0] (a)");
}

TEST_CASE("M4: strings of all arrays are bounded whatever the file's size") {
  constexpr size_t kMost = size_t{1} << 22;
  Raw one(0, 1);
  one.String("a").U32(9).U32(8).U64(kMost + 1).Data((kMost + 1) * 8, 1);
  Refused(one, "kv[0] (a).count");
  Raw two(0, 2);
  two.String("a").U32(9).U32(8).U64(kMost).Data(kMost * 8, 1);
  two.String("b").U32(9).U32(8).U64(1).Data(8, 1);
  Refused(two, "kv[1] (b).count");
}

TEST_CASE("M5: types nobody knows") {
  Refused(Raw(0, 1).String("k").U32(0xffffffff).Data(64), "unknown value type");
  Refused(Raw(0, 1).String("k").U32(255).Data(64), "unknown value type");
  Refused(Raw(0, 1).String("k").U32(7).U8(2).Data(64), "a bool is 0 or 1");
  for (const uint32_t type : {0xffffffffu, 255u, 4u, 5u, 1001u}) {
    Refused(Raw(1, 0).Tensor("t", {32}, type, 0).Data(128), "unknown type");
  }
}

TEST_CASE("M6: shapes that cannot be") {
  Refused(Raw(1, 0).Tensor("t", {}, kF32, 0).Data(128), ".n_dims");
  Refused(Raw(1, 0).Tensor("t", {1, 1, 1, 1, 1}, kF32, 0).Data(128), ".n_dims");
  Refused(Raw(1, 0).Tensor("t", {0}, kF32, 0).Data(128), ".ne[0]");
  Refused(Raw(1, 0).Tensor("t", {4, 0}, kF32, 0).Data(128), ".ne[1]");
  Refused(Raw(1, 0).Tensor("t", {kHuge}, kF32, 0).Data(128), ".ne[0]");
  Refused(Raw(1, 0).Tensor("t", {uint64_t{1} << 32, uint64_t{1} << 32}, kF32, 0).Data(128),
          ".ne[1]");
  Refused(Raw(1, 0)
              .Tensor("t", {uint64_t{1} << 16, uint64_t{1} << 16, uint64_t{1} << 16, 16}, kF32, 0)
              .Data(128),
          ".ne[3]");
  Refused(Raw(1, 0).Tensor("t", {33}, kQ4_0, 0).Data(128), "not a multiple of the Q4_0 block");
  Refused(Raw(1, 0).Tensor("t", {32}, kQ4_K, 0).Data(256), "not a multiple of the Q4_K block");
}

TEST_CASE("M7: alignments that are none") {
  for (const uint32_t alignment : {0u, 1u, 3u, 24u, 0x80000000u, 0xffffffffu}) {
    Refused(Raw(0, 1).String("general.alignment").U32(4).U32(alignment), "general.alignment");
  }
  Refused(Raw(0, 1).String("general.alignment").U32(8).String("32"), "general.alignment");
}

TEST_CASE("M8: tensors outside the file, unaligned or over each other") {
  Refused(Raw(1, 0).Tensor("t", {8}, kF32, 1).Data(128), "not a multiple of the alignment");
  Refused(Raw(1, 0).Tensor("t", {8}, kF32, 128).Data(128), "beyond the end");
  Refused(Raw(1, 0).Tensor("t", {8}, kF32, kHuge).Data(128), "beyond the end");
  Refused(Raw(1, 0).Tensor("t", {8}, kF32, UINT64_MAX - 31).Data(128), "beyond the end");
  Refused(Raw(1, 0).Tensor("t", {33}, kF32, 0).Data(128), "beyond the end");
  Refused(Raw(1, 0).Tensor("t", {8}, kF32, 0), "the file ends before it");
  Refused(Raw(2, 0).Tensor("a", {16}, kF32, 0).Tensor("b", {8}, kF32, 32).Data(128), "overlaps a");
  Refused(Raw(2, 0).Tensor("a", {8}, kF32, 32).Tensor("b", {16}, kF32, 0).Data(128), "overlaps b");
  const Raw good = Raw(2, 0).Tensor("a", {8}, kF32, 32).Tensor("b", {8}, kF32, 0).Data(64);
  CHECK(OpenGgufBytes(good.bytes(), "m").ok());
}

TEST_CASE("M9: names given twice") {
  Refused(Raw(0, 2).String("k").U32(7).U8(1).String("k").U32(7).U8(1), "duplicate key");
  Refused(Raw(2, 0).Tensor("t", {8}, kF32, 0).Tensor("t", {8}, kF32, 32).Data(64),
          "duplicate tensor");
}

TEST_CASE("M11: a file cut at any byte is refused, and every kilobyte of a larger one") {
  GgufWriter writer;
  writer.SetString("general.architecture", "llama");
  std::vector<std::string> tokens(300, "token");
  writer.SetStrings("tokens", tokens);
  writer.SetFloat("eps", 1e-5f);
  const std::vector<float> values(64 * 64, 0.5f);
  for (int i = 0; i < 4; ++i) {
    writer.AddTensor("blk." + std::to_string(i), DType::kQ8_0, {64, 64}, values);
  }
  const std::vector<std::byte> bytes = writer.Serialize();
  REQUIRE(OpenGgufBytes(bytes, "m").ok());
  const auto refused_at = [&](size_t size) {
    // Exactly `size` bytes on the heap, so that a sanitizer sees a read beyond them.
    const std::vector<std::byte> cut(bytes.begin(), bytes.begin() + static_cast<int64_t>(size));
    return OpenGgufBytes(cut, "m").status().code() == absl::StatusCode::kInvalidArgument;
  };
  for (size_t size = 0; size < 300; ++size) REQUIRE(refused_at(size));
  for (size_t size = 0; size < bytes.size(); size += 1024) REQUIRE(refused_at(size));
  CHECK(refused_at(bytes.size() - 1));
}

TEST_CASE("any one changed byte is read or refused, never worse") {
  GgufWriter writer;
  writer.SetString("general.architecture", "llama");
  const std::vector<float> scores = {1, 2, 3};
  writer.SetFloats("scores", scores);
  writer.AddTensor("t", DType::kF32, {2, 8}, std::vector<float>(16, 1.0f));
  const std::vector<std::byte> good = writer.Serialize();
  int refused = 0;
  for (size_t i = 0; i < good.size(); ++i) {
    for (const int value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      std::vector<std::byte> bytes = good;
      bytes[i] = static_cast<std::byte>(value);
      const auto source = OpenGgufBytes(bytes, "m");
      if (!source.ok()) {
        ++refused;
        continue;
      }
      for (const TensorEntry& tensor : (*source)->tensors()) {
        // Everything a view claims can be read.
        const std::vector<std::byte> copy(tensor.view.data, tensor.view.data + tensor.view.bytes());
        REQUIRE(static_cast<int64_t>(copy.size()) == tensor.view.bytes());
      }
    }
  }
  CHECK(refused > 100);
}

TEST_CASE("a hostile file costs neither memory nor time") {
  rusage before = {};
  getrusage(RUSAGE_SELF, &before);
  const auto start = std::chrono::steady_clock::now();
  Refused(Raw(65'536, 65'536).Data(8 << 20), "kv[0].key");
  Raw many(0, 65'536);
  for (int i = 0; i < 65'535; ++i) many.String(std::to_string(i)).U32(7).U8(1);
  many.String("0").U32(7).U8(1);
  Refused(many, "duplicate key");
  const auto took = std::chrono::steady_clock::now() - start;
  rusage after = {};
  getrusage(RUSAGE_SELF, &after);
  CHECK(took < std::chrono::seconds(10));  // a second on a quiet machine without sanitizers
  CHECK(after.ru_maxrss - before.ru_maxrss < 128 * 1024);  // KiB; the files themselves are in it
}

}  // namespace conclave::engine
