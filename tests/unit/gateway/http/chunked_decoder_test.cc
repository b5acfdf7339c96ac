#include "gateway/http/chunked_decoder.h"

#include <string>

#include "catch2/catch.hpp"

namespace conclave::gateway {
namespace {

struct Result {
  ChunkedDecoder::State state;
  std::string body;
  size_t used;
  std::string reason;
};

Result Decode(const std::string& input, size_t limit = 1000) {
  ChunkedDecoder decoder(limit);
  std::string body;
  const size_t used = decoder.Feed(input, &body);
  return {decoder.state(), body, used, std::string(decoder.reason())};
}

using State = ChunkedDecoder::State;

}  // namespace

TEST_CASE("chunks are joined and what follows is left") {
  const std::string input = "3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\n\r\nGET /";
  const Result result = Decode(input);
  CHECK(result.state == State::kDone);
  CHECK(result.body == "abcde");
  CHECK(result.used == input.size() - 5);
}

TEST_CASE("every cut gives the same body") {
  const std::string input = "5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n";
  for (size_t cut = 0; cut <= input.size(); ++cut) {
    ChunkedDecoder decoder(1000);
    std::string body;
    CHECK(decoder.Feed(input.substr(0, cut), &body) == cut);
    CHECK(decoder.Feed(input.substr(cut), &body) == input.size() - cut);
    CHECK(decoder.state() == State::kDone);
    CHECK(body == "hello0123456789");
  }
}

TEST_CASE("malformed chunks are refused") {
  CHECK(Decode("FFFFFFFFFFFFFFFFF\r\n").reason == "chunk_size");
  CHECK(Decode("3 \r\nabc\r\n").reason == "chunk_size");
  CHECK(Decode("0x3\r\nabc\r\n").reason == "chunk_size");
  CHECK(Decode("-3\r\n").reason == "chunk_size");
  CHECK(Decode("\r\n").reason == "chunk_size");
  CHECK(Decode("3\nabc").reason == "chunk_size");
  CHECK(Decode("3;a\nabc").reason == "chunk_extension");
  CHECK(Decode("3;" + std::string(300, 'x') + "\r\nabc\r\n").reason == "chunk_extension");
  CHECK(Decode("3\r\nabcd\r\n").reason == "chunk_end");
  CHECK(Decode("3\r\nabc\n").reason == "chunk_end");
  CHECK(Decode("0\r\nX-Trailer: 1\r\n\r\n").reason == "trailer");
}

TEST_CASE("a chunk that crosses the limit is refused before its bytes come") {
  CHECK(Decode("3\r\nabc\r\n0\r\n\r\n", 3).state == State::kDone);
  const Result result = Decode("3\r\nabc\r\n1\r\nd\r\n", 3);
  CHECK(result.state == State::kTooLarge);
  CHECK(result.body == "abc");
  CHECK(Decode("FFFFFFFFFFFF\r\n", 3).state == State::kTooLarge);
}

}  // namespace conclave::gateway
