// An HTTP/2 connection to one worker on one loop, for the calls whose every reply counts: one read
// brings the tokens of all streams, and each is handled where it is sent on, with no other thread
// in between (docs/decisions/0014). All other calls go through gRPC's own channel.
#pragma once

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <variant>
#include <vector>

#include "base/event_loops.h"
#include "base/status.h"
#include "mesh/channel.h"
#include "mesh/h2_call.h"
#include "mesh/h2_session.h"

namespace conclave::mesh {

// Where to connect to, and how.
struct H2Peer {
  boost::asio::ip::tcp::endpoint endpoint;
  std::string authority;                           // host:port
  std::shared_ptr<boost::asio::ssl::context> tls;  // null = plain text
  std::string server_name;                         // expected in its certificate
};

// Belongs to its loop: everything is called on its thread. Held by what it waits for and by the
// calls on it; a link only looks at it.
class H2Connection final : public std::enable_shared_from_this<H2Connection> {
 public:
  H2Connection(std::shared_ptr<base::EventLoop> loop, std::shared_ptr<const H2Peer> peer);

  // Connects; streams may be opened at once.
  void Start();
  // May be given further streams.
  bool usable() const { return !closed_ && session_.takes_streams(); }
  absl::StatusOr<int32_t> Open(H2Session::Request request, std::shared_ptr<H2Call> call);
  void Cancel(int32_t id);
  void Consume(int32_t id, size_t bytes);
  // The call has something to deliver, once the session has been left.
  void Touch(H2Call* call);
  // Ends its streams with UNAVAILABLE.
  void Close(const absl::Status& why);

 private:
  using Socket = boost::asio::ip::tcp::socket;
  using TlsSocket = boost::asio::ssl::stream<Socket>;

  Socket& socket();
  // Calls `action` with the plain or the encrypted stream.
  template <typename Action>
  void OnStream(Action action);
  void Shake();
  void Opened();
  void ReadMore();
  void OnBytes(size_t size);
  void DeliverTouched();  // and flushes
  void Flush();
  void FlushLater();
  void WatchSilence();
  void Fail(const std::string& doing, const boost::system::error_code& error);

  const std::shared_ptr<base::EventLoop> loop_;
  const std::shared_ptr<const H2Peer> peer_;
  H2Session session_;
  std::variant<Socket, TlsSocket> stream_;
  boost::asio::steady_timer timer_;  // for the connecting, then for silence
  std::unordered_map<int32_t, std::shared_ptr<H2Call>> calls_;
  std::vector<std::shared_ptr<H2Call>> touched_;
  std::array<char, 32 << 10> input_;
  std::string output_;   // to be sent next
  std::string sending_;  // on its way
  bool open_ = false;
  bool closed_ = false;
  bool flush_posted_ = false;
  bool delivering_ = false;  // and will flush
  bool heard_ = false;       // since the timer was set
  bool pinged_ = false;      // and not heard since
};

// The connections to one worker, one for each loop that asks. Thread-safe.
class H2Link final {
 public:
  // address: an IP address and a port. INVALID_ARGUMENT: it is none, or the TLS files are no good.
  static absl::StatusOr<std::shared_ptr<H2Link>> Make(const std::string& address,
                                                      const ClientTls& tls);
  explicit H2Link(std::shared_ptr<const H2Peer> peer) : peer_(std::move(peer)) {}
  ~H2Link();  // closes them
  H2Link(const H2Link&) = delete;
  H2Link& operator=(const H2Link&) = delete;

  // On the thread of `loop`. A connection that takes streams: made anew when there is none.
  std::shared_ptr<H2Connection> ConnectionOn(const std::shared_ptr<base::EventLoop>& loop);

 private:
  struct Known {
    std::weak_ptr<base::EventLoop> loop;
    std::weak_ptr<H2Connection> connection;
  };

  const std::shared_ptr<const H2Peer> peer_;
  std::mutex mutex_;
  std::vector<Known> known_;
};

}  // namespace conclave::mesh
