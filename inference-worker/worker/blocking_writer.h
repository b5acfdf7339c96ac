// A server stream for a thread that may wait: each Write blocks until the message is out, or the
// caller has gone.
#pragma once

#include <grpcpp/support/server_callback.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>

namespace conclave::worker {

// Holds itself from Start until gRPC is done with it.
template <typename Message>
class BlockingWriter final : public grpc::ServerWriteReactor<Message>,
                             public std::enable_shared_from_this<BlockingWriter<Message>> {
 public:
  void Start() { self_ = this->shared_from_this(); }

  // False once the caller has gone, or has not read for a minute.
  bool Write(const Message& message) {
    std::unique_lock lock(mutex_);
    if (cancelled_) return false;
    current_ = message;
    writing_ = true;
    lock.unlock();  // OnWriteDone may come on this very thread
    this->StartWrite(&current_);
    lock.lock();
    return written_.wait_for(lock, std::chrono::seconds(60), [&] { return !writing_; }) &&
           !cancelled_;
  }

 private:
  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok) cancelled_ = true;
    written_.notify_all();
  }
  void OnCancel() override {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
  }
  void OnDone() override { const std::shared_ptr<BlockingWriter> self = std::move(self_); }

  std::shared_ptr<BlockingWriter> self_;
  std::mutex mutex_;
  std::condition_variable written_;
  Message current_;
  bool writing_ = false;
  bool cancelled_ = false;
};

}  // namespace conclave::worker
