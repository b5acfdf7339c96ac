#include "mesh/h2_call.h"

#include <algorithm>
#include <boost/asio/post.hpp>
#include <utility>

#include "mesh/h2_connection.h"

namespace conclave::mesh {

namespace net = boost::asio;

H2Call::H2Call(std::shared_ptr<base::EventLoop> loop)
    : loop_(std::move(loop)), deadline_timer_(loop_->io()) {}

template <typename Do>
void H2Call::OnLoop(Do action) {
  if (loop_->runs_here()) return action();
  net::post(loop_->io(),
            [self = shared_from_this(), action = std::move(action)]() mutable { action(); });
}

void H2Call::StartCall(std::shared_ptr<H2Link> link, H2Session::Request request,
                       base::SteadyTime deadline) {
  self_ = shared_from_this();
  OnLoop([this, link = std::move(link), request = std::move(request), deadline]() mutable {
    Begin(link, std::move(request), deadline);
  });
}

void H2Call::Read() {
  OnLoop([this] {
    wanted_ = true;
    if (delivering_) return;
    if (end_ || messages_.num_left() > 0) DeliverLater();
    GiveWindow();
  });
}

void H2Call::Cancel() {
  OnLoop([this] { End(absl::CancelledError("cancelled")); });
}

void H2Call::Release() {
  OnLoop([this] {
    released_ = true;
    if (end_ && !delivering_) DeliverLater();
  });
}

void H2Call::Begin(const std::shared_ptr<H2Link>& link, H2Session::Request request,
                   base::SteadyTime deadline) {
  if (end_) return;  // cancelled first
  const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
      deadline - std::chrono::steady_clock::now());
  if (left.count() <= 0) return End(absl::DeadlineExceededError("the deadline has passed"));
  request.timeout = left;
  const std::shared_ptr<H2Connection> connection = link->ConnectionOn(loop_);
  const absl::StatusOr<int32_t> id = connection->Open(std::move(request), shared_from_this());
  if (!id.ok()) return End(id.status());
  connection_ = connection;
  id_ = *id;
  WaitForDeadline(deadline);
}

void H2Call::WaitForDeadline(base::SteadyTime deadline) {
  if (deadline == base::SteadyTime::max()) return;
  deadline_timer_.expires_at(deadline);
  deadline_timer_.async_wait([weak = weak_from_this()](const boost::system::error_code& stopped) {
    const std::shared_ptr<H2Call> self = weak.lock();
    if (stopped || self == nullptr) return;
    self->End(absl::DeadlineExceededError("the deadline has passed"));
  });
}

// From inside the session: Deliver follows.
void H2Call::OnData(std::string_view bytes) {
  messages_.Add(bytes);
  num_unconsumed_ += bytes.size();
  connection_->Touch(this);
}

void H2Call::OnEnd(absl::Status status) {
  connection_->Touch(this);
  connection_ = nullptr;
  end_ = std::move(status);
  deadline_timer_.cancel();
}

void H2Call::End(absl::Status status) {
  if (end_) return;
  end_ = std::move(status);
  messages_.Clear();
  deadline_timer_.cancel();
  if (connection_ != nullptr) std::exchange(connection_, nullptr)->Cancel(id_);
  if (!delivering_) DeliverLater();
}

void H2Call::DeliverLater() {
  if (std::exchange(scheduled_, true)) return;
  net::post(loop_->io(), [self = shared_from_this()] {
    self->scheduled_ = false;
    self->Deliver();
  });
}

void H2Call::Deliver() {
  if (delivering_) return;
  delivering_ = true;
  while (wanted_ && DeliverOne()) {
  }
  delivering_ = false;
  GiveWindow();
  if (!end_ || !released_ || self_ == nullptr) return;
  const std::shared_ptr<H2Call> self = std::move(self_);
  OnDone(*end_);
}

bool H2Call::DeliverOne() {
  const auto message = messages_.Next();
  if (message.ok() && !*message && !end_) return false;
  wanted_ = false;
  if (message.ok() && *message) {
    if (OnMessage(**message)) return true;
    End(base::Internal("a malformed message"));
  } else if (!message.ok()) {
    End(message.status());
  }
  if (end_->ok() && messages_.num_left() > 0) *end_ = base::Internal("the last message is cut off");
  OnNoMessage();
  return true;
}

// Only who is waiting lets the peer go on.
void H2Call::GiveWindow() {
  if (!wanted_ || connection_ == nullptr || num_unconsumed_ == 0) return;
  connection_->Consume(id_, std::exchange(num_unconsumed_, 0));
}

}  // namespace conclave::mesh
