// One answer that comes in pieces from outside, told to a sink that may be slow: what is not told
// yet waits here, and the source is paused meanwhile. Shared by the backends whose answers come
// from other servers and from child processes.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "backends/backend.h"

namespace conclave::backends {

// Owned by the thread of the source, except NoteResume. Nothing is told after the last event.
class PacedSink final {
 public:
  // `before_last` runs just before the sink hears the last event: whoever hears it may look at the
  // load, or take the backend away.
  PacedSink(std::shared_ptr<EventSink> sink, std::function<void(const Event&)> before_last)
      : sink_(std::move(sink)), before_last_(std::move(before_last)) {}

  // Tells the event, or keeps it while the reader pauses. False: the source should pause.
  bool Tell(Event event) {
    waiting_.push_back(std::move(event));
    return Flush();
  }
  // Any thread: a resume is coming, even if the sink is just about to ask for the pause.
  void NoteResume() { resumes_.fetch_add(1); }
  // The source's thread, after NoteResume. True: everything is told, the source may go on.
  bool GoOn() {
    paused_ = false;
    return Flush();
  }
  // Drops what waits: the request is cancelled.
  void Drop() {
    waiting_.clear();
    paused_ = false;
  }
  bool paused() const { return paused_; }
  bool done() const { return done_; }  // the last event was told

 private:
  bool Flush() {
    while (!paused_ && !done_ && !waiting_.empty()) {
      Event event = std::move(waiting_.front());
      waiting_.pop_front();
      const bool last =
          std::holds_alternative<Finished>(event) || std::holds_alternative<Failed>(event);
      done_ = last;
      if (last) before_last_(event);
      const uint64_t before = resumes_.load();
      const Flow flow = sink_->OnEvent(std::move(event));
      paused_ = !last && flow == Flow::kPause && resumes_.load() == before;
    }
    return !paused_;
  }

  const std::shared_ptr<EventSink> sink_;
  const std::function<void(const Event&)> before_last_;
  std::deque<Event> waiting_;
  std::atomic<uint64_t> resumes_{0};
  bool paused_ = false;
  bool done_ = false;
};

}  // namespace conclave::backends
