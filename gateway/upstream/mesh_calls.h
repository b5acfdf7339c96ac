// From the callbacks of common/mesh to streams, for clients.cc and model_directory.cc.
#pragma once

#include <memory>
#include <mutex>
#include <utility>

#include "gateway/upstream/services.h"
#include "mesh/channel.h"

namespace conclave::gateway {

// Makes the handle of a call known to the stream's side after the call was started: a cancel that
// came first is done then.
template <typename Handle>
class HandleSlot final {
 public:
  void Set(std::shared_ptr<Handle> handle) {
    bool cancelled = false;
    {
      const std::lock_guard lock(mutex_);
      handle_ = handle;
      cancelled = cancelled_;
    }
    if (cancelled) handle->Cancel();
  }
  void Cancel() {
    std::shared_ptr<Handle> handle;
    {
      const std::lock_guard lock(mutex_);
      cancelled_ = true;
      handle = handle_;
    }
    if (handle) handle->Cancel();
  }
  std::shared_ptr<Handle> get() {
    const std::lock_guard lock(mutex_);
    return handle_;
  }

 private:
  std::mutex mutex_;
  std::shared_ptr<Handle> handle_;
  bool cancelled_ = false;
};

// Observer of a streamed call: pushes each event and asks for the next while there is room.
template <typename Base, typename Event, typename Handle>
class Relay final : public Base {
 public:
  explicit Relay(std::shared_ptr<typename EventStream<Event>::Feed> feed)
      : feed_(std::move(feed)), slot_(std::make_shared<HandleSlot<Handle>>()) {}

  void OnEvent(Event& event) override {
    const size_t bytes = event.ByteSizeLong();
    if (feed_->Push(std::move(event), bytes)) ReadNext();
  }
  void OnDone(const absl::Status& status) override { feed_->Finish(status); }

  void ReadNext() {
    if (const auto handle = slot_->get()) handle->ReadNext();
  }
  const std::shared_ptr<HandleSlot<Handle>>& slot() const { return slot_; }

 private:
  const std::shared_ptr<typename EventStream<Event>::Feed> feed_;
  const std::shared_ptr<HandleSlot<Handle>> slot_;
};

// start(observer) begins the call and gives its handle.
template <typename RelayType, typename Event, typename Start>
Call<Event> Streamed(Start start) {
  auto feed = std::make_shared<typename EventStream<Event>::Feed>();
  auto relay = std::make_shared<RelayType>(feed);
  auto stream = std::make_unique<EventStream<Event>>(
      feed, [relay] { relay->ReadNext(); }, [slot = relay->slot()] { slot->Cancel(); });
  relay->slot()->Set(start(relay));
  relay->ReadNext();
  return stream;
}

// start(done) begins a call with one reply.
template <typename Reply, typename Start>
Call<Reply> Unary(Start start) {
  auto feed = std::make_shared<typename EventStream<Reply>::Feed>();
  auto slot = std::make_shared<HandleSlot<mesh::CallHandle>>();
  auto stream = std::make_unique<EventStream<Reply>>(
      feed, [] {}, [slot] { slot->Cancel(); });
  slot->Set(start([feed](absl::StatusOr<Reply> reply) {
    if (reply.ok()) feed->Push(*std::move(reply), 0);
    feed->Finish(reply.status());
  }));
  return stream;
}

}  // namespace conclave::gateway
