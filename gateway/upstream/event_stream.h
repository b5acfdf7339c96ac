// A server-streamed answer as a coroutine sees it: whatever has arrived since the last look, or a
// wait with a deadline. Fed from other threads; bounded, because the feeder is asked for the next
// event only while less than the limit is waiting.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/event_loops.h"
#include "base/status.h"
#include "gateway/http/task.h"

namespace conclave::gateway {

enum class StreamGot { kEvents, kTimeout, kEnd };

template <typename Event>
class EventStream final {
 public:
  // The side of the feeder. Shared with the callbacks that bring events; thread-safe.
  class Feed final {
   public:
    static constexpr size_t kBytesMax = 256 * 1024;

    // False: enough is waiting; `more` will be called when there is room again.
    bool Push(Event event, size_t bytes) {
      const std::lock_guard lock(mutex_);
      bytes_ += bytes;
      events_.push_back(std::move(event));
      starved_ = bytes_ >= kBytesMax;
      Wake();
      return !starved_;
    }
    // Once, last.
    void Finish(absl::Status status) {
      const std::lock_guard lock(mutex_);
      if (status_) return;
      status_ = std::move(status);
      Wake();
    }

   private:
    friend class EventStream;

    // All under the lock, which the stream's end takes as well: whoever brings events has let go of
    // the timer and its executor before the reader's context can be gone. On the reader's own loop
    // the timer is cancelled at once; the reader runs later, and finds all that came until then.
    void Wake() {
      if (!waiting_) return;
      if (loop_ != nullptr && loop_->runs_here()) {
        std::exchange(waiting_, nullptr)->cancel();
        return;
      }
      const boost::asio::any_io_executor executor = waiting_->get_executor();
      boost::asio::post(executor, [timer = std::exchange(waiting_, nullptr)] { timer->cancel(); });
    }

    std::mutex mutex_;
    std::vector<Event> events_;
    size_t bytes_ = 0;
    bool starved_ = false;  // the feeder stopped and wants `more`
    std::optional<absl::Status> status_;
    std::shared_ptr<boost::asio::steady_timer> waiting_;
    base::EventLoop* loop_ = nullptr;  // the reader's; null where it has none
  };

  // `more` asks the feeder for further events; `cancel` ends the call, which still Finishes. Both
  // are thread-safe and may come at any time.
  EventStream(std::shared_ptr<Feed> feed, std::function<void()> more, std::function<void()> cancel)
      : feed_(std::move(feed)), more_(std::move(more)), cancel_(std::move(cancel)) {}
  EventStream(const EventStream&) = delete;
  EventStream& operator=(const EventStream&) = delete;
  ~EventStream() {
    if (!ended_) cancel_();
    const std::lock_guard lock(feed_->mutex_);
    feed_->waiting_ = nullptr;
  }

  // Moves what is waiting to the end of `out`. Waits until `until` when there is nothing.
  Task<StreamGot> Next(std::vector<Event>* out, base::SteadyTime until) {
    const boost::asio::any_io_executor executor = co_await boost::asio::this_coro::executor;
    if (!timer_) timer_ = std::make_shared<boost::asio::steady_timer>(executor);
    while (true) {
      const std::optional<StreamGot> got = Take(out);
      if (got) co_return *got;
      if (std::chrono::steady_clock::now() >= until) {
        const std::lock_guard lock(feed_->mutex_);
        feed_->waiting_ = nullptr;
        co_return StreamGot::kTimeout;
      }
      timer_->expires_at(until);
      co_await timer_->async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
    }
  }

  // After kEnd.
  const absl::Status& status() const { return *feed_->status_; }
  void Cancel() { cancel_(); }

 private:
  // Nothing, and registered to be woken, when there is nothing to take.
  std::optional<StreamGot> Take(std::vector<Event>* out) {
    bool starved = false;
    {
      const std::lock_guard lock(feed_->mutex_);
      if (feed_->events_.empty()) {
        ended_ = feed_->status_.has_value();
        if (ended_) return StreamGot::kEnd;
        feed_->waiting_ = timer_;
        feed_->loop_ = base::EventLoop::Current();
        return std::nullopt;
      }
      if (out->empty()) {
        out->swap(feed_->events_);
      } else {
        for (Event& event : feed_->events_) out->push_back(std::move(event));
        feed_->events_.clear();
      }
      feed_->bytes_ = 0;
      starved = std::exchange(feed_->starved_, false);
    }
    if (starved) more_();
    return StreamGot::kEvents;
  }

  const std::shared_ptr<Feed> feed_;
  const std::function<void()> more_;
  const std::function<void()> cancel_;
  std::shared_ptr<boost::asio::steady_timer> timer_;
  bool ended_ = false;
};

}  // namespace conclave::gateway
