#include "gateway/http/chunk_gate.h"

#include <string>

#include "catch2/catch.hpp"

namespace conclave::gateway {
namespace {

using State = ChunkJudgement::State;

std::string ReasonOf(const std::string& input, bool after_data = false) {
  const ChunkJudgement judgement = JudgeChunkHead(input, after_data);
  if (judgement.state != State::kRefused) return "";
  return std::string(judgement.reason);
}

size_t BytesOf(const std::string& input, bool after_data = false) {
  const ChunkJudgement judgement = JudgeChunkHead(input, after_data);
  return judgement.state == State::kAccepted ? judgement.bytes : 0;
}

}  // namespace

TEST_CASE("a chunk's head ends with its line, the last one's with a blank line") {
  CHECK(BytesOf("3\r\nabc") == 3);
  CHECK(BytesOf("00a;x;y=z\r\n") == 11);
  CHECK(BytesOf("\r\n3\r\nabc", true) == 5);
  CHECK(BytesOf("0\r\n\r\nGET") == 5);
  CHECK(BytesOf("\r\n000;a\r\n\r\n", true) == 11);
}

TEST_CASE("every shorter piece of a chunk's head is incomplete") {
  for (const std::string head : {"\r\n1aF;x=y;z\r\n", "\r\n0;a\r\n\r\n"}) {
    for (size_t cut = 0; cut < head.size(); ++cut) {
      CHECK(JudgeChunkHead(head.substr(0, cut), true).state == State::kIncomplete);
    }
    CHECK(BytesOf(head, true) == head.size());
  }
}

TEST_CASE("what Beast would take or wait for, the gate refuses") {
  CHECK(ReasonOf(std::string(13, '0')) == "chunk_size");
  CHECK(ReasonOf("3 ;a\r\n") == "chunk_size");
  CHECK(ReasonOf("+3\r\n") == "chunk_size");
  CHECK(ReasonOf("3;a=\"b\"\r\n") == "chunk_extension");
  CHECK(ReasonOf("3;a=\"") == "chunk_extension");
  CHECK(ReasonOf("3;\r\n") == "chunk_extension");
  CHECK(ReasonOf("3;a=\r\n") == "chunk_extension");
  CHECK(ReasonOf("3; a\r\n") == "chunk_extension");
  CHECK(ReasonOf("3;a\nb") == "chunk_extension");
  CHECK(ReasonOf("3;" + std::string(256, 'a')) == "chunk_extension");
  CHECK(BytesOf("3;" + std::string(255, 'a') + "\r\n") == 259);
  CHECK(ReasonOf("x3\r\n", true) == "chunk_end");
  CHECK(ReasonOf("\n3\r\n", true) == "chunk_end");
  CHECK(ReasonOf("0\r\nX-Trailer: 1\r\n\r\n") == "trailer");
}

}  // namespace conclave::gateway
