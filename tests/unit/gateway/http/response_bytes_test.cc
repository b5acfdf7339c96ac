#include "gateway/http/response_bytes.h"

#include <string>

#include "catch2/catch.hpp"

namespace conclave::gateway {
namespace {

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// "Sun, 06 Nov 1994 08:49:37 GMT" in place of whatever time it is.
std::string WithoutDate(std::string head) {
  const size_t at = head.find("Date: ");
  REQUIRE(at != std::string::npos);
  const size_t end = head.find(" GMT\r\n", at);
  REQUIRE(end == at + 31);
  return head.erase(at, end + 6 - at);
}

}  // namespace

TEST_CASE("a head has status line, framing and the fields given, in order") {
  ResponseHead head;
  head.status = 404;
  head.content_length = 12;
  head.fields = {{"Content-Type", "application/json"}, {"X-A", "1"}, {"X-A", "2"}};
  CHECK(WithoutDate(HeadBytes(head)) ==
        "HTTP/1.1 404 Not Found\r\nContent-Length: 12\r\nContent-Type: application/json\r\n"
        "X-A: 1\r\nX-A: 2\r\n\r\n");
}

TEST_CASE("a stream is chunked for HTTP/1.1 and framed by its end for 1.0") {
  ResponseHead head;
  CHECK(WithoutDate(HeadBytes(head)) == "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
  head.request_minor_version = 0;
  head.keep_alive = false;
  CHECK(WithoutDate(HeadBytes(head)) == "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
}

TEST_CASE("connection options are said where the version does not say them") {
  ResponseHead head;
  head.content_length = 0;
  CHECK_FALSE(Has(HeadBytes(head), "Connection"));
  head.keep_alive = false;
  CHECK(Has(HeadBytes(head), "\r\nConnection: close\r\n"));
  head.request_minor_version = 0;
  CHECK(Has(HeadBytes(head), "\r\nConnection: close\r\n"));
  head.keep_alive = true;
  CHECK(Has(HeadBytes(head), "\r\nConnection: keep-alive\r\n"));
}

TEST_CASE("204 has no length, and every status has a phrase") {
  ResponseHead head;
  head.status = 204;
  head.content_length = 0;
  CHECK_FALSE(Has(HeadBytes(head), "Content-Length"));
  for (const int status : {200, 201, 400, 401, 403, 404, 405, 408, 409, 413, 414,
                           415, 417, 421, 422, 429, 431, 500, 501, 503, 504, 505}) {
    head.status = status;
    const std::string bytes = HeadBytes(head);
    INFO(status);
    CHECK(bytes.substr(0, 13) == "HTTP/1.1 " + std::to_string(status) + " ");
    CHECK(bytes[13] != '\r');
    CHECK_FALSE(Has(bytes, "<unknown"));
  }
}

TEST_CASE("chunks carry their length in hex") {
  std::string bytes;
  AppendChunk("abc", &bytes);
  CHECK(bytes == "3\r\nabc\r\n");
  AppendChunk(std::string(300, 'x'), &bytes);
  CHECK(bytes == "3\r\nabc\r\n12c\r\n" + std::string(300, 'x') + "\r\n");
  CHECK(LastChunkBytes() == "0\r\n\r\n");
}

}  // namespace conclave::gateway
