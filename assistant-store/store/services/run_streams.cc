#include "store/services/run_streams.h"

#include <pthread.h>

#include <deque>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "mesh/grpc_status.h"
#include "store/rows.h"

namespace conclave::store {
namespace {

namespace pb = conclave::v1;

constexpr int kEventsPerRead = 128;

}  // namespace

// One listener. At any time it is either idle, being read for (on a dispatcher thread), or writing
// (in gRPC's hands); `state_` says which, so that only one of them touches the events.
class RunStreams::Stream final : public grpc::ServerWriteReactor<pb::RunEvent>,
                                 public std::enable_shared_from_this<Stream> {
 public:
  Stream(RunStreams& owner, grpc::CallbackServerContext* context,
         const pb::StreamRunRequest& request)
      : owner_(owner),
        context_(context),
        tenant_(TenantOf(request.meta())),
        thread_id_(request.thread_id()),
        run_id_(request.run_id()),
        reached_(request.after_seq()) {}

  const std::string& run_id() const { return run_id_; }

  // There may be more to tell. Reads now, or as soon as what was read is written.
  void Wake() {
    {
      const std::lock_guard lock(mutex_);
      news_ = true;
      if (state_ != State::kIdle) return;
      state_ = State::kReading;
      news_ = false;
    }
    PostRead();
  }

  // Wakes those that nobody has woken for a while. A run that another replica executes is heard of
  // here by polling alone, so a listener that got news by a poll is polled more often.
  void Poll(base::SteadyTime now) {
    {
      const std::lock_guard lock(mutex_);
      const auto pause = elsewhere_ ? owner_.options_.poll_elsewhere : owner_.options_.poll_every;
      if (state_ != State::kIdle || now - last_read_ < pause) return;
      polled_ = true;
    }
    Wake();
  }

  void Refuse(const absl::Status& status) {
    {
      const std::lock_guard lock(mutex_);
      state_ = State::kFinished;
    }
    Finish(mesh::ToGrpc(status, context_));
  }

  void OnWriteDone(bool ok) override {
    {
      const std::lock_guard lock(mutex_);
      if (!events_.empty()) events_.pop_front();
      if (!ok) cancelled_ = true;
    }
    Continue();
  }

  void OnCancel() override {
    {
      const std::lock_guard lock(mutex_);
      cancelled_ = true;
      if (state_ != State::kIdle) return;  // whoever works on it will see
      state_ = State::kFinished;
    }
    Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the listener has gone"));
  }

  void OnDone() override { owner_.Forget(this); }

 private:
  enum class State { kIdle, kReading, kWriting, kFinished };

  void PostRead() {
    if (owner_.dispatcher_.Post([self = shared_from_this()] { self->Read(); })) return;
    // Busy: the next tick tries again.
    bool finish = false;
    {
      const std::lock_guard lock(mutex_);
      state_ = cancelled_ ? State::kFinished : State::kIdle;
      finish = cancelled_;
    }
    if (finish) Finish(grpc::Status::CANCELLED);
  }

  void Read() {
    absl::StatusOr<RunEvents> read =
        owner_.runs_.ReadEvents(tenant_, thread_id_, run_id_, reached_, kEventsPerRead);
    const base::SteadyTime now = std::chrono::steady_clock::now();
    absl::Status error;
    {
      const std::lock_guard lock(mutex_);
      last_read_ = now;
      if (read.ok()) {
        away_since_.reset();
        established_ = true;
        for (pb::RunEvent& event : read->events) {
          reached_ = event.seq();
          events_.push_back(std::move(event));
        }
        at_end_ = read->at_end;
        if (!read->events.empty()) elsewhere_ = polled_;
        polled_ = false;
        if (events_.size() >= kEventsPerRead) news_ = true;
      } else if (!Tolerable(read.status(), now)) {
        error = read.status();
      }
    }
    if (!error.ok()) {
      Refuse(error);
      return;
    }
    Continue();
  }

  // An established listener outlives a database that is away for a while.
  bool Tolerable(const absl::Status& status, base::SteadyTime now) {
    const bool passing = status.code() == absl::StatusCode::kUnavailable ||
                         status.code() == absl::StatusCode::kDeadlineExceeded ||
                         status.code() == absl::StatusCode::kAborted;
    if (!passing || !established_) return false;
    if (!away_since_) away_since_ = now;
    return now - *away_since_ < owner_.options_.outage_max;
  }

  // Writes the next event, reads again, rests, or ends.
  void Continue() {
    const pb::RunEvent* next = nullptr;
    std::optional<grpc::Status> end;
    bool read = false;
    {
      const std::lock_guard lock(mutex_);
      if (cancelled_) {
        state_ = State::kFinished;
        end = grpc::Status::CANCELLED;
      } else if (!events_.empty()) {
        state_ = State::kWriting;
        next = &events_.front();
      } else if (at_end_) {
        state_ = State::kFinished;
        end = grpc::Status::OK;
      } else if (news_) {
        state_ = State::kReading;
        news_ = false;
        read = true;
      } else {
        state_ = State::kIdle;
      }
    }
    if (end) {
      Finish(*end);
    } else if (next != nullptr) {
      StartWrite(next);
    } else if (read) {
      PostRead();
    }
  }

  RunStreams& owner_;
  grpc::CallbackServerContext* const context_;
  const std::string tenant_;
  const std::string thread_id_;
  const std::string run_id_;

  std::mutex mutex_;
  State state_ = State::kIdle;
  bool news_ = false;
  bool cancelled_ = false;
  bool established_ = false;
  bool at_end_ = false;
  bool polled_ = false;     // the read under way was nobody's signal
  bool elsewhere_ = false;  // the last news came by a poll
  int64_t reached_;
  std::deque<pb::RunEvent> events_;  // the first is being written
  base::SteadyTime last_read_{};
  std::optional<base::SteadyTime> away_since_;
};

RunStreams::RunStreams(Runs& runs, Dispatcher& dispatcher, RunSignals& signals,
                       const Options& options)
    : runs_(runs), dispatcher_(dispatcher), options_(options), ticker_([this] { Tick(); }) {
  signals.OnTold([this](const std::string& run_id) { Wake(run_id); });
}

RunStreams::~RunStreams() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  stopping_.notify_all();
}

