// Threads that run one Asio loop each. What is posted to a loop runs on its one thread, so that
// whatever lives there needs no locks: the gateway's connections, and the streams they wait for.
#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace conclave::base {

// Held by what has sockets and timers on it, as they must not outlive it.
class EventLoop final : public std::enable_shared_from_this<EventLoop> {
 public:
  boost::asio::io_context& io() { return io_; }
  boost::asio::io_context::executor_type executor() { return io_.get_executor(); }

  // The loop that the calling thread runs; null on other threads.
  static EventLoop* Current();
  bool runs_here() const { return Current() == this; }

 private:
  friend class EventLoops;
  struct Io : boost::asio::io_context {
    Io() : io_context(1) {}
    void Drop() { shutdown(); }  // destroys what still waits
  };

  void RunHere();

  Io io_;
  const boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{executor()};
};

class EventLoops final {
 public:
  // `count` at least 1; `name` is that of the threads, at most 15 bytes.
  EventLoops(int count, std::string name);
  ~EventLoops();  // stops
  EventLoops(const EventLoops&) = delete;
  EventLoops& operator=(const EventLoops&) = delete;

  size_t size() const { return loops_.size(); }
  const std::shared_ptr<EventLoop>& at(size_t i) const { return loops_[i]; }

  // Joins the threads and destroys what was still to run. Idempotent; not from a loop's thread.
  void Stop();

 private:
  std::vector<std::shared_ptr<EventLoop>> loops_;
  std::vector<std::jthread> threads_;
};

}  // namespace conclave::base
