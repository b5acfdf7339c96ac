#include "gateway/http/session.h"

#include <poll.h>

#include <algorithm>
#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <utility>

#include "base/check.h"
#include "base/log.h"
#include "gateway/http/response_bytes.h"

namespace conclave::gateway {
namespace {

namespace net = boost::asio;
using base::SteadyTime;
using std::chrono::steady_clock;

constexpr auto kTuple = net::as_tuple(net::use_awaitable);
// Unread input above this stops the reading: pipelined requests wait in the kernel.
constexpr size_t kInputBytesMax = 64 * 1024;
constexpr size_t kReadBytes = 64 * 1024;
constexpr size_t kIdleBytesMax = 4 * 1024;
constexpr std::chrono::seconds kHangupPoll{1};
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
// A body that was refused is read to its end when it is small; else the connection closes.
constexpr size_t kDiscardBytesMax = 64 * 1024;
constexpr size_t kLingerBytesMax = 4u << 20;

}  // namespace

Session::Session(Socket socket, HttpHandler* handler, const HttpLimits* limits,
                 std::function<void(Session*)> closed)
    : socket_(std::move(socket)),
      handler_(handler),
      limits_(*limits),
      closed_(std::move(closed)),
      input_event_(socket_.get_executor()),
      write_timer_(socket_.get_executor()),
      hangup_timer_(socket_.get_executor()) {}

Session::~Session() { closed_(this); }

void Session::Start() {
  auto self = shared_from_this();
  net::co_spawn(
      socket_.get_executor(), [self]() -> Task<void> { return self->Run(); }, net::detached);
}

void Session::BeginDrain() {
  net::post(socket_.get_executor(), [self = shared_from_this()] {
    self->draining_ = true;
    if (self->idle_) self->CloseNow();
  });
}

void Session::Expire() {
  net::post(socket_.get_executor(), [self = shared_from_this()] {
    self->draining_ = true;
    if (self->handling_) {
      self->TellCancelled(CancelReason::kDrain);
    } else {
      self->CloseNow();
    }
  });
}

void Session::Close() {
  net::post(socket_.get_executor(), [self = shared_from_this()] { self->CloseNow(); });
}

void Session::CloseNow() {
  broken_ = true;
  eof_ = true;
  boost::system::error_code ignored;
  socket_.close(ignored);
  ++input_generation_;
  input_event_.cancel();
  write_timer_.cancel();
  hangup_timer_.cancel();
  if (handling_) TellCancelled(CancelReason::kClientGone);
}

// The file that keeps exceptions from Asio and the standard library inside the connection.
Task<void> Session::Run() {
  boost::system::error_code ignored;
  socket_.set_option(net::ip::tcp::no_delay(true), ignored);
  socket_.non_blocking(true, ignored);
  try {
    while (!broken_) {
      const bool more = co_await ServeOne();
      if (!more || draining_) break;
    }
  } catch (const std::exception& error) {
    base::LogError("connection ended by an exception", {{"what", error.what()}});
  }
  if (!broken_) co_await Linger();
  CloseNow();
}

void Session::PumpInput() {
  if (reading_ || eof_ || input_.size() >= kInputBytesMax) return;
  reading_ = true;
  socket_.async_wait(Socket::wait_read,
                     [self = shared_from_this()](const boost::system::error_code& failed) {
                       self->OnReadable(static_cast<bool>(failed));
                     });
}

void Session::OnReadable(bool failed) {
  reading_ = false;
  // One buffer for each io thread: idle connections hold none.
  static thread_local std::array<char, kReadBytes> buffer;
  boost::system::error_code error;
  size_t n = 0;
  if (!failed) n = socket_.read_some(net::buffer(buffer), error);
  if (error == net::error::would_block || error == net::error::try_again) return PumpInput();
  if (failed || error) {
    eof_ = true;
    if (error && error != net::error::eof) broken_ = true;
  } else {
    input_.append(buffer.data(), n);
  }
  ++input_generation_;
  input_event_.cancel();
  if (!handling_) return;
  if (eof_) return TellCancelled(CancelReason::kClientGone);
  if (input_.size() >= kInputBytesMax) return WatchForHangup();
  PumpInput();
}

// While unread input blocks the view of the connection's end, the kernel is asked for it.
void Session::WatchForHangup() {
  hangup_timer_.expires_after(kHangupPoll);
  hangup_timer_.async_wait([self = shared_from_this()](const boost::system::error_code& stopped) {
    if (stopped || !self->handling_) return;
    pollfd state{self->socket_.native_handle(), POLLRDHUP, 0};
    if (::poll(&state, 1, 0) > 0) return self->TellCancelled(CancelReason::kClientGone);
    self->WatchForHangup();
  });
}

Task<bool> Session::AwaitInput(uint64_t seen, SteadyTime deadline) {
  PumpInput();
  while (input_generation_ == seen && !eof_) {
    if (steady_clock::now() >= deadline) co_return false;
    input_event_.expires_at(deadline);
    co_await input_event_.async_wait(kTuple);
  }
  co_return true;
}

void Session::TellCancelled(CancelReason reason) {
  if (cancel_reason_ != CancelReason::kNone) return;
  cancel_reason_ = reason;
  if (const auto listener = std::exchange(cancel_listener_, nullptr)) listener();
}

void Session::OnCancel(std::function<void()> listener) {
  cancel_listener_ = std::move(listener);
  if (cancel_reason_ == CancelReason::kNone || !cancel_listener_) return;
  const auto late = std::exchange(cancel_listener_, nullptr);
  late();
}

Task<Session::Got> Session::ReadHead(RequestReader& reader, RequestHead* head,
                                     HeadRefusal* refusal) {
  const SteadyTime idle_until = steady_clock::now() + limits_.idle_timeout;
  SteadyTime head_until = SteadyTime::max();
  while (true) {
    const uint64_t seen = input_generation_;
    // RFC 9112 §2.2: an empty line in front of the request line is forgiven, once.
    if (input_.compare(0, 2, "\r\n") == 0) input_.erase(0, 2);
    if (!input_.empty() && head_until == SteadyTime::max()) {
      head_until = steady_clock::now() + limits_.head_timeout;
    }
    HeadJudgement judgement = JudgeHead(input_, limits_.head);
    if (judgement.state == HeadJudgement::State::kRefused) {
      *refusal = std::move(judgement.refusal);
      co_return Got::kRefused;
    }
    if (judgement.state == HeadJudgement::State::kAccepted) {
      if (!reader.ReadHead(std::string_view(input_).substr(0, judgement.bytes), head)) {
        *refusal = {400, "unreadable", "the request head is malformed"};
        co_return Got::kRefused;
      }
      input_.erase(0, judgement.bytes);
      co_return Got::kYes;
    }
    if (eof_) co_return Got::kClosed;
    if (draining_ && input_.empty()) co_return Got::kClosed;
    idle_ = input_.empty();
    // What a large request needed is not kept for the wait for the next one.
    if (idle_ && input_.capacity() > kIdleBytesMax) std::string().swap(input_);
    const bool arrived = co_await AwaitInput(seen, std::min(idle_until, head_until));
    idle_ = false;
    if (!arrived) co_return input_.empty() ? Got::kClosed : Got::kTimeout;
  }
}

Task<std::optional<Session::BodyRefusal>> Session::BeginBody(RequestReader& reader,
                                                             const RequestHead& head,
                                                             size_t bytes_max) {
  reader.LimitBody(bytes_max);
  body_waited_ = {};
  body_brought_ = 0;
  if (head.expect_continue && input_.empty() && reader.state() == RequestReader::State::kMore) {
    const bool sent = co_await WriteAll(kContinue);
    if (!sent) co_return BodyRefusal{400, "client_gone"};
  }
  co_return std::nullopt;
}

Task<std::optional<Session::BodyRefusal>> Session::ReadSome(RequestReader& reader,
                                                            std::string* body) {
  using State = RequestReader::State;
  const size_t before = body->size();
  while (true) {
    const uint64_t seen = input_generation_;
    input_.erase(0, reader.ReadBody(input_, body));
    if (reader.state() == State::kTooLarge) co_return BodyRefusal{413, "body_too_large"};
    if (reader.state() == State::kMalformed) co_return BodyRefusal{400, reader.reason()};
    body_brought_ += body->size() - before;
    if (reader.state() == State::kDone || body->size() > before) co_return std::nullopt;
    if (eof_) co_return BodyRefusal{400, "client_gone"};
    const SteadyTime began = steady_clock::now();
    co_await AwaitInput(seen, began + limits_.body_window - body_waited_);
    body_waited_ += steady_clock::now() - began;
    if (body_waited_ < limits_.body_window) continue;
    if (body_brought_ < limits_.body_bytes_min) co_return BodyRefusal{408, "slow_body"};
    body_waited_ = {};
    body_brought_ = 0;
  }
}

Task<std::optional<Session::BodyRefusal>> Session::ReadWholeBody(RequestReader& reader,
                                                                 const RequestHead& head,
                                                                 size_t bytes_max,
                                                                 std::string* body) {
  if (!head.has_body()) co_return std::nullopt;
  auto refusal = co_await BeginBody(reader, head, bytes_max);
  while (!refusal && reader.state() != RequestReader::State::kDone) {
    refusal = co_await ReadSome(reader, body);
  }
  co_return refusal;
}

Task<absl::StatusOr<bool>> Session::ReadBody(std::string* piece) {
  if (!body_) co_return false;
  std::optional<BodyRefusal> refusal;
  if (!std::exchange(body_->begun, true)) {
    refusal = co_await BeginBody(*body_->reader, *body_->head, body_->bytes_max);
  }
  const size_t before = piece->size();
  if (!refusal && body_->reader->state() != RequestReader::State::kDone) {
    refusal = co_await ReadSome(*body_->reader, piece);
  }
  if (refusal) {
    const std::string what = "the request body: " + std::string(refusal->reason);
    absl::Status status = refusal->status == 413             ? base::ResourceExhausted(what)
                          : refusal->reason == "client_gone" ? absl::CancelledError(what)
                                                             : base::InvalidArgument(what);
    co_return base::WithReason(std::move(status), refusal->reason);
  }
  if (body_->reader->state() == RequestReader::State::kDone) body_.reset();
  co_return piece->size() > before;
}

Task<bool> Session::ServeOne() {
  Request request;
  RequestReader reader;
  HeadRefusal head_refusal;
  answer_started_ = answer_ended_ = chunked_ = no_body_ = false;
  body_.reset();
  cancel_reason_ = CancelReason::kNone;
  request_id_.clear();
  extra_headers_.clear();
  minor_version_ = 1;
  keep_alive_ = true;
  AccessRecord record;
  record_ = &record;

  const Got got = co_await ReadHead(reader, &request.head, &head_refusal);
  if (got == Got::kClosed) co_return false;
  request_began_ = steady_clock::now();
  if (got == Got::kTimeout) head_refusal = {408, "slow_head", "the request head took too long"};
  if (got != Got::kYes) {
    co_await Refuse(handler_->OnHeadRefused(head_refusal));
    record_ = nullptr;
    co_return false;
  }
  const RequestHead& head = request.head;
  minor_version_ = head.minor_version;
  keep_alive_ = head.keep_alive;
  no_body_ = head.method == "HEAD";
  HeadVerdict verdict = handler_->OnHead(head);
  request_id_ = verdict.request_id;
  extra_headers_ = std::move(verdict.headers);
  record.request_id = verdict.request_id;
  record.route = verdict.route;
  request.request_id = verdict.request_id;
  request.received_at = request_began_;

  bool go_on = false;
  if (verdict.refusal) {
    // A small body is read and thrown away so that the connection can stay; a client that waits
    // for 100-continue will not send one, and may not know that it should not.
    std::string discarded;
    if (head.expect_continue || head.content_length.value_or(0) > kDiscardBytesMax) {
      keep_alive_ = keep_alive_ && !head.has_body();
    } else if (head.has_body()) {
      const auto bad = co_await ReadWholeBody(reader, head, kDiscardBytesMax, &discarded);
      if (bad) keep_alive_ = false;
    }
    co_await Reply(*std::move(verdict.refusal));
    go_on = keep_alive_;
  } else if (verdict.stream_body) {
    if (head.has_body()) {
      body_ = StreamedBody{
          .reader = &reader, .head = &head, .bytes_max = verdict.body_bytes_max, .begun = false};
    }
    go_on = co_await Handle(request, record);
    body_.reset();
  } else {
    const auto bad_body =
        co_await ReadWholeBody(reader, head, verdict.body_bytes_max, &request.body);
    if (bad_body) {
      co_await Refuse(
          handler_->OnBodyRefused(head, request_id_, bad_body->status, bad_body->reason));
    } else {
      go_on = co_await Handle(request, record);
    }
  }
  handler_->OnFinished(head, record, cancel_reason_, steady_clock::now() - request_began_);
  record_ = nullptr;
  co_return go_on && !broken_;
}

Task<bool> Session::Handle(Request& request, AccessRecord& record) {
  handling_ = true;
  if (eof_) TellCancelled(CancelReason::kClientGone);
  PumpInput();
  if (input_.size() >= kInputBytesMax) WatchForHangup();
  bool failed = false;
  try {
    co_await handler_->Handle(request, *this, record);
  } catch (const std::exception& error) {
    base::LogError("handler ended by an exception",
                   {{"request_id", request_id_}, {"what", error.what()}});
    failed = true;
  }
  handling_ = false;
  cancel_listener_ = nullptr;
  hangup_timer_.cancel();
  if (failed || !answer_ended_) co_return false;
  co_return keep_alive_;
}

Task<void> Session::Refuse(Response response) {
  keep_alive_ = false;
  co_await Reply(std::move(response));
}

// Reads on for a moment after the last answer: closing with unread bytes would send a reset that
// can overtake the answer.
Task<void> Session::Linger() {
  boost::system::error_code ignored;
  socket_.shutdown(net::ip::tcp::socket::shutdown_send, ignored);
  const SteadyTime until = steady_clock::now() + limits_.linger;
  size_t thrown_away = 0;
  while (!eof_ && thrown_away < kLingerBytesMax) {
    thrown_away += input_.size();
    input_.clear();
    const bool arrived = co_await AwaitInput(input_generation_, until);
    if (!arrived) break;
  }
}

std::string Session::BeginAnswer(int status, std::string_view content_type,
                                 const HeaderList& headers, std::optional<size_t> content_length) {
  DCHECK(!answer_started_);
  answer_started_ = true;
  if (record_ != nullptr) record_->status = status;
  chunked_ = !content_length && minor_version_ == 1;
  const bool ends_with_connection = !content_length && minor_version_ == 0;
  // What is left of a body would be read as the next request.
  if (draining_ || ends_with_connection || body_) keep_alive_ = false;
  const auto took =
      std::chrono::duration_cast<std::chrono::milliseconds>(steady_clock::now() - request_began_);
  const std::string took_ms = std::to_string(took.count());
  ResponseHead head;
  head.status = status;
  head.request_minor_version = minor_version_;
  head.keep_alive = keep_alive_;
  head.content_length = content_length;
  if (!content_type.empty()) head.fields.emplace_back("Content-Type", content_type);
  if (!request_id_.empty()) head.fields.emplace_back("x-request-id", request_id_);
  head.fields.emplace_back("openai-processing-ms", took_ms);
  for (const auto& [name, value] : extra_headers_) head.fields.emplace_back(name, value);
  for (const auto& [name, value] : headers) head.fields.emplace_back(name, value);
  return HeadBytes(head);
}

Task<void> Session::Reply(Response response) {
  std::string bytes =
      BeginAnswer(response.status, response.content_type, response.headers, response.body.size());
  if (!no_body_) bytes += response.body;
  answer_ended_ = co_await WriteAll(bytes);
}

Task<bool> Session::BeginStream(int status, std::string_view content_type, HeaderList headers) {
  const std::string bytes = BeginAnswer(status, content_type, headers, std::nullopt);
  co_return co_await WriteAll(bytes);
}

Task<bool> Session::Write(std::string_view bytes) {
  DCHECK(answer_started_ && !answer_ended_);
  if (bytes.empty() || no_body_) co_return !broken_;
  if (chunked_) {
    chunk_.clear();
    AppendChunk(bytes, &chunk_);
    bytes = chunk_;
  }
  // Nearly always the kernel takes it all.
  if (!WriteSome(&bytes)) co_return false;
  if (bytes.empty()) co_return true;
  co_return co_await WriteAll(bytes);
}

Task<void> Session::EndStream() {
  DCHECK(answer_started_ && !answer_ended_);
  answer_ended_ = true;
  std::string().swap(chunk_);  // idle connections hold none
  if (!chunked_ || no_body_) co_return;
  const std::string last = LastChunkBytes();
  answer_ended_ = co_await WriteAll(last);
}

void Session::Abort() { keep_alive_ = false; }

bool Session::WriteSome(std::string_view* bytes) {
  while (!bytes->empty()) {
    if (broken_) return false;
    boost::system::error_code error;
    const size_t n = socket_.write_some(net::buffer(bytes->data(), bytes->size()), error);
    if (error == net::error::would_block || error == net::error::try_again) break;
    if (error) {
      broken_ = true;
      if (handling_) TellCancelled(CancelReason::kClientGone);
      return false;
    }
    if (record_ != nullptr) record_->bytes_out += n;
    bytes->remove_prefix(n);
  }
  return !broken_;
}

Task<bool> Session::WriteAll(std::string_view bytes) {
  while (WriteSome(&bytes) && !bytes.empty()) {
    const uint64_t wait = ++write_waits_;
    write_timer_.expires_after(limits_.write_stall);
    write_timer_.async_wait(
        [self = shared_from_this(), wait](const boost::system::error_code& stopped) {
          if (stopped || wait != self->write_waits_) return;
          if (self->handling_) self->TellCancelled(CancelReason::kStalled);
          self->CloseNow();
        });
    co_await socket_.async_wait(Socket::wait_write, kTuple);
    ++write_waits_;
    write_timer_.cancel();
  }
  co_return !broken_;
}

}  // namespace conclave::gateway