grpc::ServerWriteReactor<pb::RunEvent>* RunStreams::Open(grpc::CallbackServerContext* context,
                                                         const pb::StreamRunRequest& request) {
  auto stream = std::make_shared<Stream>(*this, context, request);
  bool full = false;
  {
    const std::lock_guard lock(mutex_);
    full = streams_.size() >= static_cast<size_t>(options_.streams_max);
    streams_.emplace(request.run_id(), stream);  // kept until OnDone, refused or not
  }
  if (full) {
    stream->Refuse(base::ResourceExhausted("too many listeners"));
  } else if (request.after_seq() < 0) {
    stream->Refuse(base::InvalidArgument("after_seq: expected a number >= 0"));
  } else {
    stream->Wake();
  }
  return stream.get();
}

void RunStreams::Wake(const std::string& run_id) {
  std::vector<std::shared_ptr<Stream>> listeners;
  {
    const std::lock_guard lock(mutex_);
    const auto [first, last] = streams_.equal_range(run_id);
    for (auto it = first; it != last; ++it) listeners.push_back(it->second);
  }
  for (const auto& listener : listeners) listener->Wake();
}

void RunStreams::Forget(Stream* stream) {
  std::shared_ptr<Stream> last;  // may destroy the stream, outside the lock
  const std::lock_guard lock(mutex_);
  const auto [first, end] = streams_.equal_range(stream->run_id());
  for (auto it = first; it != end; ++it) {
    if (it->second.get() != stream) continue;
    last = std::move(it->second);
    streams_.erase(it);
    return;
  }
}

void RunStreams::Tick() {
  pthread_setname_np(pthread_self(), "run-streams");
  std::unique_lock lock(mutex_);
  while (!stopping_.wait_for(lock, options_.poll_elsewhere / 2, [this] { return stop_; })) {
    std::vector<std::shared_ptr<Stream>> listeners;
    for (const auto& [id, stream] : streams_) listeners.push_back(stream);
    lock.unlock();
    const base::SteadyTime now = std::chrono::steady_clock::now();
    for (const auto& listener : listeners) listener->Poll(now);
    listeners.clear();
    lock.lock();
  }
}

}  // namespace conclave::store
