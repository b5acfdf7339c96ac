// One call with one request and a stream of replies over an H2Connection, with the rules of gRPC's
// reactors: a reply for each Read, none without; the end is told once nothing is read any more.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/event_loops.h"
#include "base/status.h"
#include "mesh/h2_framing.h"
#include "mesh/h2_session.h"

namespace conclave::mesh {

class H2Connection;
class H2Link;

// Lives on one loop, whose thread calls the On… functions, one at a time and never from inside
// Read, Cancel or Release. Holds itself from Start to OnDone.
class H2Call : public H2Session::Stream, public std::enable_shared_from_this<H2Call> {
 public:
  static constexpr size_t kMessageBytesMax = 64 << 20;

  explicit H2Call(std::shared_ptr<base::EventLoop> loop);

  // Thread-safe, as are the others. Once, first.
  void StartCall(std::shared_ptr<H2Link> link, H2Session::Request request,
                 base::SteadyTime deadline);
  // Asks for one reply; at most one may be asked for at a time.
  void Read();
  // Ends the call with CANCELLED, unless it has ended.
  void Cancel();
  // No Read will follow. Needed for OnDone.
  void Release();

 protected:
  // The answers to Read: a reply, valid during the call; or there is none and will be none, after
  // which one calls Release. False from OnMessage: the reply is malformed.
  virtual bool OnMessage(std::string_view bytes) = 0;
  virtual void OnNoMessage() = 0;
  // Last.
  virtual void OnDone(const absl::Status& status) = 0;

 private:
  friend class H2Connection;

  void OnData(std::string_view bytes) override;
  void OnEnd(absl::Status status) override;

  // On the loop.
  template <typename Do>
  void OnLoop(Do action);
  void Begin(const std::shared_ptr<H2Link>& link, H2Session::Request request,
             base::SteadyTime deadline);
  void WaitForDeadline(base::SteadyTime deadline);
  void End(absl::Status status);  // breaks the stream off
  void Deliver();                 // what is there and wanted
  void DeliverLater();
  bool DeliverOne();  // false: nothing is there yet
  void GiveWindow();

  const std::shared_ptr<base::EventLoop> loop_;
  boost::asio::steady_timer deadline_timer_;
  MessageAssembler messages_{kMessageBytesMax};
  std::shared_ptr<H2Connection> connection_;  // while the stream is open
  int32_t id_ = 0;
  size_t num_unconsumed_ = 0;  // bytes that the peer may not send again yet
  bool wanted_ = false;
  bool released_ = false;
  bool delivering_ = false;
  bool scheduled_ = false;
  bool touched_ = false;  // the connection will deliver
  std::optional<absl::Status> end_;
  std::shared_ptr<H2Call> self_;
};

}  // namespace conclave::mesh
