#include "backends/sse_parser.h"

#include <catch2/catch.hpp>
#include <string>

namespace conclave::backends {
namespace {

// Everything the parser says of `bytes`, given in pieces of `piece`.
std::string Story(const std::string& bytes, size_t piece) {
  SseParser parser;
  std::string story;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    if (!parser.Feed(std::string_view(bytes).substr(at, piece)).ok()) return "too long";
    while (const auto event = parser.Next()) story += event->name + "=" + event->data + ";";
  }
  return story;
}

}  // namespace

TEST_CASE("events are the same however the bytes are cut and whatever ends the lines") {
  const std::string text =
      "\xef\xbb\xbf: hello\n\ndata: one\n\nevent: error\ndata:two\ndata: 2\nid: "
      "7\n\nretry\n\ndata\n\n";
  const std::string expected = "=one;error=two\n2;=;";
  for (const std::string end : {"\n", "\r\n", "\r"}) {
    std::string bytes;
    for (const char c : text) bytes += c == '\n' ? end : std::string(1, c);
    bytes += "data: never ended\n";  // with CR LF, the last LF may still belong to the CR
    for (size_t piece = 1; piece <= bytes.size(); ++piece) {
      CAPTURE(end, piece);
      CHECK(Story(bytes, piece) == expected);
    }
  }
}

TEST_CASE("a line or an event that does not end is refused, not kept") {
  SseParser parser;
  const std::string piece(64 * 1024, 'x');
  absl::Status status;
  int fed = 0;
  while (status.ok() && fed++ < 100) status = parser.Feed(piece);
  CHECK(absl::IsResourceExhausted(status));
  CHECK(fed == 17);

  SseParser lines;
  const std::string line = "data: " + piece + "\n";
  fed = 0;
  while (lines.status().ok() && fed++ < 100) {
    static_cast<void>(lines.Feed(line));
    CHECK(!lines.Next());
  }
  CHECK(absl::IsResourceExhausted(lines.status()));
  CHECK(fed < 20);
}

}  // namespace conclave::backends
