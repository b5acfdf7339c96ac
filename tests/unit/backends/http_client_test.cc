#include "backends/http_client.h"

#include <catch2/catch.hpp>
#include <future>

#include "base/status.h"
#include "support/http_peer.h"
#include "support/wait_until.h"

namespace conclave::backends {
namespace {

using std::chrono::milliseconds;
using support::HttpPeer;
using support::PeerConnection;
using support::PeerRequest;

HttpRequest Ask(const HttpPeer& peer, const std::string& path = "/") {
  HttpRequest request;
  request.url = "http://" + peer.address() + path;
  request.body = "{}";
  return request;
}

absl::Status FetchStatus(HttpClient& client, HttpRequest request) {
  return Fetch(client, std::move(request), 1 << 20).status();
}

class Listener final : public HttpListener {
 public:
  explicit Listener(HttpFlow flow) : flow_(flow) {}
  void OnHead(const HttpHead&) override {}
  HttpFlow OnBody(std::string_view bytes) override {
    bytes_ += bytes.size();
    return flow_.load();
  }
  void OnEnd(const absl::Status& status) override { end_.set_value(status); }
  absl::Status Wait() { return end_.get_future().get(); }
  std::atomic<size_t> bytes_{0};
  std::atomic<HttpFlow> flow_;

