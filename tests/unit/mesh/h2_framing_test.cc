#include "mesh/h2_framing.h"

#include <catch2/catch.hpp>
#include <vector>

namespace conclave::mesh {
namespace {

using std::chrono::milliseconds;

constexpr size_t kMax = 1000;

TEST_CASE("a message stands behind its length") {
  CHECK(WithPrefix("") == std::string(5, '\0'));
  CHECK(WithPrefix("abc") == std::string("\0\0\0\0\3abc", 8));
  const std::string large = WithPrefix(std::string(0x10203, 'x'));
  CHECK(large.substr(0, 5) == std::string("\0\0\1\2\3", 5));
}

TEST_CASE("messages come whole however they were cut") {
  const std::string wire =
      WithPrefix("first") + WithPrefix("") + WithPrefix(std::string(300, 'y')) + WithPrefix("z");
  for (size_t piece = 1; piece <= wire.size(); ++piece) {
    MessageAssembler assembler(kMax);
    std::vector<std::string> messages;
    for (size_t at = 0; at < wire.size(); at += piece) {
      assembler.Add(std::string_view(wire).substr(at, piece));
      for (auto next = assembler.Next(); next.ok() && *next; next = assembler.Next()) {
        messages.emplace_back(**next);
      }
    }
    CHECK(messages == std::vector<std::string>{"first", "", std::string(300, 'y'), "z"});
    CHECK(assembler.num_left() == 0);
  }
}

TEST_CASE("a message too large is refused by its length alone, a compressed one by its mark") {
  MessageAssembler assembler(kMax);
  assembler.Add(std::string_view("\0\0\0\3\xe9", 5));
  CHECK(absl::IsResourceExhausted(assembler.Next().status()));
  MessageAssembler largest(kMax);
  largest.Add(std::string_view("\0\0\0\3\xe8", 5));
  CHECK(largest.Next().ok());
  MessageAssembler compressed(kMax);
  compressed.Add(std::string_view("\1\0\0\0\0", 5));
  CHECK(absl::IsInternal(compressed.Next().status()));
}

TEST_CASE("percent-encoded text is read, and what is no escape is kept") {
  CHECK(PercentDecoded("a%20b%C3%a9") == "a b\xc3\xa9");
  CHECK(PercentDecoded("100%") == "100%");
  CHECK(PercentDecoded("%4") == "%4");
  CHECK(PercentDecoded("%zz%41") == "%zzA");
}

TEST_CASE("a time-out has eight digits at most, and is never nothing") {
  CHECK(GrpcTimeout(milliseconds(1500)) == "1500m");
  CHECK(GrpcTimeout(milliseconds(-1)) == "1m");
  CHECK(GrpcTimeout(milliseconds(99'999'999)) == "99999999m");
  CHECK(GrpcTimeout(milliseconds(100'000'000)) == "100000S");
  CHECK(GrpcTimeout(milliseconds::max()) == "99999999S");
}

TEST_CASE("what is no code of gRPC's is unknown") {
  CHECK(GrpcCode("0") == absl::StatusCode::kOk);
  CHECK(GrpcCode("14") == absl::StatusCode::kUnavailable);
  for (const char* text : {"", "17", "-1", "1x", "99999999999"}) {
    CHECK(GrpcCode(text) == absl::StatusCode::kUnknown);
  }
}

TEST_CASE("answers and resets without a status have the meaning that gRPC gives them") {
  CHECK(absl::IsUnimplemented(StatusOfHttp(404)));
  CHECK(absl::IsUnavailable(StatusOfHttp(503)));
  CHECK(absl::IsUnknown(StatusOfHttp(200)));
  CHECK(absl::IsUnavailable(StatusOfReset(7)));
  CHECK(absl::IsCancelled(StatusOfReset(8)));
  CHECK(absl::IsResourceExhausted(StatusOfReset(11)));
  CHECK(absl::IsInternal(StatusOfReset(0)));
  CHECK(absl::IsInternal(StatusOfReset(2)));
}

}  // namespace
}  // namespace conclave::mesh
