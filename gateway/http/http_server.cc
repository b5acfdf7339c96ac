#include "gateway/http/http_server.h"

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <charconv>
#include <condition_variable>
#include <mutex>
#include <thread>
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

struct HttpServer::Impl {
  Impl(HttpHandler* handler_in, HttpLimits limits_in, int threads_in)
      : handler(handler_in), limits(limits_in) {
    for (int i = 0; i < std::max(threads_in, 1); ++i) loops.push_back(std::make_unique<Loop>());
  }

  struct Listener {
    Listener(const net::any_io_executor& executor, HttpHandler* its_handler)
        : acceptor(executor), retry(executor), handler(its_handler) {}
    tcp::acceptor acceptor;
    net::steady_timer retry;
    HttpHandler* const handler;
  };

  absl::StatusOr<uint16_t> Listen(const std::string& listen, HttpHandler* its_handler);
  void Accept(Listener& listener);
  void Adopt(Session::Socket socket, HttpHandler* its_handler);
  void StopAccepting();
  void Forget(Session* session);
  std::vector<std::shared_ptr<Session>> Alive();
  bool WaitUntilEmpty(base::SteadyTime deadline);

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
  // Stands after `sessions`: what the loops still hold when they are destroyed reports there.
  struct Loop {
    net::io_context io{1};
    std::optional<net::executor_work_guard<net::io_context::executor_type>> work;
  };
  std::vector<std::unique_ptr<Loop>> loops;
  size_t next_loop = 0;
  // Their handlers run on the first loop.
  std::vector<std::unique_ptr<Listener>> listeners;
  std::vector<std::jthread> threads;
};

absl::StatusOr<uint16_t> HttpServer::Impl::Listen(const std::string& listen,
                                                  HttpHandler* its_handler) {
  ASSIGN_OR_RETURN(const HostPort where, ParseHostPort(listen));
  ASSIGN_OR_RETURN(const net::ip::address address, ParseAddress(where.host));
  const tcp::endpoint endpoint(address, where.port);
  auto listener = std::make_unique<Listener>(loops.front()->io.get_executor(), its_handler);
  tcp::acceptor& acceptor = listener->acceptor;
  boost::system::error_code error;
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(net::socket_base::max_listen_connections, error);
  if (error) return base::Unavailable("cannot listen on " + listen + ": " + error.message());
  listeners.push_back(std::move(listener));
  net::post(acceptor.get_executor(), [this, to = listeners.back().get()] { Accept(*to); });
  return acceptor.local_endpoint().port();
}

void HttpServer::Impl::Accept(Listener& listener) {
  Loop& loop = *loops[next_loop++ % loops.size()];
  listener.acceptor.async_accept(
      net::make_strand(loop.io.get_executor()),
      [this, &listener](const boost::system::error_code& error, Session::Socket socket) {
        if (error == net::error::operation_aborted) return;
        if (!error) {
          Adopt(std::move(socket), listener.handler);
          return Accept(listener);
        }
        // Out of descriptors, most likely: the listener stays and tries again.
        base::LogWarning("accept failed", {{"what", error.message()}});
        listener.retry.expires_after(kAcceptRetry);
        listener.retry.async_wait([this, &listener](const boost::system::error_code& cancelled) {
          if (!cancelled && listener.acceptor.is_open()) Accept(listener);
        });
      });
}

void HttpServer::Impl::StopAccepting() {
  for (const auto& listener : listeners) {
    net::post(listener->acceptor.get_executor(), [raw = listener.get()] {
      boost::system::error_code ignored;
      raw->acceptor.close(ignored);
    });
  }
}

void HttpServer::Impl::Adopt(Session::Socket socket, HttpHandler* its_handler) {
  std::shared_ptr<Session> session;
  {
    const std::lock_guard lock(mutex);
    if (stopped || sessions.size() >= limits.connections_max) return;  // closes the socket
    session = std::make_shared<Session>(std::move(socket), its_handler, &limits,
                                        [this](Session* gone) { Forget(gone); });
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

HttpServer::HttpServer(HttpHandler* handler, HttpLimits limits, int threads)
    : impl_(std::make_shared<Impl>(handler, limits, threads)) {}

HttpServer::~HttpServer() { Stop(); }

absl::Status HttpServer::Start(const std::string& listen) {
  Impl& impl = *impl_;
  ASSIGN_OR_RETURN(impl.port, impl.Listen(listen, impl.handler));
  for (const auto& loop : impl.loops) {
    loop->work.emplace(loop->io.get_executor());
    impl.threads.emplace_back([&io = loop->io] { io.run(); });
  }
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
  if (impl.threads.empty()) return;
  impl.StopAccepting();
  for (const auto& session : impl.Alive()) session->Close();
  impl.WaitUntilEmpty(std::chrono::steady_clock::now() + kLastWords);
  for (const auto& loop : impl.loops) {
    loop->work.reset();
    loop->io.stop();
  }
  impl.threads.clear();
}

}  // namespace conclave::gateway
