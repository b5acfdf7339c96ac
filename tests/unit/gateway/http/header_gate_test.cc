#include "gateway/http/header_gate.h"

#include <string>
#include <vector>

#include "catch2/catch.hpp"

namespace conclave::gateway {
namespace {

constexpr HeadLimits kLimits;

std::string Head(const std::string& fields, const std::string& line = "GET / HTTP/1.1") {
  return line + "\r\n" + fields + "\r\n";
}

HeadRefusal RefusalOf(const std::string& input) {
  HeadJudgement judgement = JudgeHead(input, kLimits);
  REQUIRE(judgement.state != HeadJudgement::State::kIncomplete);
  return judgement.state == HeadJudgement::State::kRefused ? judgement.refusal
                                                           : HeadRefusal{200, "", ""};
}

int StatusOf(const std::string& input) { return RefusalOf(input).status; }
std::string ReasonOf(const std::string& input) { return std::string(RefusalOf(input).reason); }

const std::string kHost = "Host: localhost\r\n";

}  // namespace

TEST_CASE("what two parsers could read differently is refused") {
  struct Case {
    std::string name;
    std::string input;
    int status;
    std::string reason;
  };
  const std::string post = "POST / HTTP/1.1";
  const std::vector<Case> cases = {
      {"length then chunked",
       Head(kHost + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", post), 400,
       "length_and_chunked"},
      {"chunked then length",
       Head(kHost + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", post), 400,
       "length_and_chunked"},
      {"gzip then length", Head(kHost + "Transfer-Encoding: gzip\r\nContent-Length: 3\r\n", post),
       400, "transfer_encoding"},
      {"length then gzip", Head(kHost + "Content-Length: 3\r\nTransfer-Encoding: gzip\r\n", post),
       400, "transfer_encoding"},
      {"two equal lengths", Head(kHost + "Content-Length: 3\r\nContent-Length: 3\r\n", post), 400,
       "two_content_lengths"},
      {"two lengths", Head(kHost + "Content-Length: 3\r\nContent-Length: 4\r\n", post), 400,
       "two_content_lengths"},
      {"a list of lengths", Head(kHost + "Content-Length: 27, 27\r\n", post), 400,
       "content_length"},
      {"a signed length", Head(kHost + "Content-Length: +27\r\n", post), 400, "content_length"},
      {"a negative length", Head(kHost + "Content-Length: -1\r\n", post), 400, "content_length"},
      {"an empty length", Head(kHost + "Content-Length:\r\n", post), 400, "content_length"},
      {"2^64", Head(kHost + "Content-Length: 18446744073709551616\r\n", post), 400,
       "content_length"},
      {"chunked in 1.0", Head(kHost + "Transfer-Encoding: chunked\r\n", "POST / HTTP/1.0"), 400,
       "transfer_encoding"},
      {"xchunked", Head(kHost + "Transfer-Encoding: xchunked\r\n", post), 400, "transfer_encoding"},
      {"chunked, identity", Head(kHost + "Transfer-Encoding: chunked, identity\r\n", post), 400,
       "transfer_encoding"},
      {"chunked twice",
       Head(kHost + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", post), 400,
       "transfer_encoding"},
      {"blank before the colon", Head(kHost + "Transfer-Encoding : chunked\r\n", post), 400,
       "field_name"},
      {"obs-fold", Head(kHost + "X-A: b\r\n c\r\n"), 400, "obs_fold"},
      {"no host", Head("X-A: b\r\n"), 400, "no_host"},
      {"two hosts", Head(kHost + kHost), 400, "two_hosts"},
      {"an ill host", Head("Host: a/b\r\n"), 400, "host"},
      {"an empty host", Head("Host:\r\n"), 400, "host"},
      {"NUL in a value", Head(kHost + "X-A: b" + std::string(1, '\0') + "c\r\n"), 400, "nul"},
      {"a control character",
       Head(kHost + "X-A: b\x01"
                    "c\r\n"),
       400, "field_value"},
      {"DEL", Head(kHost + "X-A: b\x7f\r\n"), 400, "field_value"},
      {"no colon", Head(kHost + "nonsense\r\n"), 400, "field_name"},
      {"an empty name", Head(kHost + ": x\r\n"), 400, "field_name"},
      {"no version", Head(kHost, "GET /"), 400, "request_line"},
      {"no target", Head(kHost, "GET  HTTP/1.1"), 400, "target"},
      {"two blanks", Head(kHost, "GET /a b HTTP/1.1"), 400, "target"},
      {"HTTP/2.0", Head(kHost, "GET / HTTP/2.0"), 505, "version"},
      {"HTTP/1.2", Head(kHost, "GET / HTTP/1.2"), 505, "version"},
      {"a method with a colon", Head(kHost, "GE:T / HTTP/1.1"), 400, "method"},
      {"absolute form", Head(kHost, "GET http://localhost/ HTTP/1.1"), 421, "absolute_form"},
      {"authority form", Head(kHost, "CONNECT localhost:80 HTTP/1.1"), 400, "target"},
      {"a fragment", Head(kHost, "GET /a#b HTTP/1.1"), 400, "target"},
      {"a Connection that is no list", Head(kHost + "Connection: close now\r\n"), 400,
       "connection"},
      {"another expectation", Head(kHost + "Expect: 200-maybe\r\n", post), 417, "expect"},
      {"a long target", Head(kHost, "GET /" + std::string(9000, 'a') + " HTTP/1.1"), 414,
       "target_too_long"},
      {"too many fields",
       [] {
         std::string fields = kHost;
         for (int i = 0; i < 2000; ++i) fields += "a:b\r\n";
         return Head(fields);
       }(),
       431, "too_many_fields"},
  };
  for (const Case& c : cases) {
    INFO(c.name);
    CHECK(StatusOf(c.input) == c.status);
    CHECK(ReasonOf(c.input) == c.reason);
  }
}

TEST_CASE("controls pass") {
  CHECK(StatusOf(Head(kHost + "Content-Length: 27\r\n", "POST / HTTP/1.1")) == 200);
  CHECK(StatusOf(Head(kHost + "X-Big: " + std::string(4096, 'x') + "\r\n")) == 200);
  CHECK(StatusOf(Head(kHost + "X-Big: " + std::string(9 * 1024, 'x') + "\r\n")) == 200);
  CHECK(StatusOf(Head(kHost + "Transfer-Encoding: Chunked\r\n", "POST / HTTP/1.1")) == 200);
  CHECK(StatusOf(Head("", "GET / HTTP/1.0")) == 200);
  CHECK(StatusOf(Head(kHost, "OPTIONS * HTTP/1.1")) == 200);
  CHECK(StatusOf(Head("Host: [::1]:8080\r\n")) == 200);
}

TEST_CASE("an incomplete head is refused as soon as it can be told") {
  const auto state = [](const std::string& input) { return JudgeHead(input, kLimits); };
  CHECK(state("").state == HeadJudgement::State::kIncomplete);
  CHECK(state("GET / HTTP/1.1\r\nHost: x\r").state == HeadJudgement::State::kIncomplete);
  CHECK(state("\x16\x03\x01").refusal.reason == "tls");
  CHECK(state("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").refusal.reason == "http2");
  CHECK(state("GET / HTTP/1.1\nHost: x\n").refusal.reason == "bare_lf");
  CHECK(state("GET / HTTP/1.1\rHost: x").refusal.reason == "bare_cr");
  CHECK(state("GET /" + std::string(20'000, 'a')).refusal.status == 414);
  CHECK(state("GET / HTTP/1.1\r\nX: " + std::string(20'000, 'a')).refusal.status == 431);
  CHECK(state("GET / HTTP/1.1\r\nX: " + std::string(20'000, 'a') + "\r\n\r\n").refusal.status ==
        431);
}

TEST_CASE("the gate gives the bytes of one head and leaves the next alone") {
  const std::string one = Head(kHost);
  const HeadJudgement judgement = JudgeHead(one + one, kLimits);
  CHECK(judgement.state == HeadJudgement::State::kAccepted);
  CHECK(judgement.bytes == one.size());
}

}  // namespace conclave::gateway
