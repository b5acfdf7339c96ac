#include "mesh/probe_server.h"

#include <pthread.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <charconv>
#include <chrono>
#include <set>
#include <thread>

namespace conclave::mesh {
namespace {

namespace net = boost::asio;
namespace http = boost::beast::http;
using tcp = net::ip::tcp;
using Error = boost::system::error_code;

constexpr size_t kConnectionsMax = 64;
constexpr std::chrono::seconds kRequestTime{5};  // reading one request and writing its answer
constexpr std::uint32_t kHeaderBytesMax = 4096;

using Response = http::response<http::string_body>;

Response Answer(const ProbeHandlers& handlers, http::verb method, std::string_view target) {
  Response response{http::status::ok, 11};
  response.set(http::field::content_type, "text/plain; charset=utf-8");
  response.set(http::field::cache_control, "no-store");
  const auto refuse = [&](http::status status, std::string body) {
    response.result(status);
    response.body() = std::move(body);
    return response;
  };
  if (method != http::verb::get && method != http::verb::head) {
    response.set(http::field::allow, "GET, HEAD");
    return refuse(http::status::method_not_allowed, "method not allowed\n");
  }
  const std::string_view path = target.substr(0, target.find('?'));
  const auto probe = [&](const std::function<std::string()>& handler) {
    const std::string trouble = handler ? handler() : std::string();
    if (!trouble.empty()) return refuse(http::status::service_unavailable, trouble + "\n");
    response.body() = "ok\n";
    return response;
  };
  if (path == "/livez" || path == "/healthz") return probe(handlers.live);
  if (path == "/readyz") return probe(handlers.ready);
  if (path == "/metrics" && handlers.metrics) {
    response.set(http::field::content_type, "text/plain; version=0.0.4; charset=utf-8");
    response.body() = handlers.metrics();
    return response;
  }
  return refuse(http::status::not_found, "not found\n");
}

// One connection: read, answer, again while kept alive. Lives on the one probe thread.
class Connection final : public std::enable_shared_from_this<Connection> {
 public:
  using Closed = std::function<void(const std::shared_ptr<Connection>&)>;
  Connection(tcp::socket socket, const ProbeHandlers& handlers, Closed closed)
      : socket_(std::move(socket)),
        timer_(socket_.get_executor()),
        handlers_(handlers),
        closed_(std::move(closed)) {}

  void Read() {
    parser_.emplace();
    parser_->header_limit(kHeaderBytesMax);
    parser_->body_limit(0);
    ArmTimer();
    http::async_read(socket_, buffer_, *parser_,
                     [self = shared_from_this()](Error error, size_t) { self->OnRead(error); });
  }

  void Close() {
    Error ignored;
    socket_.close(ignored);
    timer_.cancel();
  }

 private:
  void OnRead(Error error) {
    if (error) return End();
    const auto& request = parser_->get();
    const boost::string_view target = request.target();
    response_ = Answer(handlers_, request.method(), {target.data(), target.size()});
    response_.keep_alive(request.keep_alive());
    response_.prepare_payload();
    // The length stays, the bytes go: what HEAD means.
    if (request.method() == http::verb::head) response_.body().clear();
    ArmTimer();
    http::async_write(socket_, response_,
                      [self = shared_from_this()](Error e, size_t) { self->OnWrite(e); });
  }

  void OnWrite(Error error) {
    if (error || !response_.keep_alive()) return End();
    Read();
  }

  void ArmTimer() {
    timer_.expires_after(kRequestTime);
    timer_.async_wait([self = shared_from_this()](Error error) {
      if (!error) self->Close();
    });
  }

  void End() {
    Close();
    closed_(shared_from_this());
  }

  tcp::socket socket_;
  net::steady_timer timer_;
  const ProbeHandlers& handlers_;
  Closed closed_;
  boost::beast::flat_buffer buffer_{kHeaderBytesMax * 2};
  std::optional<http::request_parser<http::empty_body>> parser_;
  Response response_;
};

}  // namespace

struct ProbeServer::Impl {
  explicit Impl(ProbeHandlers h) : handlers(std::move(h)) {}

  absl::Status Listen(const std::string& address);
  void Accept();
  void Run();

  const ProbeHandlers handlers;
  net::io_context io{1};
  tcp::acceptor acceptor{io};
  std::set<std::shared_ptr<Connection>> connections;
  std::jthread thread;
};

absl::Status ProbeServer::Impl::Listen(const std::string& address) {
  const size_t colon = address.rfind(':');
  int port = -1;
  if (colon != std::string::npos) {
    const char* end = address.data() + address.size();
    if (std::from_chars(address.data() + colon + 1, end, port).ptr != end) port = -1;
  }
  if (port < 0 || port > 65535) {
    return base::InvalidArgument("expected host:port, got \"" + address + "\"");
  }
  std::string host = address.substr(0, colon);
  if (host.size() > 1 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  Error error;
  const auto found =
      tcp::resolver(io).resolve(host, std::to_string(port), tcp::resolver::passive, error);
  if (error || found.empty()) return base::Unavailable("cannot resolve " + host);
  const tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(net::socket_base::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(net::socket_base::max_listen_connections, error);
  if (error) return base::Unavailable("cannot listen on " + address + ": " + error.message());
  return absl::OkStatus();
}

void ProbeServer::Impl::Accept() {
  acceptor.async_accept([this](Error error, tcp::socket socket) {
    if (error == net::error::operation_aborted) return;
    // Beyond the limit the socket is closed at once.
    if (!error && connections.size() < kConnectionsMax) {
      auto connection = std::make_shared<Connection>(
          std::move(socket), handlers,
          [this](const std::shared_ptr<Connection>& c) { connections.erase(c); });
      connections.insert(connection);
      connection->Read();
    }
    Accept();
  });
}

void ProbeServer::Impl::Run() {
  pthread_setname_np(pthread_self(), "probes");
  io.run();
}

absl::StatusOr<std::unique_ptr<ProbeServer>> ProbeServer::Start(const std::string& listen,
                                                                ProbeHandlers handlers) {
  auto impl = std::make_unique<Impl>(std::move(handlers));
  RETURN_IF_ERROR(base::Annotate(impl->Listen(listen), "probe listener"));
  impl->Accept();
  impl->thread = std::jthread([raw = impl.get()] { raw->Run(); });
  return std::unique_ptr<ProbeServer>(new ProbeServer(std::move(impl)));
}

ProbeServer::ProbeServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ProbeServer::~ProbeServer() {
  net::post(impl_->io, [impl = impl_.get()] {
    Error ignored;
    impl->acceptor.close(ignored);
    for (const auto& connection : impl->connections) connection->Close();
  });
  impl_->thread.join();
}

int ProbeServer::port() const { return impl_->acceptor.local_endpoint().port(); }

}  // namespace conclave::mesh
