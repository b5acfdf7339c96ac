#include "base/event_loops.h"

#include <pthread.h>

#include <algorithm>

namespace conclave::base {
namespace {

thread_local EventLoop* current = nullptr;

}  // namespace

EventLoop* EventLoop::Current() { return current; }

void EventLoop::RunHere() {
  current = this;
  io_.run();
  current = nullptr;
}

EventLoops::EventLoops(int count, std::string name) {
  for (int i = 0; i < std::max(count, 1); ++i) loops_.push_back(std::make_shared<EventLoop>());
  for (const std::shared_ptr<EventLoop>& loop : loops_) {
    threads_.emplace_back([loop, name] {
      pthread_setname_np(pthread_self(), name.c_str());
      loop->RunHere();
    });
  }
}

EventLoops::~EventLoops() { Stop(); }

void EventLoops::Stop() {
  if (threads_.empty()) return;
  for (const std::shared_ptr<EventLoop>& loop : loops_) loop->io().stop();
  threads_.clear();
  for (const std::shared_ptr<EventLoop>& loop : loops_) loop->io_.Drop();
}

}  // namespace conclave::base
