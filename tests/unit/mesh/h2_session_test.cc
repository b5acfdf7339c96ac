// Against nghttp2's server half, which says exactly what a test wants said.
#include "mesh/h2_session.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <map>
#include <vector>

#include "absl/strings/escaping.h"
#include "conclave/v1/common.pb.h"
#include "mesh/h2_framing.h"

namespace conclave::mesh {
namespace {

using Fields = std::vector<std::pair<std::string, std::string>>;

struct Seen final : H2Session::Stream {
  void OnData(std::string_view bytes) override { data += bytes; }
  void OnEnd(absl::Status its_status) override {
    ++ends;
    status = std::move(its_status);
  }
  std::string data;
  absl::Status status;
  int ends = 0;
};

class Server final {
 public:
  Server() {
    nghttp2_session_callbacks* callbacks = nullptr;
    nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, OnHeader);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, OnData);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, OnClose);
    nghttp2_session_server_new(&session_, callbacks, this);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, nullptr, 0);
  }
  ~Server() { nghttp2_session_del(session_); }

  void Receive(const std::string& bytes) {
    nghttp2_session_mem_recv(session_, reinterpret_cast<const uint8_t*>(bytes.data()),
                             bytes.size());
  }
  std::string Output() {
    std::string out;
    const uint8_t* data = nullptr;
    for (ssize_t n = 0; (n = nghttp2_session_mem_send(session_, &data)) > 0;) {
      out.append(reinterpret_cast<const char*>(data), static_cast<size_t>(n));
    }
    return out;
  }
  // Head, body, trailers; the stream stays open without trailers.
  void Answer(int32_t id, const std::string& body, const Fields& trailers,
              const Fields& head = {{":status", "200"}, {"content-type", "application/grpc"}}) {
    bodies_[id] = {.bytes = body, .trailers = trailers};
    nghttp2_data_provider provider{};
    provider.read_callback = ReadBody;
    const std::vector<nghttp2_nv> fields = Pairs(head);
    nghttp2_submit_response(session_, id, fields.data(), fields.size(), &provider);
  }
  void AnswerWithTrailersOnly(int32_t id, const Fields& fields) {
    const std::vector<nghttp2_nv> pairs = Pairs(fields);
    nghttp2_submit_response(session_, id, pairs.data(), pairs.size(), nullptr);
  }
  void Reset(int32_t id, uint32_t error) {
    nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, error);
  }
  void GoAway(int32_t last) {
    nghttp2_submit_goaway(session_, NGHTTP2_FLAG_NONE, last, NGHTTP2_NO_ERROR, nullptr, 0);
  }

  std::map<std::string, std::string> headers;
  std::map<int32_t, std::string> requests;
  std::map<int32_t, uint32_t> closed;

 private:
  struct Body {
    std::string bytes;
    size_t sent = 0;
    Fields trailers;
  };

  static std::vector<nghttp2_nv> Pairs(const Fields& fields) {
    std::vector<nghttp2_nv> pairs;
    for (const auto& [name, value] : fields) {
      pairs.push_back({reinterpret_cast<uint8_t*>(const_cast<char*>(name.data())),
                       reinterpret_cast<uint8_t*>(const_cast<char*>(value.data())), name.size(),
                       value.size(), NGHTTP2_NV_FLAG_NONE});
    }
    return pairs;
  }
  static int OnHeader(nghttp2_session*, const nghttp2_frame*, const uint8_t* name, size_t name_size,
                      const uint8_t* value, size_t value_size, uint8_t, void* self) {
    static_cast<Server*>(self)->headers[std::string(name, name + name_size)] =
        std::string(value, value + value_size);
    return 0;
  }
  static int OnData(nghttp2_session*, uint8_t, int32_t id, const uint8_t* data, size_t size,
                    void* self) {
    static_cast<Server*>(self)->requests[id].append(data, data + size);
    return 0;
  }
  static int OnClose(nghttp2_session*, int32_t id, uint32_t error, void* self) {
    static_cast<Server*>(self)->closed[id] = error;
    return 0;
  }
  static ssize_t ReadBody(nghttp2_session* session, int32_t id, uint8_t* to, size_t size,
                          uint32_t* flags, nghttp2_data_source*, void* self) {
    Body& body = static_cast<Server*>(self)->bodies_[id];
    const size_t n = std::min(size, body.bytes.size() - body.sent);
    if (n == 0 && body.trailers.empty()) return NGHTTP2_ERR_DEFERRED;
    std::copy_n(body.bytes.data() + body.sent, n, to);
    body.sent += n;
    if (body.sent < body.bytes.size() || body.trailers.empty()) return static_cast<ssize_t>(n);
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    const std::vector<nghttp2_nv> trailers = Pairs(body.trailers);
    nghttp2_submit_trailer(session, id, trailers.data(), trailers.size());
    return static_cast<ssize_t>(n);
  }

  nghttp2_session* session_ = nullptr;
  std::map<int32_t, Body> bodies_;
};

