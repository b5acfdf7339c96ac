#include "mesh/h2_connection.h"

#include <openssl/ssl.h>

#include <boost/asio/post.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/write.hpp>
#include <type_traits>
#include <utility>

#include "mesh/target.h"
#include "mesh/tls_context.h"

namespace conclave::mesh {
namespace {

namespace net = boost::asio;
using net::ip::tcp;
using Error = boost::system::error_code;

constexpr std::chrono::seconds kConnectMax{3};
// As those of gRPC's channels (channel.cc): a cut connection is noticed within 15 s.
constexpr std::chrono::seconds kSilenceMax{10};
constexpr std::chrono::seconds kPingMax{5};

}  // namespace

H2Connection::H2Connection(std::shared_ptr<base::EventLoop> loop,
                           std::shared_ptr<const H2Peer> peer)
    : loop_(std::move(loop)),
      peer_(std::move(peer)),
      session_(peer_->tls ? "https" : "http", peer_->authority),
      stream_(std::in_place_type<Socket>, loop_->io()),
      timer_(loop_->io()) {
  if (peer_->tls) stream_.emplace<TlsSocket>(loop_->io(), *peer_->tls);
}

H2Connection::Socket& H2Connection::socket() {
  if (auto* const tls = std::get_if<TlsSocket>(&stream_)) return tls->next_layer();
  return std::get<Socket>(stream_);
}

template <typename Action>
void H2Connection::OnStream(Action action) {
  std::visit(std::move(action), stream_);
}

void H2Connection::Start() {
  const auto self = shared_from_this();
  timer_.expires_after(kConnectMax);
  timer_.async_wait([self](const Error& stopped) {
    if (!stopped && !self->open_) self->Fail("connecting", net::error::timed_out);
  });
  socket().async_connect(peer_->endpoint, [self](const Error& error) {
    if (self->closed_) return;
    if (error) return self->Fail("connecting", error);
    Error ignored;
    self->socket().set_option(tcp::no_delay(true), ignored);
    self->Shake();
  });
}

void H2Connection::Shake() {
  auto* const tls = std::get_if<TlsSocket>(&stream_);
  if (tls == nullptr) return Opened();
  Error error;
  tls->set_verify_mode(net::ssl::verify_peer, error);
  tls->set_verify_callback(net::ssl::host_name_verification(peer_->server_name), error);
  if (error) return Fail("preparing TLS", error);
  net::ip::make_address(peer_->server_name, error);
  const bool is_name = static_cast<bool>(error);
  if (is_name) SSL_set_tlsext_host_name(tls->native_handle(), peer_->server_name.c_str());
  tls->async_handshake(
      net::ssl::stream_base::client, [self = shared_from_this(), tls](const Error& failed) {
        if (self->closed_) return;
        if (failed) return self->Fail("the TLS handshake", failed);
        const unsigned char* protocol = nullptr;
        unsigned size = 0;
        SSL_get0_alpn_selected(tls->native_handle(), &protocol, &size);
        if (std::string_view(reinterpret_cast<const char*>(protocol), size) != "h2")
          return self->Fail("TLS", net::error::no_protocol_option);
        self->Opened();
      });
}

void H2Connection::Opened() {
  open_ = true;
  timer_.cancel();
  WatchSilence();
  Flush();
  ReadMore();
}

absl::StatusOr<int32_t> H2Connection::Open(H2Session::Request request,
                                           std::shared_ptr<H2Call> call) {
  absl::StatusOr<int32_t> id = session_.Open(std::move(request), call.get());
  if (!id.ok()) return id;
  calls_.emplace(*id, std::move(call));
  FlushLater();
  return id;
}

void H2Connection::Cancel(int32_t id) {
  session_.Cancel(id);
  calls_.erase(id);
  FlushLater();
}

void H2Connection::Consume(int32_t id, size_t bytes) {
  session_.Consume(id, bytes);
  FlushLater();
}

void H2Connection::Touch(H2Call* call) {
  if (!std::exchange(call->touched_, true)) touched_.push_back(call->shared_from_this());
}

void H2Connection::ReadMore() {
  OnStream([this](auto& stream) {
    stream.async_read_some(net::buffer(input_),
                           [self = shared_from_this()](const Error& error, size_t size) {
                             if (self->closed_) return;
                             if (error) return self->Fail("reading", error);
                             self->OnBytes(size);
                           });
  });
}

void H2Connection::OnBytes(size_t size) {
  heard_ = true;
  const absl::Status status = session_.Receive({input_.data(), size});
  if (!status.ok()) return Close(status);
  DeliverTouched();
  if (!closed_) ReadMore();
}

void H2Connection::DeliverTouched() {
  delivering_ = true;
  std::vector<std::shared_ptr<H2Call>> touched;
  touched.swap(touched_);
  for (const std::shared_ptr<H2Call>& call : touched) {
    call->touched_ = false;
    if (call->end_) calls_.erase(call->id_);
    call->Deliver();
  }
  // The room is kept, the calls are not.
  touched.clear();
  if (touched_.empty()) touched_.swap(touched);
  delivering_ = false;
  Flush();
}

void H2Connection::FlushLater() {
  if (!open_ || delivering_ || std::exchange(flush_posted_, true)) return;
  net::post(loop_->io(), [self = shared_from_this()] {
    self->flush_posted_ = false;
    self->Flush();
  });
}

void H2Connection::Flush() {
  if (!open_ || closed_) return;
  if (sending_.empty()) session_.TakeOutput(&output_);
  if (!touched_.empty()) {
    net::post(loop_->io(), [self = shared_from_this()] { self->DeliverTouched(); });
  }
  if (!sending_.empty()) return;
  if (output_.empty()) {
    if (session_.over()) Close(base::Unavailable("the peer has ended the connection"));
    return;
  }
  sending_.swap(output_);
  OnStream([this](auto& stream) {
    net::async_write(stream, net::buffer(sending_),
                     [self = shared_from_this()](const Error& error, size_t) {
                       self->sending_.clear();
                       if (self->closed_) return;
                       if (error) return self->Fail("writing", error);
                       self->Flush();
                     });
  });
}

// A ping when nothing was heard for a while, and the end when it is not answered.
void H2Connection::WatchSilence() {
  timer_.expires_after(pinged_ ? kPingMax : kSilenceMax);
  timer_.async_wait([weak = weak_from_this()](const Error& stopped) {
    const std::shared_ptr<H2Connection> self = weak.lock();
    if (stopped || self == nullptr || self->closed_) return;
    const bool heard = std::exchange(self->heard_, false);
    if (!heard && self->pinged_) return self->Fail("waiting for a ping", net::error::timed_out);
    self->pinged_ = !heard;
    if (!heard) {
      self->session_.Ping();
      self->Flush();
    }
    self->WatchSilence();
  });
}

void H2Connection::Fail(const std::string& doing, const Error& error) {
  Close(base::Unavailable(peer_->authority + ": " + doing + ": " + error.message()));
}

void H2Connection::Close(const absl::Status& why) {
  if (std::exchange(closed_, true)) return;
  const auto self = shared_from_this();
  Error ignored;
  socket().close(ignored);
  timer_.cancel();
  std::unordered_map<int32_t, std::shared_ptr<H2Call>> calls;
  calls.swap(calls_);
  for (const auto& [id, call] : calls) {
    if (!call->end_) call->OnEnd(why);
  }
  touched_.clear();
  for (const auto& [id, call] : calls) call->DeliverLater();
}

absl::StatusOr<std::shared_ptr<H2Link>> H2Link::Make(const std::string& address,
                                                     const ClientTls& tls) {
  ASSIGN_OR_RETURN(const Target target, ParseTarget(address));
  auto peer = std::make_shared<H2Peer>();
  Error error;
  peer->endpoint =
      tcp::endpoint(net::ip::make_address(target.host, error), static_cast<uint16_t>(target.port));
  if (error) return base::InvalidArgument("\"" + address + "\" is not an IP address and a port");
  peer->authority = target.address();
  peer->server_name = tls.server_name.empty() ? target.host : tls.server_name;
  ASSIGN_OR_RETURN(peer->tls, MakeTlsContext(tls));
  return std::make_shared<H2Link>(std::move(peer));
}

H2Link::~H2Link() {
  for (const Known& known : known_) {
    const std::shared_ptr<base::EventLoop> loop = known.loop.lock();
    const std::shared_ptr<H2Connection> connection = known.connection.lock();
    if (loop == nullptr || connection == nullptr) continue;
    net::post(loop->io(),
              [connection] { connection->Close(base::Unavailable("the worker has gone")); });
  }
}

std::shared_ptr<H2Connection> H2Link::ConnectionOn(const std::shared_ptr<base::EventLoop>& loop) {
  const std::lock_guard lock(mutex_);
  std::erase_if(known_, [](const Known& known) { return known.connection.expired(); });
  for (Known& known : known_) {
    if (known.loop.lock() != loop) continue;
    const std::shared_ptr<H2Connection> connection = known.connection.lock();
    if (connection != nullptr && connection->usable()) return connection;
    std::erase_if(known_, [&](const Known& other) { return &other == &known; });
    break;
  }
  auto connection = std::make_shared<H2Connection>(loop, peer_);
  known_.push_back({loop, connection});
  connection->Start();
  return connection;
}

}  // namespace conclave::mesh
