// The listener as a hostile or clumsy client meets it: raw bytes over real sockets (mesh reference
// §4.3).
#include <atomic>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <condition_variable>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/log.h"
#include "catch2/catch.hpp"
#include "gateway/dialects/openai/errors.h"
#include "gateway/http/front_door.h"
#include "gateway/http/http_server.h"
#include "support/raw_client.h"

namespace conclave::gateway {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;
constexpr milliseconds kPatience{5'000};

// A flag that other threads wait for.
class Event final {
 public:
  void Set() {
    const std::lock_guard lock(mutex_);
    ++count_;
    changed_.notify_all();
  }
  bool Wait(int count = 1) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, kPatience, [&] { return count_ >= count; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int count_ = 0;
};

// A server with three routes: /echo answers with its body, /stream writes until cancelled or told
// to end, /big answers more than any socket buffer holds.
class Server final {
 public:
  explicit Server(HttpLimits limits = {}, FilterOptions filter_options = {},
                  size_t body_bytes_max = 64 * 1024) {
    router_.SetErrorFamily("", openai::ErrorJson);
    RouteOptions options;
    options.body_bytes_max = body_bytes_max;
    options.any_content_type = true;
    router_.Add(
        "POST", "/echo", [this](Exchange& e) { return Echo(e); }, options);
    router_.Add(
        "GET", "/hello", [this](Exchange& e) { return Echo(e); }, options);
    router_.Add(
        "GET", "/stream", [this](Exchange& e) { return Stream(e); }, options);
    router_.Add(
        "GET", "/big", [this](Exchange& e) { return Big(e); }, options);
    options.body_bytes_max = size_t{1} << 30;
    options.stream_body = true;
    router_.Add(
        "POST", "/count", [this](Exchange& e) { return Count(e); }, options);
    router_.Add(
        "POST", "/ignore", [this](Exchange& e) { return Echo(e); }, options);
    router_.Add("GET", "/profile", [](Exchange& e) {
      Response response;
      response.body = CompatProfileName(e.request.profile);
      return e.out.Reply(std::move(response));
    });
    filters_ = *Filters::Make(filter_options);
    door_.emplace(&router_, &*filters_, &metrics_);
    server_.emplace(&*door_, limits, &loops_);
    base::SetLogLevel(base::LogLevel::kError);  // a line for each request would drown the report
    const absl::Status started = server_->Start("127.0.0.1:0");
    REQUIRE(started.ok());
  }

  uint16_t port() const { return server_->port(); }
  HttpServer& server() { return *server_; }
  uint16_t AlsoListen(CompatProfile profile) {
    further_doors_.emplace_back(&router_, &*filters_, &metrics_, base::NewId, profile);
    const auto port = server_->AlsoListen("127.0.0.1:0", &further_doors_.back());
    REQUIRE(port.ok());
    return *port;
  }

  Event stream_began;
  Event cancelled;
  std::atomic<bool> end_stream{false};
  std::atomic<int> handled{0};
  std::atomic<size_t> largest_piece{0};
  std::atomic<CancelReason> reason{CancelReason::kNone};

 private:
  Task<void> Echo(Exchange& exchange) {
    ++handled;
    Response response;
    response.content_type = "text/plain";
    response.body = "<" + exchange.request.body + ">";
    co_await exchange.out.Reply(std::move(response));
  }

  // How many bytes the body had, or what was wrong with it.
  Task<void> Count(Exchange& exchange) {
    ++handled;
    size_t bytes = 0;
    absl::StatusOr<bool> more = true;
    while (more.ok() && *more) {
      std::string piece;
      more = co_await exchange.out.ReadBody(&piece);
      bytes += piece.size();
      largest_piece = std::max(largest_piece.load(), piece.size());
    }
    Response response;
    response.content_type = "text/plain";
    response.body = more.ok() ? "<" + std::to_string(bytes) + ">" : base::ReasonOf(more.status());
    response.status = more.ok() ? 200 : 400;
    co_await exchange.out.Reply(std::move(response));
  }

  Task<void> Stream(Exchange& exchange) {
    ++handled;
    bool gone = false;
    exchange.out.OnCancel([&gone, this] {
      gone = true;
      cancelled.Set();
    });
    co_await exchange.out.BeginStream(200, "text/plain", {});
    boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor);
    bool open = co_await exchange.out.Write("tick");
    stream_began.Set();
    while (open && !gone && !end_stream) {
      timer.expires_after(milliseconds(2));
      co_await timer.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
      open = co_await exchange.out.Write("tick");
    }
    exchange.out.OnCancel(nullptr);
    reason = exchange.out.cancel_reason();
    if (reason == CancelReason::kDrain) {
      co_await exchange.out.Write("drained");
      exchange.out.Abort();
    }
    co_await exchange.out.EndStream();
  }

  Task<void> Big(Exchange& exchange) {
    exchange.out.OnCancel([this] { cancelled.Set(); });
    const std::string block(1 << 20, 'x');
    co_await exchange.out.BeginStream(200, "text/plain", {});
    stream_began.Set();
    bool open = true;
    for (int i = 0; open && i < 64; ++i) open = co_await exchange.out.Write(block);
    reason = exchange.out.cancel_reason();
    if (open) co_await exchange.out.EndStream();
  }

  Router router_;
  std::optional<Filters> filters_;
  FrontMetrics metrics_{nullptr};
  std::optional<FrontDoor> door_;
  std::list<FrontDoor> further_doors_;
  base::EventLoops loops_{2, "io"};
  std::optional<HttpServer> server_;
};

class Client final : public RawClient {
 public:
  explicit Client(const Server& server) : RawClient(server.port()) {}
};

int Count(const std::string& text, const std::string& what) {
  int count = 0;
  for (size_t at = 0; (at = text.find(what, at)) != std::string::npos; at += what.size()) ++count;
  return count;
}

int StatusOf(const std::string& answer) {
  if (answer.size() < 12) return 0;
  return std::stoi(answer.substr(9, 3));
}

// A further request on the same connection: its answer shows that the connection is open and in
// step.
const std::string kProbe = "GET /hello HTTP/1.1\r\nHost: localhost\r\nX-Probe: 1\r\n\r\n";

struct RawCase {
  std::string name;
  std::string bytes;
  int status;
  bool stays_open;
};

std::string Post(const std::string& fields, const std::string& body,
                 const std::string& version = "HTTP/1.1") {
  return "POST /echo " + version + "\r\nHost: localhost\r\n" + fields + "\r\n" + body;
}

std::vector<RawCase> RawCases() {
  const std::string chunks = "3\r\nabc\r\n0\r\n\r\n";
  std::string tiny;
  for (int i = 0; i < 2000; ++i) tiny += "a:b\r\n";
  const std::string get = "GET /hello HTTP/1.1\r\nHost: localhost\r\n";
  return {
      // Lengths.
      {"length then chunked", Post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", chunks),
       400, false},
      {"chunked then length", Post("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", chunks),
       400, false},
      {"gzip then length", Post("Transfer-Encoding: gzip\r\nContent-Length: 3\r\n", "abc"), 400,
       false},
      {"length then gzip", Post("Content-Length: 3\r\nTransfer-Encoding: gzip\r\n", "abc"), 400,
       false},
      {"two equal lengths", Post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), 400, false},
      {"two lengths", Post("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"), 400, false},
      {"a list", Post("Content-Length: 3, 3\r\n", "abc"), 400, false},
      {"a plus", Post("Content-Length: +3\r\n", "abc"), 400, false},
      {"a minus", Post("Content-Length: -1\r\n", ""), 400, false},
      {"2^64", Post("Content-Length: 18446744073709551616\r\n", ""), 400, false},
      {"8 GB and no body", Post("Content-Length: 8589934592\r\n", ""), 413, false},
      // Transfer coding.
      {"chunked in 1.0", Post("Transfer-Encoding: chunked\r\n", chunks, "HTTP/1.0"), 400, false},
      {"xchunked", Post("Transfer-Encoding: xchunked\r\n", chunks), 400, false},
      {"chunked, identity", Post("Transfer-Encoding: chunked, identity\r\n", chunks), 400, false},
      {"blank before the colon", Post("Transfer-Encoding : chunked\r\n", chunks), 400, false},
      {"bare LF in an extension", Post("Transfer-Encoding: chunked\r\n", "3;a\nabc\r\n0\r\n\r\n"),
       400, false},
      {"1 MB of extension",
       Post("Transfer-Encoding: chunked\r\n",
            "3;" + std::string(1 << 20, 'a') + "\r\nabc\r\n0\r\n\r\n"),
       400, false},
      {"a quoted extension that has no end",
       Post("Transfer-Encoding: chunked\r\n", "3;a=\"\r\nabc\r\n0\r\n\r\n"), 400, false},
      {"1 KB of zeros", Post("Transfer-Encoding: chunked\r\n", std::string(1024, '0') + "\r\n\r\n"),
       400, false},
      {"chunk size overflow",
       Post("Transfer-Encoding: chunked\r\n", std::string(17, 'F') + "\r\nabc\r\n0\r\n\r\n"), 400,
       false},
      {"junk after a chunk size", Post("Transfer-Encoding: chunked\r\n", "3 x\r\nabc\r\n0\r\n\r\n"),
       400, false},
      {"trailer fields", Post("Transfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"),
       400, false},
      {"chunks beyond the limit",
       Post("Transfer-Encoding: chunked\r\n", "20000\r\n" + std::string(0x20000, 'a')), 413, false},
      // Headers.
      {"obs-fold", get + "X-A: b\r\n c\r\n\r\n", 400, false},
      {"bare LF", "GET /hello HTTP/1.1\nHost: localhost\n\n", 400, false},
      {"a Connection that is no list", get + "Connection: close now\r\n\r\n", 400, false},
      {"no Host", "GET /hello HTTP/1.1\r\n\r\n", 400, false},
      {"two Hosts", get + "Host: localhost\r\n\r\n", 400, false},
      {"NUL", get + std::string("X-A: b\0c\r\n\r\n", 12), 400, false},
      {"9 KB header", get + "X-A: " + std::string(9 * 1024, 'a') + "\r\n\r\n", 200, true},
      {"17 KB header", get + "X-A: " + std::string(17 * 1024, 'a') + "\r\n\r\n", 431, false},
      {"2,000 tiny headers", get + tiny + "\r\n", 431, false},
      {"9 KB target", "GET /" + std::string(9 * 1024, 'a') + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
       414, false},
      // Other.
      {"absolute form", "GET http://localhost/hello HTTP/1.1\r\nHost: localhost\r\n\r\n", 421,
       false},
      {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, false},
      {"TLS hello", std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 9), 400, false},
      {"body over its limit", Post("Content-Length: 2097152\r\n", std::string(2 << 20, 'a')), 413,
       false},
      {"lowercase method", "get /hello HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, true},
      {"unknown method", "BREW /hello HTTP/1.1\r\nHost: localhost\r\n\r\n", 405, true},
      {"unknown path", "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, true},
      {"unknown path, small body",
       "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc", 404, true},
      {"a strange host", "GET /hello HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, true},
      {"a strange origin", get + "Origin: https://evil.example\r\n\r\n", 403, true},
      {"a content coding", Post("Content-Encoding: gzip\r\nContent-Length: 3\r\n", "abc"), 415,
       true},
      {"another expectation", Post("Expect: tea\r\nContent-Length: 3\r\n", "abc"), 417, false},
      // Controls.
      {"a plain body", Post("Content-Length: 3\r\n", "abc"), 200, true},
      {"a chunked body", Post("Transfer-Encoding: chunked\r\n", chunks), 200, true},
      {"4 KB header", get + "X-A: " + std::string(4 * 1024, 'a') + "\r\n\r\n", 200, true},
      {"an empty line first", "\r\n" + get + "\r\n", 200, true},
  };
}

}  // namespace

TEST_CASE("raw requests: status, number of answers, open or closed") {
  Server server;
  for (const RawCase& c : RawCases()) {
    INFO(c.name);
    const int handled = server.handled;
    Client client(server);
    client.Send(c.bytes);
    if (c.stays_open) client.Send(kProbe);
    client.ReadUntil([&](const std::string& text) {
      return c.stays_open && Count(text, "HTTP/1.1 ") == 2 && text.substr(text.size() - 2) == "<>";
    });
    CHECK(StatusOf(client.received()) == c.status);
    CHECK(client.closed() == !c.stays_open);
    CHECK(Count(client.received(), "\r\nDate: ") == (c.stays_open ? 2 : 1));
    CHECK(Count(client.received(), "Connection: close") == (c.stays_open ? 0 : 1));
    // Nothing that was refused reached a handler.
    CHECK(server.handled - handled == (c.stays_open ? 1 : 0) + (c.status == 200 ? 1 : 0));
  }
}

TEST_CASE("100 requests in one go are answered in order") {
  Server server;
  Client client(server);
  std::string all;
  for (int i = 0; i < 100; ++i) {
    const std::string body = std::to_string(i);
    all += Post("Content-Length: " + std::to_string(body.size()) + "\r\n", body);
  }
  REQUIRE(client.Send(all));
  client.ReadUntil([](const std::string& text) { return text.find("<99>") != std::string::npos; });
  size_t at = 0;
  for (int i = 0; i < 100; ++i) {
    at = client.received().find("<" + std::to_string(i) + ">", at);
    REQUIRE(at != std::string::npos);
  }
}

TEST_CASE("a request behind a stream waits for its end") {
  Server server;
  Client client(server);
  REQUIRE(client.Send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n" + kProbe));
  REQUIRE(server.stream_began.Wait());
  client.ReadUntil([](const std::string& text) { return Count(text, "tick") > 5; });
  CHECK(Count(client.received(), "HTTP/1.1 ") == 1);
  server.end_stream = true;
  client.ReadUntil([](const std::string& text) { return text.find("<>") != std::string::npos; });
  CHECK(Count(client.received(), "HTTP/1.1 200") == 2);
  CHECK(client.received().find("0\r\n\r\nHTTP/1.1 200") != std::string::npos);
}

TEST_CASE("many streams at once end whole") {
  Server server;
  constexpr int kStreams = 48;
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < kStreams; ++i) {
    clients.push_back(std::make_unique<Client>(server));
    REQUIRE(clients.back()->Send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n" + kProbe));
  }
  for (const auto& client : clients) {
    client->ReadUntil([](const std::string& text) { return Count(text, "tick") > 50; });
  }
  server.end_stream = true;
  for (const auto& client : clients) {
    client->ReadUntil([](const std::string& text) { return text.find("<>") != std::string::npos; });
    CHECK(client->received().find("0\r\n\r\nHTTP/1.1 200") != std::string::npos);
  }
}

TEST_CASE("100-continue comes when the body is wanted, else the final status") {
  Server server;
  SECTION("wanted") {
    Client client(server);
    REQUIRE(client.Send(Post("Expect: 100-continue\r\nContent-Length: 3\r\n", "")));
    client.ReadUntil([](const std::string& t) { return t.find("\r\n\r\n") != std::string::npos; });
    CHECK(client.received() == "HTTP/1.1 100 Continue\r\n\r\n");
    REQUIRE(client.Send("abc"));
    client.ReadUntil([](const std::string& t) { return t.find("<abc>") != std::string::npos; });
    CHECK(client.received().find("HTTP/1.1 200") != std::string::npos);
  }
  SECTION("too long") {
    Client client(server);
    REQUIRE(client.Send(Post("Expect: 100-continue\r\nContent-Length: 9999999\r\n", "")));
    client.ReadToEnd();
    CHECK(StatusOf(client.received()) == 413);
    CHECK(client.closed());
  }
}

TEST_CASE("a body that its handler reads comes in pieces, and the connection goes on after it") {
  Server server;
  Client client(server);
  const auto post = [](const std::string& path, const std::string& fields) {
    return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\n" + fields + "\r\n";
  };
  SECTION("a length") {
    const std::string body(8 << 20, 'x');
    REQUIRE(client.Send(post("/count", "Content-Length: 8388608\r\n")));
    REQUIRE(client.Send(body));
    REQUIRE(client.Send(post("/echo", "Content-Length: 3\r\n") + "abc"));
    client.ReadUntil([](const std::string& t) { return t.find("<abc>") != std::string::npos; });
    CHECK(client.received().find("<8388608>") != std::string::npos);
    CHECK(client.received().find("<abc>") != std::string::npos);
    CHECK(server.largest_piece <= 256 * 1024);
  }
  SECTION("chunks, and none") {
    REQUIRE(client.Send(post("/count", "Transfer-Encoding: chunked\r\n") +
                        "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n" + post("/count", "")));
    client.ReadUntil([](const std::string& t) { return t.find("<0>") != std::string::npos; });
    CHECK(client.received().find("<5>") != std::string::npos);
  }
  SECTION("broken chunks") {
    REQUIRE(client.Send(post("/count", "Transfer-Encoding: chunked\r\n") + "3\r\nabcde\r\n"));
    client.ReadToEnd();
    CHECK(StatusOf(client.received()) == 400);
    CHECK(client.closed());
  }
  SECTION("what nobody reads ends the connection") {
    REQUIRE(client.Send(post("/ignore", "Content-Length: 100000\r\n") + "abc"));
    client.ReadUntil([](const std::string& t) { return t.find("<>") != std::string::npos; });
    CHECK(StatusOf(client.received()) == 200);
    CHECK(client.received().find("Connection: close") != std::string::npos);
  }
  SECTION("100-continue comes when it is read") {
    REQUIRE(client.Send(post("/count", "Expect: 100-continue\r\nContent-Length: 3\r\n")));
    client.ReadUntil([](const std::string& t) { return t.find("\r\n\r\n") != std::string::npos; });
    CHECK(client.received() == "HTTP/1.1 100 Continue\r\n\r\n");
    REQUIRE(client.Send("abc"));
    client.ReadUntil([](const std::string& t) { return t.find("<3>") != std::string::npos; });
    CHECK(client.received().find("<3>") != std::string::npos);
  }
}

TEST_CASE("keys are asked for before the body") {
  Server server({}, {.api_keys = {"secret"}});
  Client client(server);
  REQUIRE(client.Send(Post("Expect: 100-continue\r\nContent-Length: 3\r\n", "")));
  client.ReadToEnd();
  CHECK(StatusOf(client.received()) == 401);
  CHECK(client.received().find("WWW-Authenticate: Bearer") != std::string::npos);
  CHECK(client.received().find(R"("code":"invalid_api_key")") != std::string::npos);
  CHECK(client.received().find("x-request-id: req_") != std::string::npos);

  Client allowed(server);
  REQUIRE(allowed.Send(Post("Authorization: Bearer secret\r\nContent-Length: 3\r\n", "abc")));
  allowed.ReadUntil([](const std::string& t) { return t.find("<abc>") != std::string::npos; });
  CHECK(StatusOf(allowed.received()) == 200);
}

TEST_CASE("slow and idle clients are not waited for") {
  HttpLimits limits;
  limits.head_timeout = milliseconds(60);
  limits.idle_timeout = milliseconds(120);
  limits.body_window = milliseconds(60);
  Server server(limits);
  SECTION("a head that drips") {
    Client client(server);
    bool open = true;
    const auto deadline = steady_clock::now() + kPatience;
    while (open && steady_clock::now() < deadline) {
      open = client.Send("x");
      client.ReadUntil([until = steady_clock::now() + milliseconds(10)](const std::string&) {
        return steady_clock::now() >= until;
      });
      if (client.closed() || !client.received().empty()) break;
    }
    client.ReadToEnd();
    CHECK(StatusOf(client.received()) == 408);
    CHECK(client.closed());
  }
  SECTION("a body that stops") {
    Client client(server);
    REQUIRE(client.Send(Post("Content-Length: 50000\r\n", "abc")));
    client.ReadToEnd();
    CHECK(StatusOf(client.received()) == 408);
    CHECK(server.handled == 0);
  }
  SECTION("a body that stops while its handler reads it") {
    Client client(server);
    REQUIRE(
        client.Send("POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000\r\n\r\nabc"));
    client.ReadToEnd();
    CHECK(StatusOf(client.received()) == 400);
    CHECK(client.received().find("slow_body") != std::string::npos);
    CHECK(client.closed());
  }
  SECTION("nothing at all, and nothing after an answer") {
    Client silent(server);
    silent.ReadToEnd();
    CHECK(silent.received().empty());
    CHECK(silent.closed());
    Client once(server);
    REQUIRE(once.Send(kProbe));
    once.ReadToEnd();
    CHECK(StatusOf(once.received()) == 200);
    CHECK(once.closed());
  }
}

TEST_CASE("a client that goes is noticed while it is being streamed to") {
  Server server;
  Client client(server);
  std::string ahead;
  SECTION("with FIN") {}
  SECTION("with RST") { ahead = "reset"; }
  SECTION("with requests waiting behind the stream") { ahead = kProbe; }
  SECTION("with more waiting than is read") {
    for (int i = 0; i < 4000; ++i) ahead += kProbe;
  }
  const bool reset = ahead == "reset";
  REQUIRE(client.Send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n" + (reset ? "" : ahead)));
  REQUIRE(server.stream_began.Wait());
  if (reset) {
    client.Reset();
  } else {
    client.Close();
  }
  CHECK(server.cancelled.Wait());
}

TEST_CASE("a client that takes nothing is cut off, others are not") {
  HttpLimits limits;
  limits.write_stall = milliseconds(80);
  Server server(limits);
  Client stalled(server);
  REQUIRE(stalled.Send("GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  REQUIRE(server.stream_began.Wait());
  Client other(server);
  REQUIRE(other.Send(kProbe));
  other.ReadUntil([](const std::string& t) { return t.find("<>") != std::string::npos; });
  CHECK(StatusOf(other.received()) == 200);
  REQUIRE(server.cancelled.Wait());
  const auto deadline = steady_clock::now() + kPatience;
  while (server.reason == CancelReason::kNone && steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  CHECK(server.reason == CancelReason::kStalled);
}

TEST_CASE("HEAD has the headers of GET and no body, 1.0 is closed unless asked otherwise") {
  Server server;
  Client head(server);
  REQUIRE(head.Send("HEAD /hello HTTP/1.1\r\nHost: localhost\r\n\r\n" + kProbe));
  head.ReadUntil([](const std::string& t) { return t.find("<>") != std::string::npos; });
  CHECK(Count(head.received(), "Content-Length: 2") == 2);
  CHECK(Count(head.received(), "<>") == 1);
  Client old(server);
  REQUIRE(old.Send("GET /hello HTTP/1.0\r\n\r\n"));
  old.ReadToEnd();
  CHECK(StatusOf(old.received()) == 200);
  CHECK(old.closed());
  Client old_stream(server);
  REQUIRE(old_stream.Send("GET /stream HTTP/1.0\r\n\r\n"));
  REQUIRE(server.stream_began.Wait());
  server.end_stream = true;
  old_stream.ReadToEnd();
  CHECK(old_stream.received().find("chunked") == std::string::npos);
  CHECK(old_stream.received().find("tick") != std::string::npos);
  CHECK(old_stream.closed());
}

TEST_CASE("preflights are answered for allowed origins only") {
  Server server({}, {.allowed_origins = {"https://app.example"}});
  Client client(server);
  REQUIRE(
      client.Send("OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: https://app.example\r\n"
                  "Access-Control-Request-Method: POST\r\n"
                  "Access-Control-Request-Headers: authorization\r\n\r\n"));
  client.ReadUntil([](const std::string& t) { return t.find("\r\n\r\n") != std::string::npos; });
  CHECK(StatusOf(client.received()) == 204);
  CHECK(client.received().find("Access-Control-Allow-Origin: https://app.example") !=
        std::string::npos);
  CHECK(client.received().find("Access-Control-Allow-Headers: authorization") != std::string::npos);
  Client evil(server);
  REQUIRE(evil.Send(
      "OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n\r\n"));
  evil.ReadUntil([](const std::string& t) { return t.find("\r\n\r\n") != std::string::npos; });
  CHECK(StatusOf(evil.received()) == 403);
  CHECK(evil.received().find("Access-Control-Allow-Origin") == std::string::npos);
}

TEST_CASE("a drain lets streams finish, closes idle connections and refuses new ones") {
  Server server;
  Client idle(server);
  REQUIRE(idle.Send(kProbe));
  idle.ReadUntil([](const std::string& t) { return t.find("<>") != std::string::npos; });
  Client busy(server);
  REQUIRE(busy.Send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  REQUIRE(server.stream_began.Wait());
  bool clean = false;
  std::jthread drain([&] { clean = server.server().Drain(steady_clock::now() + kPatience); });
  idle.ReadToEnd();
  CHECK(idle.closed());
  server.end_stream = true;
  drain.join();
  CHECK(clean);
  busy.ReadToEnd();
  CHECK(busy.closed());
  CHECK(busy.received().find("0\r\n\r\n") != std::string::npos);
  CHECK(server.reason == CancelReason::kNone);
}

TEST_CASE("at the end of a drain's time streams are told") {
  Server server;
  Client busy(server);
  REQUIRE(busy.Send("GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n"));
  REQUIRE(server.stream_began.Wait());
  CHECK_FALSE(server.server().Drain(steady_clock::now() + milliseconds(30)));
  busy.ReadToEnd();
  CHECK(busy.received().find("drained") != std::string::npos);
  CHECK(server.reason == CancelReason::kDrain);
}

TEST_CASE("connections beyond the limit are closed at once") {
  HttpLimits limits;
  limits.connections_max = 2;
  Server server(limits);
  Client one(server);
  Client two(server);
  for (Client* client : {&one, &two}) {
    REQUIRE(client->Send(kProbe));
    client->ReadUntil([](const std::string& t) { return t.find("<>") != std::string::npos; });
  }
  Client three(server);
  three.ReadToEnd();
  CHECK(three.closed());
  CHECK(three.received().empty());
}

TEST_CASE("a listener has its profile, and a key's goes before it") {
  Server server({}, {.api_keys = {"plain"}, .profile_keys = {"llm-serving=special"}});
  const uint16_t port = server.AlsoListen(CompatProfile::kKtLegacy);
  const auto ask = [](uint16_t to, const std::string& key) {
    RawClient client(to);
    client.Send("GET /profile HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nx-api-key: " +
                key + "\r\n\r\n");
    client.ReadToEnd();
    const std::string answer = client.received();
    return answer.substr(answer.find("\r\n\r\n") + 4);
  };
  CHECK(ask(server.port(), "plain") == "strict");
  CHECK(ask(port, "plain") == "kt-legacy");
  CHECK(ask(port, "special") == "llm-serving");
  CHECK(ask(server.port(), "special") == "llm-serving");
  CHECK(server.server().Drain(steady_clock::now() + kPatience));
}

}  // namespace conclave::gateway
