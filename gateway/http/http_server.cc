#include "gateway/http/http_server.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <charconv>
#include <condition_variable>
#include <mutex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/log.h"
#include "gateway/http/session.h"

namespace conclave::gateway {
namespace {

namespace net = boost::asio;
using net::ip::tcp;

constexpr std::chrono::milliseconds kAcceptRetry{100};
// How long those that were told of a drain's end have to tell their clients.
constexpr std::chrono::milliseconds kLastWords{1'000};

absl::StatusOr<net::ip::address> ParseAddress(const std::string& host) {
  if (host == "localhost") return net::ip::make_address("127.0.0.1");
  boost::system::error_code error;
  const auto address = net::ip::make_address(host, error);
  if (error) return base::InvalidArgument("listen: \"" + host + "\" is not an IP address");
  return address;
}

}  // namespace

absl::StatusOr<HostPort> ParseHostPort(const std::string& listen) {
  const size_t colon = listen.rfind(':');
  HostPort result;
  uint16_t port = 0;
  const char* end = listen.data() + listen.size();
  if (colon == std::string::npos) {
    return base::InvalidArgument("listen: \"" + listen + "\" is not host:port");
  }
  const auto parsed = std::from_chars(listen.data() + colon + 1, end, port);
  if (parsed.ec != std::errc() || parsed.ptr != end) {
    return base::InvalidArgument("listen: \"" + listen + "\" has no port of 0..65535");
  }
  result.host = listen.substr(0, colon);
  result.port = port;
  if (result.host.size() > 1 && result.host.front() == '[' && result.host.back() == ']') {
    result.host = result.host.substr(1, result.host.size() - 2);
  }
  return result;
}

bool IsLoopback(const std::string& host) {
  if (host == "localhost") return true;
  boost::system::error_code error;
  const auto address = net::ip::make_address(host, error);
  return !error && address.is_loopback();
}

struct HttpServer::Impl : std::enable_shared_from_this<HttpServer::Impl> {
  Impl(HttpHandler* handler_in, HttpLimits limits_in, base::EventLoops* loops_in)
      : handler(handler_in), limits(limits_in), loops(*loops_in) {}

  struct Listener {
    Listener(const net::any_io_executor& executor, HttpHandler* its_handler)
        : acceptor(executor), retry(executor), handler(its_handler) {}
    tcp::acceptor acceptor;
    net::steady_timer retry;
    HttpHandler* const handler;
    bool closed = false;  // under the mutex
  };
  using Listening = std::shared_ptr<Listener>;

  absl::StatusOr<uint16_t> Listen(const std::string& listen, HttpHandler* its_handler);
  void Accept(const Listening& listener);
  void Adopt(Session::Socket socket, HttpHandler* its_handler);
  void StopAccepting();
  void Forget(Session* session);
  std::vector<std::shared_ptr<Session>> Alive();
  bool WaitUntilEmpty(base::SteadyTime deadline);
  void WaitUntilDeaf(base::SteadyTime deadline);

  HttpHandler* const handler;
  const HttpLimits limits;
  uint16_t port = 0;

  std::mutex mutex;
  std::condition_variable changed;
  std::unordered_map<Session*, std::weak_ptr<Session>> sessions;
  bool stopped = false;

