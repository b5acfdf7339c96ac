#include <catch2/catch.hpp>

#include "base/status.h"
#include "support/http_peer.h"
#include "support/wait_until.h"
#include "unit/backends/provider_fixture.h"

namespace conclave::backends {
namespace {

using support::HttpPeer;
using support::PeerConnection;
using support::PeerRequest;

std::string Config(const std::string& destination, const std::string& more = "") {
  return R"({"destinations":[")" + destination + "\"]" + more + "}";
}

absl::Status OpenStatus(const std::string& config, const std::string& model_id,
                        const std::string& model_config = "") {
  const auto provider = MakeProvider("remote::http", config);
  REQUIRE(provider.ok());
  return (*provider)
      ->Open({.name = "x", .model_id = model_id, .config_json = model_config, .log = nullptr})
      .status();
}

}  // namespace

TEST_CASE("the body goes as it is and the JSON comes back as it is") {
  HttpPeer peer([](const PeerRequest& request, PeerConnection& connection) {
    connection.Reply(200, R"({ "path":")" + request.path + R"(", "got": )" + request.body + "}");
  });
  const Opened opened = OpenModel("remote::http", Config(peer.address()), peer.address());
  CHECK(*AskPredict(*opened.backend, "1", "[1,  2]").get() ==
        R"({ "path":"/predict", "got": [1,  2]})");
  CHECK(peer.requests().back().method == "POST");
  CHECK(absl::IsUnimplemented(
      opened.backend->Generate(AskChat("r"), std::make_shared<RecordingSink>()).status()));
  const Opened deep =
      OpenModel("remote::http", Config(peer.address()), "http://" + peer.address() + "/a/b?c=1");
  CHECK(AskPredict(*deep.backend, "1", "{}").get().ok());
  CHECK(peer.requests().back().path == "/a/b?c=1");
}

TEST_CASE("a model is asked by the method of its registration, else by its caller's") {
  HttpPeer peer([](const PeerRequest&, PeerConnection& connection) { connection.Reply(200, "1"); });
  const auto provider = MakeProvider("remote::http", Config(peer.address()));
  REQUIRE(provider.ok());
  const auto asked = [&](const std::string& config, const std::string& method,
                         const std::string& body) {
    auto model = (*provider)->Open(
        {.name = "x", .model_id = peer.address(), .config_json = config, .log = nullptr});
    REQUIRE(model.ok());
    std::promise<void> done;
    (*model)->Predict({.id = "1", .body = body, .method = method},
                      [&](const absl::StatusOr<std::string>& reply) {
                        CHECK(reply.ok());
                        done.set_value();
                      });
    done.get_future().wait();
    return peer.requests().back().method + " " + peer.requests().back().body;
  };
  CHECK(asked("", "", "[1]") == "POST [1]");
  CHECK(asked("", "POST", "{}") == "POST {}");
  CHECK(asked("", "GET", "[1]") == "GET [1]");
  CHECK(asked("", "GET", "{}") == "GET ");  // no body where nothing is said
  CHECK(asked(R"({"method":"PUT"})", "GET", "[1]") == "PUT [1]");
}

TEST_CASE("what goes wrong on the way is told apart") {
  HttpPeer peer([](const PeerRequest& request, PeerConnection& connection) {
    if (request.path == "/500") connection.Reply(500, "oops");
    if (request.path == "/400") connection.Reply(400, R"({"error":"no such label"})");
    if (request.path == "/302") connection.Reply(302, "", "Location: http://127.0.0.1:1/\r\n");
    if (request.path == "/text") connection.Reply(200, "hello");
    if (request.path == "/long") connection.Reply(200, "\"" + std::string(5'000, 'x') + "\"");
    if (request.path == "/hang") connection.WaitForHangUp();
  });
  const std::string config =
      Config(peer.address(), R"(,"first_byte_timeout":"50ms","reply_bytes_max":4096)");
  const auto outcome = [&](const std::string& path) {
    const Opened opened = OpenModel("remote::http", config, "http://" + peer.address() + path);
    return AskPredict(*opened.backend, "1", "{}").get().status();
  };
  // Sent is perhaps done: not UNAVAILABLE, which would be tried again.
  CHECK(absl::IsInternal(outcome("/500")));
  CHECK(base::ReasonOf(outcome("/500")) == "upstream_error");
  CHECK(outcome("/400").message() == "the remote server: no such label");
  CHECK(base::ReasonOf(outcome("/302")) == "upstream_redirect");
  CHECK(base::ReasonOf(outcome("/text")) == "upstream_invalid");
  CHECK(base::ReasonOf(outcome("/long")) == "upstream_invalid");
  CHECK(absl::IsDeadlineExceeded(outcome("/hang")));
  const Opened nobody = OpenModel("remote::http", Config("127.0.0.1:1"), "127.0.0.1:1");
  const absl::Status unreachable = AskPredict(*nobody.backend, "1", "{}").get().status();
  CHECK(absl::IsUnavailable(unreachable));
  CHECK(base::ReasonOf(unreachable) == "upstream_unreachable");
}

TEST_CASE(
    "destinations that the configuration does not list are refused, however they are written") {
  for (const char* id :
       {"127.0.0.1:9", "169.254.169.254", "http://169.254.169.254/latest/meta-data",
        "10.0.0.1:8888", "file:///etc/passwd", "http://a.example\\@127.0.0.1:8888/",
        "http://127.0.0.1:8888@evil/", "http://user@127.0.0.1:8888/", "gopher://127.0.0.1:8888/",
        "127.0.0.1:8888\r\nX: y", ""}) {
    CAPTURE(id);
    CHECK(!OpenStatus(Config("127.0.0.1:8888"), id).ok());
  }
  CHECK(OpenStatus(Config("127.0.0.1:8888"), "127.0.0.1:8888").ok());
  CHECK(OpenStatus(Config("127.0.0.1:8888"), "http://0x7f000001:8888/").ok());
  CHECK(absl::IsPermissionDenied(OpenStatus(Config("127.0.0.1:8888"), "127.0.0.1:9")));
  CHECK(!OpenStatus(Config("*"), "127.0.0.1:8888", R"({"headers":{}})").ok());
}

TEST_CASE("a pattern does not lead inside, not even by a name") {
  HttpPeer peer(
      [](const PeerRequest&, PeerConnection& connection) { connection.Reply(200, "{}"); });
  const std::string port = std::to_string(peer.port());
  for (const std::string host : {"localhost", "127.0.0.1", "[::ffff:127.0.0.1]", "2130706433"}) {
    CAPTURE(host);
    const Opened opened = OpenModel("remote::http", Config("*:" + port), host + ":" + port);
    const absl::Status status = AskPredict(*opened.backend, "1", "{}").get().status();
    CHECK(absl::IsPermissionDenied(status));
  }
  CHECK(peer.requests().empty());
  // Listed by name it may.
  const Opened listed = OpenModel("remote::http", Config("localhost:" + port), "localhost:" + port);
  CHECK(AskPredict(*listed.backend, "1", "{}").get().ok());
}

}  // namespace conclave::backends
