// The server side on its own: health, probes, ports.
#include "mesh/server.h"

#include <arpa/inet.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <future>
#include <string>

#include "mesh/probe_server.h"
#include "support/fake_store.h"

namespace conclave::mesh {
namespace {

using std::chrono::seconds;

// One connection; sends raw bytes and reads until the peer closes or `until` has come.
class RawClient final {
 public:
  explicit RawClient(int port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(::connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    timeval timeout{10, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  }
  ~RawClient() { ::close(fd_); }

  std::string Ask(const std::string& bytes, const std::string& until = "") {
    CHECK(::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(bytes.size()));
    std::string answer;
    char buffer[4096];
    while (until.empty() || answer.find(until) == std::string::npos) {
      const ssize_t n = ::recv(fd_, buffer, sizeof buffer, 0);
      if (n <= 0) break;
      answer.append(buffer, static_cast<size_t>(n));
    }
    return answer;
  }

 private:
  const int fd_;
};

std::string Get(int port, const std::string& target, const std::string& method = "GET") {
  return RawClient(port).Ask(method + " " + target +
                             " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
}

// What grpc.health.v1 says of a service: "serving", "not serving", or the code it refuses with. The
// two messages are so small that they are written and read by hand.
std::string Health(int port, const std::string& service) {
  grpc::GenericStub stub(
      grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + seconds(10));
  const std::string bytes = "\x0a" + std::string(1, static_cast<char>(service.size())) + service;
  const grpc::Slice slice(bytes);
  grpc::ByteBuffer request(&slice, 1), reply;
  std::promise<grpc::Status> promise;
  stub.UnaryCall(&context, "/grpc.health.v1.Health/Check", grpc::StubOptions(), &request, &reply,
                 [&](const grpc::Status& status) { promise.set_value(status); });
  const grpc::Status status = promise.get_future().get();
  if (!status.ok()) return "code " + std::to_string(status.error_code());
  std::vector<grpc::Slice> slices;
  if (!reply.Dump(&slices).ok() || slices.size() != 1 || slices[0].size() != 2) return "nonsense";
  return slices[0].begin()[1] == 1 ? "serving" : "not serving";
}

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("probes say what the service says") {
  std::string trouble;
  auto probes = *ProbeServer::Start(
      "127.0.0.1:0",
      {.live = nullptr, .ready = [&] { return trouble; }, .metrics = [] { return "up 1\n"; }});
  const int port = probes->port();
  CHECK(Has(Get(port, "/livez"), "HTTP/1.1 200"));
  CHECK(Has(Get(port, "/healthz"), "HTTP/1.1 200"));
  CHECK(Has(Get(port, "/readyz?verbose"), "HTTP/1.1 200"));
  trouble = "draining";
  const std::string not_ready = Get(port, "/readyz");
  CHECK(Has(not_ready, "HTTP/1.1 503"));
  CHECK(Has(not_ready, "draining\n"));
  CHECK(Has(Get(port, "/livez"), "HTTP/1.1 200"));
  const std::string metrics = Get(port, "/metrics");
  CHECK(Has(metrics, "text/plain; version=0.0.4"));
  CHECK(Has(metrics, "\r\n\r\nup 1\n"));
  CHECK(Has(Get(port, "/else"), "HTTP/1.1 404"));
  CHECK(Has(Get(port, "/metrics", "POST"), "HTTP/1.1 405"));
  const std::string head = Get(port, "/metrics", "HEAD");
  CHECK(Has(head, "Content-Length: 5"));
  CHECK_FALSE(Has(head, "up 1"));
}

TEST_CASE("probes keep a connection and refuse nonsense") {
  auto probes = *ProbeServer::Start("127.0.0.1:0", {});
  RawClient client(probes->port());
  for (int i = 0; i < 3; ++i) {
    CHECK(Has(client.Ask("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", "ok\n"), "HTTP/1.1 200"));
  }
  CHECK(Has(Get(probes->port(), "/metrics"), "HTTP/1.1 404"));
  CHECK(RawClient(probes->port()).Ask("\x16\x03\x01 hello\r\n\r\n").empty());
  CHECK(RawClient(probes->port())
            .Ask("GET /livez HTTP/1.1\r\nX: " + std::string(8000, 'a') + "\r\n\r\n")
            .empty());
  CHECK(RawClient(probes->port())
            .Ask("GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n123456789")
            .empty());
}

TEST_CASE("a port in use is said, not shared") {
  auto probes = *ProbeServer::Start("127.0.0.1:0", {});
  const std::string address = "127.0.0.1:" + std::to_string(probes->port());
  CHECK(absl::IsUnavailable(ProbeServer::Start(address, {}).status()));
  CHECK(absl::IsInvalidArgument(ProbeServer::Start("nowhere", {}).status()));
  const support::FakeStore store(0);
  Server second({.listen = store.address()});
  CHECK(absl::IsUnavailable(second.Start()));
}

TEST_CASE("options that do not fit together are refused") {
  ServerOptions options;
  CHECK(options.Validate().ok());
  options.tls_cert_file = "a.pem";
  CHECK(absl::IsInvalidArgument(options.Validate()));
  options.tls_key_file = "/nonexistent.pem";
  Server server(options);
  CHECK(absl::IsInvalidArgument(server.Start()));
  CHECK(absl::IsInvalidArgument(ServerOptions{.listen = "nowhere"}.Validate()));
  ServerOptions ca_only;
  ca_only.tls_client_ca_file = "ca.pem";
  CHECK(absl::IsInvalidArgument(ca_only.Validate()));
}

TEST_CASE("grpc.health.v1 follows readiness; liveness does not") {
  support::FakeStore store(0);  // ready
  const int port = std::stoi(store.address().substr(store.address().find(':') + 1));
  for (const char* service : {"", "readiness", "liveness", "conclave.v1.Runs"}) {
    INFO(service);
    CHECK(Health(port, service) == "serving");
  }
  CHECK(Health(port, "conclave.v1.Nothing") == "code 5");

  Server server({.listen = "127.0.0.1:0"});
  REQUIRE(server.Start().ok());
  CHECK(Health(server.port(), "") == "not serving");
  CHECK(Health(server.port(), "liveness") == "serving");
  server.SetReady(true);
  CHECK(Health(server.port(), "readiness") == "serving");
  CHECK(server.Drain(std::chrono::steady_clock::now() + seconds(10)));
  CHECK(Health(server.port(), "") == "not serving");
  CHECK(Health(server.port(), "readiness") == "not serving");
  CHECK(Health(server.port(), "liveness") == "serving");
}

TEST_CASE("draining closes the gate and waits for those inside") {
  Server server({.listen = "127.0.0.1:0"});
  REQUIRE(server.Start().ok());
  CHECK(server.port() > 0);
  CHECK_FALSE(server.ready());
  server.SetReady(true);
  auto pass = server.gate().Enter();
  CHECK_FALSE(server.Drain(std::chrono::steady_clock::now() + std::chrono::milliseconds(10)));
  CHECK_FALSE(server.ready());
  CHECK_FALSE(server.gate().Enter().has_value());
  pass.reset();
  CHECK(server.Drain(std::chrono::steady_clock::now() + seconds(10)));
  server.Stop();
  server.Stop();
}

}  // namespace conclave::mesh