  // One io_context for each thread, and a connection stays with one: its coroutines never resume on
  // another thread. With several threads in one io_context they crashed inside Asio's awaitable
  // frames as soon as dozens of streams ran (clang-16, Boost 1.81; http_test has the case).
  base::EventLoops& loops;
  size_t next_loop = 0;
  // Their handlers run on the first loop.
  std::vector<Listening> listeners;
};

absl::StatusOr<uint16_t> HttpServer::Impl::Listen(const std::string& listen,
                                                  HttpHandler* its_handler) {
  ASSIGN_OR_RETURN(const HostPort where, ParseHostPort(listen));
  ASSIGN_OR_RETURN(const net::ip::address address, ParseAddress(where.host));
  const tcp::endpoint endpoint(address, where.port);
  auto listener = std::make_shared<Listener>(loops.at(0)->executor(), its_handler);
  tcp::acceptor& acceptor = listener->acceptor;
  boost::system::error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(net::socket_base::max_listen_connections, error);
  if (error) return base::Unavailable("cannot listen on " + listen + ": " + error.message());
  listeners.push_back(std::move(listener));
  net::post(acceptor.get_executor(),
            [self = shared_from_this(), to = listeners.back()] { self->Accept(to); });
  return acceptor.local_endpoint().port();
}

// Its handlers hold what they use: they may run after the server has gone.
void HttpServer::Impl::Accept(const Listening& listener) {
  base::EventLoop& loop = *loops.at(next_loop++ % loops.size());
  listener->acceptor.async_accept(
      loop.io(), [self = shared_from_this(), listener](const boost::system::error_code& error,
                                                       Session::Socket socket) {
        if (error == net::error::operation_aborted || !listener->acceptor.is_open()) return;
        if (!error) {
          self->Adopt(std::move(socket), listener->handler);
          return self->Accept(listener);
        }
        // Out of descriptors, most likely: the listener stays and tries again.
        base::LogWarning("accept failed", {{"what", error.message()}});
        listener->retry.expires_after(kAcceptRetry);
        listener->retry.async_wait([self, listener](const boost::system::error_code& cancelled) {
          if (!cancelled && listener->acceptor.is_open()) self->Accept(listener);
        });
      });
}

void HttpServer::Impl::StopAccepting() {
  for (const Listening& listener : listeners) {
    net::post(listener->acceptor.get_executor(), [self = shared_from_this(), listener] {
      boost::system::error_code ignored;
      listener->acceptor.close(ignored);
      listener->retry.cancel();
      const std::lock_guard lock(self->mutex);
      listener->closed = true;
      self->changed.notify_all();
    });
  }
}

void HttpServer::Impl::Adopt(Session::Socket socket, HttpHandler* its_handler) {
  std::shared_ptr<Session> session;
  {
    const std::lock_guard lock(mutex);
    if (stopped || sessions.size() >= static_cast<size_t>(limits.connections_max))
      return;  // closes the socket
    session = std::make_shared<Session>(std::move(socket), its_handler, &limits,
                                        [weak = weak_from_this()](Session* gone) {
                                          if (const auto self = weak.lock()) self->Forget(gone);
                                        });
    sessions.emplace(session.get(), session);
  }
  session->Start();
}

void HttpServer::Impl::Forget(Session* session) {
  const std::lock_guard lock(mutex);
  sessions.erase(session);
  changed.notify_all();
}

std::vector<std::shared_ptr<Session>> HttpServer::Impl::Alive() {
  std::vector<std::shared_ptr<Session>> alive;
  const std::lock_guard lock(mutex);
  alive.reserve(sessions.size());
  for (const auto& [raw, weak] : sessions) {
    if (auto session = weak.lock()) alive.push_back(std::move(session));
  }
  return alive;
}

bool HttpServer::Impl::WaitUntilEmpty(base::SteadyTime deadline) {
  std::unique_lock lock(mutex);
  return changed.wait_until(lock, deadline, [this] { return sessions.empty(); });
}

void HttpServer::Impl::WaitUntilDeaf(base::SteadyTime deadline) {
  std::unique_lock lock(mutex);
  changed.wait_until(lock, deadline, [this] {
    return std::all_of(listeners.begin(), listeners.end(),
                       [](const Listening& listener) { return listener->closed; });
  });
}

HttpServer::HttpServer(HttpHandler* handler, HttpLimits limits, base::EventLoops* loops)
    : impl_(std::make_shared<Impl>(handler, limits, loops)) {}

HttpServer::~HttpServer() { Stop(); }

absl::Status HttpServer::Start(const std::string& listen) {
  Impl& impl = *impl_;
  ASSIGN_OR_RETURN(impl.port, impl.Listen(listen, impl.handler));
  return absl::OkStatus();
}

absl::StatusOr<uint16_t> HttpServer::AlsoListen(const std::string& listen, HttpHandler* handler) {
  return impl_->Listen(listen, handler);
}

uint16_t HttpServer::port() const { return impl_->port; }

size_t HttpServer::num_connections() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->sessions.size();
}

bool HttpServer::Drain(base::SteadyTime deadline) {
  Impl& impl = *impl_;
  impl.StopAccepting();
  for (const auto& session : impl.Alive()) session->BeginDrain();
  if (impl.WaitUntilEmpty(deadline)) return true;
  for (const auto& session : impl.Alive()) session->Expire();
  impl.WaitUntilEmpty(std::chrono::steady_clock::now() + kLastWords);
  return false;
}

void HttpServer::Stop() {
  Impl& impl = *impl_;
  {
    const std::lock_guard lock(impl.mutex);
    if (std::exchange(impl.stopped, true)) return;
  }
  impl.StopAccepting();
  for (const auto& session : impl.Alive()) session->Close();
  const base::SteadyTime deadline = std::chrono::steady_clock::now() + kLastWords;
  impl.WaitUntilDeaf(deadline);
  impl.WaitUntilEmpty(deadline);
}

}  // namespace conclave::gateway