 private:
  std::promise<absl::Status> end_;
};

}  // namespace

TEST_CASE("an answer comes whole, with its status and retry-after") {
  HttpPeer peer([](const PeerRequest& request, PeerConnection& connection) {
    connection.Reply(429, request.method + request.body, "Retry-After: 2\r\n");
  });
  HttpClient client({});
  const auto reply = Fetch(client, Ask(peer), 100);
  REQUIRE(reply.ok());
  CHECK(reply->head.status == 429);
  CHECK(reply->head.retry_after == milliseconds(2'000));
  CHECK(reply->body == "POST{}");
}

TEST_CASE("each way of failing has its own status") {
  HttpPeer peer([](const PeerRequest& request, PeerConnection& connection) {
    if (request.path == "/hang") connection.WaitForHangUp();
    if (request.path == "/half") {
      connection.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    }
    if (request.path == "/silent") {
      connection.Send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
      connection.WaitForHangUp();
    }
    if (request.path == "/noise") connection.Send("\x16\x03\x01 what?\r\n\r\n");
    if (request.path == "/long") connection.Reply(200, std::string(200'000, 'x'));
    if (request.path == "/away") connection.Reply(302, "", "Location: http://127.0.0.1:1/\r\n");
    if (request.path == "/head") {
      std::string head = "HTTP/1.1 200 OK\r\n";
      for (int i = 0; i < 100; ++i) head += "X-" + std::string(1'000, 'a') + ": b\r\n";
      connection.Send(head + "\r\n");
    }
  });
  HttpClient client({});
  HttpRequest hang = Ask(peer, "/hang");
  hang.times.first_byte = milliseconds(50);
  const absl::Status hung = FetchStatus(client, hang);
  CHECK(absl::IsDeadlineExceeded(hung));
  CHECK(base::ReasonOf(hung) == "upstream_timeout");
  HttpRequest silent = Ask(peer, "/silent");
  silent.times.idle = milliseconds(50);
  CHECK(absl::IsDeadlineExceeded(FetchStatus(client, silent)));
  HttpRequest slow = Ask(peer, "/hang");
  slow.times.total = milliseconds(50);
  CHECK(absl::IsDeadlineExceeded(FetchStatus(client, slow)));

  const absl::Status half = FetchStatus(client, Ask(peer, "/half"));
  CHECK(absl::IsUnavailable(half));
  CHECK(base::ReasonOf(half) == "upstream_lost");
  CHECK(absl::IsUnavailable(FetchStatus(client, Ask(peer, "/nothing"))));
  CHECK(absl::IsUnavailable(FetchStatus(client, Ask(peer, "/noise"))));
  CHECK(absl::IsUnavailable(FetchStatus(client, Ask(peer, "/head"))));
  CHECK(absl::IsResourceExhausted(Fetch(client, Ask(peer, "/long"), 1'000).status()));
  const auto redirect = Fetch(client, Ask(peer, "/away"), 1'000);
  REQUIRE(redirect.ok());
  CHECK(redirect->head.status == 302);  // and nobody went there

  HttpRequest nowhere;
  nowhere.url = "http://127.0.0.1:1/";
  const absl::Status refused = FetchStatus(client, nowhere);
  CHECK(absl::IsUnavailable(refused));
  CHECK(base::ReasonOf(refused) == "upstream_unreachable");
}

TEST_CASE("an address that is not allowed is not connected to") {
  HttpPeer peer(
      [](const PeerRequest&, PeerConnection& connection) { connection.Reply(200, "{}"); });
  HttpClient client({});
  HttpRequest request = Ask(peer);
  request.url = "http://localhost:" + std::to_string(peer.port()) + "/";
  request.allow_address = [](const sockaddr&) { return false; };
  const absl::Status status = FetchStatus(client, request);
  CHECK(absl::IsPermissionDenied(status));
  CHECK(base::ReasonOf(status) == "address_denied");
  CHECK(peer.requests().empty());
}

TEST_CASE("a full queue refuses, a freed place is given on, and cancelling closes the connection") {
  std::promise<bool> hung_up;
  std::atomic<int> served{0};
  HttpPeer peer([&](const PeerRequest&, PeerConnection& connection) {
    if (served++ == 0) {
      hung_up.set_value(connection.WaitForHangUp());
    } else {
      connection.Reply(200, "{}");
    }
  });
  HttpClientOptions options;
  options.running_max = 1;
  options.queued_max = 1;
  HttpClient client(std::move(options));
  const auto first = std::make_shared<Listener>(HttpFlow::kContinue);
  const auto second = std::make_shared<Listener>(HttpFlow::kContinue);
  const auto exchange = client.Start(Ask(peer), first);
  REQUIRE(exchange.ok());
  REQUIRE(support::WaitUntil([&] { return served == 1; }));
  REQUIRE(client.Start(Ask(peer), second).ok());
  CHECK(absl::IsResourceExhausted(client.Start(Ask(peer), first).status()));
  CHECK(client.load().waiting == 1);
  client.Cancel(*exchange);
  CHECK(absl::IsCancelled(first->Wait()));
  CHECK(hung_up.get_future().get());
  CHECK(second->Wait().ok());
  CHECK(client.load().running + client.load().waiting == 0);
}

TEST_CASE("a paused exchange reads no further, is not timed out for it, and goes on when asked") {
  HttpPeer peer([](const PeerRequest&, PeerConnection& connection) {
    connection.BeginStream("text/plain");
    const std::string piece(64 * 1024, 'x');
    for (int i = 0; i < 256; ++i) connection.Send(piece);
  });
  HttpClient client({});
  HttpRequest request = Ask(peer);
  request.times.idle = milliseconds(100);
  const auto listener = std::make_shared<Listener>(HttpFlow::kPause);
  const auto exchange = client.Start(request, listener);
  REQUIRE(exchange.ok());
  REQUIRE(support::WaitUntil([&] { return listener->bytes_ > 0; }));
  // Three idle times pass, by the clock of another request: a paused exchange has none.
  HttpPeer silent(
      [](const PeerRequest&, PeerConnection& connection) { connection.WaitForHangUp(); });
  HttpRequest clock = Ask(silent);
  clock.times.first_byte = 3 * request.times.idle;
  CHECK(absl::IsDeadlineExceeded(FetchStatus(client, clock)));
  CHECK(listener->bytes_ <= 1 << 20);
  listener->flow_ = HttpFlow::kContinue;
  client.Unpause(*exchange);
  CHECK(listener->Wait().ok());
  CHECK(listener->bytes_ == 256 * 64 * 1024);
}

TEST_CASE("a client that is destroyed ends what is left") {
  HttpPeer peer([](const PeerRequest&, PeerConnection& connection) { connection.WaitForHangUp(); });
  const auto listener = std::make_shared<Listener>(HttpFlow::kContinue);
  {
    HttpClient client({});
    REQUIRE(client.Start(Ask(peer), listener).ok());
    REQUIRE(support::WaitUntil([&] { return peer.requests().size() == 1; }));
  }
  CHECK(absl::IsCancelled(listener->Wait()));
}

}  // namespace conclave::backends