struct Pair {
  // Until neither has anything to say.
  void Talk() {
    for (bool quiet = false; !quiet;) {
      std::string out;
      client.TakeOutput(&out);
      server.Receive(out);
      const std::string back = server.Output();
      REQUIRE(client.Receive(back).ok());
      quiet = out.empty() && back.empty();
    }
  }
  int32_t Ask(Seen* seen, std::string message = "question") {
    const auto id = client.Open({.path = "/pkg.Service/Method",
                                 .message = std::move(message),
                                 .timeout = std::chrono::milliseconds(2500)},
                                seen);
    REQUIRE(id.ok());
    Talk();
    return *id;
  }

  H2Session client{"http", "worker:50051"};
  Server server;
};

const Fields kOk = {{"grpc-status", "0"}};

TEST_CASE("a request has the fields and the prefix that gRPC asks for") {
  Pair pair;
  Seen seen;
  const std::string large(200'000, 'q');
  const int32_t id = pair.Ask(&seen, large);
  CHECK(pair.server.headers[":method"] == "POST");
  CHECK(pair.server.headers[":scheme"] == "http");
  CHECK(pair.server.headers[":path"] == "/pkg.Service/Method");
  CHECK(pair.server.headers[":authority"] == "worker:50051");
  CHECK(pair.server.headers["te"] == "trailers");
  CHECK(pair.server.headers["content-type"] == "application/grpc");
  CHECK(pair.server.headers["grpc-timeout"] == "2500m");
  CHECK(pair.server.requests[id] == WithPrefix(large));
}

TEST_CASE("replies come before the status") {
  Pair pair;
  Seen seen;
  const int32_t id = pair.Ask(&seen);
  pair.server.Answer(id, WithPrefix("one") + WithPrefix("two"), kOk);
  pair.Talk();
  CHECK(seen.data == WithPrefix("one") + WithPrefix("two"));
  CHECK(seen.ends == 1);
  CHECK(seen.status.ok());
}

TEST_CASE("an error brings its text and its details, with or without a body before it") {
  conclave::v1::ErrorDetail detail;
  detail.set_reason("model_not_found");
  detail.set_param("model");
  detail.set_retry_after_ms(1500);
  std::string padded;
  absl::Base64Escape(detail.SerializeAsString(), &padded);
  const std::string bare = padded.substr(0, padded.find('='));
  for (const std::string& encoded : {padded, bare}) {
    for (const bool only : {false, true}) {
      Pair pair;
      Seen seen;
      const int32_t id = pair.Ask(&seen);
      Fields trailers = {
          {"grpc-status", "5"}, {"grpc-message", "no %22x%22"}, {"conclave-error-bin", encoded}};
      if (only) {
        trailers.insert(trailers.begin(), {":status", "200"});
        trailers.emplace_back("content-type", "application/grpc");
        pair.server.AnswerWithTrailersOnly(id, trailers);
      } else {
        pair.server.Answer(id, WithPrefix("x"), trailers);
      }
      pair.Talk();
      REQUIRE(seen.ends == 1);
      CHECK(absl::IsNotFound(seen.status));
      CHECK(std::string(seen.status.message()) == "no \"x\"");
      CHECK(base::ReasonOf(seen.status) == "model_not_found");
      CHECK(base::ParamOf(seen.status) == "model");
      CHECK(base::RetryAfterOf(seen.status) == std::chrono::milliseconds(1500));
    }
  }
}

TEST_CASE("details that cannot be read leave the status") {
  Pair pair;
  Seen seen;
  const int32_t id = pair.Ask(&seen);
  pair.server.Answer(id, "", {{"grpc-status", "9"}, {"conclave-error-bin", "###"}});
  pair.Talk();
  CHECK(absl::IsFailedPrecondition(seen.status));
}

TEST_CASE("what is no answer of gRPC's is an error, and none of its bytes are a reply") {
  Pair pair;
  Seen page, silent;
  const int32_t id = pair.Ask(&page);
  pair.server.Answer(id, "<html>", {{"x", "y"}},
                     {{":status", "503"}, {"content-type", "text/html"}});
  const int32_t second = pair.Ask(&silent);
  pair.server.Answer(second, "", {{"x", "y"}});
  pair.Talk();
  CHECK(absl::IsUnavailable(page.status));
  CHECK(page.data.empty());
  CHECK(absl::IsUnknown(silent.status));
}

TEST_CASE("a stream that is reset ends with what the reset means") {
  Pair pair;
  Seen refused, broken;
  pair.server.Reset(pair.Ask(&refused), NGHTTP2_REFUSED_STREAM);
  pair.server.Reset(pair.Ask(&broken), NGHTTP2_INTERNAL_ERROR);
  pair.Talk();
  CHECK(absl::IsUnavailable(refused.status));
  CHECK(absl::IsInternal(broken.status));
}

TEST_CASE("a cancelled stream is reset, and nothing more is told of it") {
  Pair pair;
  Seen seen;
  const int32_t id = pair.Ask(&seen);
  pair.client.Cancel(id);
  pair.Talk();
  CHECK(pair.server.closed.at(id) == NGHTTP2_CANCEL);
  CHECK(seen.ends == 0);
}

TEST_CASE("a stream that is not read stops at its window, and the others go on") {
  Pair pair;
  Seen unread, read;
  const std::string much(300'000, 'm');
  const int32_t first = pair.Ask(&unread);
  const int32_t second = pair.Ask(&read);
  pair.server.Answer(first, much, kOk);
  pair.server.Answer(second, much, kOk);
  pair.Talk();
  CHECK(unread.data.size() == H2Session::kStreamWindow);
  CHECK(read.data.size() == H2Session::kStreamWindow);
  for (size_t used = 0; read.ends == 0;) {
    REQUIRE(read.data.size() > used);
    pair.client.Consume(second, read.data.size() - used);
    used = read.data.size();
    pair.Talk();
  }
  CHECK(read.data.size() == much.size());
  CHECK(unread.data.size() == H2Session::kStreamWindow);
}

TEST_CASE("many unread streams leave the connection to the rest") {
  Pair pair;
  std::vector<Seen> unread(100);
  const std::string much(100'000, 'm');
  for (Seen& seen : unread) pair.server.Answer(pair.Ask(&seen), much, kOk);
  pair.Talk();
  Seen seen;
  pair.server.Answer(pair.Ask(&seen), WithPrefix("x"), kOk);
  pair.Talk();
  CHECK(seen.ends == 1);
}

TEST_CASE("a peer that goes away takes no further streams and refuses those it has not begun") {
  Pair pair;
  Seen begun, late;
  const int32_t id = pair.Ask(&begun);
  const int32_t after = pair.Ask(&late);
  REQUIRE(after > id);
  pair.server.GoAway(id);
  pair.Talk();
  CHECK(!pair.client.takes_streams());
  CHECK(absl::IsUnavailable(late.status));
  CHECK(absl::IsUnavailable(pair.client.Open({.path = "/a", .message = ""}, &late).status()));
  pair.server.Answer(id, WithPrefix("x"), kOk);
  pair.Talk();
  CHECK(begun.status.ok());
  CHECK(begun.ends == 1);
  CHECK(pair.client.over());
}

TEST_CASE("bytes that are no HTTP/2 end the connection") {
  for (const std::string& bytes :
       {std::string("HTTP/1.1 400 Bad Request\r\n\r\n"), std::string(100, '\xff'),
        std::string(9, '\0') + std::string(50, 'x')}) {
    H2Session client("http", "worker:1");
    Seen seen;
    REQUIRE(client.Open({.path = "/a", .message = "b"}, &seen).ok());
    std::string out;
    client.TakeOutput(&out);
    const absl::Status status = client.Receive(bytes);
    client.TakeOutput(&out);
    CHECK((!status.ok() || client.over()));
    CHECK(seen.data.empty());
  }
}

}  // namespace
}  // namespace conclave::mesh
