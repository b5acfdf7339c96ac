// One connection: reads requests one after the other, has them handled, writes the answers in
// order. Lives on its loop, whose one thread runs it; holds itself through its pending operations.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <string>

#include "gateway/http/http_server.h"
#include "gateway/http/request_reader.h"

namespace conclave::gateway {

class Session final : public ResponseWriter, public std::enable_shared_from_this<Session> {
 public:
  using Socket = boost::asio::basic_stream_socket<boost::asio::ip::tcp,
                                                  boost::asio::io_context::executor_type>;

  // `closed` is called once, when the connection is over.
  Session(Socket socket, HttpHandler* handler, const HttpLimits* limits,
          std::function<void(Session*)> closed);
  ~Session() override;

  void Start();

  // From any thread. Idle connections close, busy ones after their answer.
  void BeginDrain();
  // From any thread: the running request is told that time is up.
  void Expire();
  // From any thread: cut off.
  void Close();

  Task<absl::StatusOr<bool>> ReadBody(std::string* piece) override;
  Task<void> Reply(Response response) override;
  Task<bool> BeginStream(int status, std::string_view content_type, HeaderList headers) override;
  Task<bool> Write(std::string_view bytes) override;
  Task<void> EndStream() override;
  void Abort() override;
  bool started() const override { return answer_started_; }
  CancelReason cancel_reason() const override { return cancel_reason_; }
  void OnCancel(std::function<void()> listener) override;

 private:
  enum class Got { kYes, kClosed, kTimeout, kRefused };
  struct BodyRefusal {
    int status;
    std::string_view reason;
  };

  Task<void> Run();
  Task<bool> ServeOne();  // false: no further request on this connection
  Task<Got> ReadHead(RequestReader& reader, RequestHead* head, HeadRefusal* refusal);
  Task<std::optional<BodyRefusal>> ReadWholeBody(RequestReader& reader, const RequestHead& head,
                                                 size_t bytes_max, std::string* body);
  Task<std::optional<BodyRefusal>> BeginBody(RequestReader& reader, const RequestHead& head,
                                             size_t bytes_max);
  // Appends what there is, waiting until there is something. Only time spent waiting counts towards
  // the least a body must bring.
  Task<std::optional<BodyRefusal>> ReadSome(RequestReader& reader, std::string* body);
  Task<bool> Handle(Request& request, AccessRecord& record);
  Task<void> Refuse(Response response);
  Task<void> Linger();

  // Waits for more input than `seen` generations have brought. False at the deadline.
  Task<bool> AwaitInput(uint64_t seen, base::SteadyTime deadline);
  void PumpInput();
  void OnReadable(bool failed);
  void WatchForHangup();
  void TellCancelled(CancelReason reason);
  // The head of the answer; without a length a stream follows.
  std::string BeginAnswer(int status, std::string_view content_type, const HeaderList& headers,
                          std::optional<size_t> content_length);
  Task<bool> WriteAll(std::string_view bytes);
  // As much as the kernel takes now, off the front of `bytes`. False: nothing can be written any
  // more.
  bool WriteSome(std::string_view* bytes);
  void CloseNow();

  Socket socket_;
  HttpHandler* const handler_;
  const HttpLimits& limits_;
  std::function<void(Session*)> closed_;
  boost::asio::steady_timer input_event_;
  boost::asio::steady_timer write_timer_;
  boost::asio::steady_timer hangup_timer_;

  // Input: bytes received and not yet used. The pump stops above its limit.
  std::string input_;
  uint64_t input_generation_ = 0;
  bool reading_ = false;
  bool eof_ = false;
  bool idle_ = false;  // between requests, nothing received
  uint64_t write_waits_ = 0;

  // The request at hand.
  std::string request_id_;
  HeaderList extra_headers_;
  AccessRecord* record_ = nullptr;
  base::SteadyTime request_began_;
  std::function<void()> cancel_listener_;
  CancelReason cancel_reason_ = CancelReason::kNone;
  bool handling_ = false;

  // A body that the handler reads; null when there is none, or none is left.
  struct StreamedBody {
    RequestReader* reader = nullptr;
    const RequestHead* head = nullptr;
    size_t bytes_max = 0;
    bool begun = false;
  };
  std::optional<StreamedBody> body_;
  std::chrono::nanoseconds body_waited_{0};  // for the window at hand …
  size_t body_brought_ = 0;                  // … and what it brought
  bool answer_started_ = false;
  bool answer_ended_ = false;
  bool chunked_ = false;
  std::string chunk_;     // at hand
  bool no_body_ = false;  // HEAD
  bool keep_alive_ = true;
  int minor_version_ = 1;

  bool draining_ = false;
  bool broken_ = false;  // nothing can be written any more
};

}  // namespace conclave::gateway
