#include "mesh/client_queue.h"

#include <grpc/grpc.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/impl/call.h>
#include <grpcpp/impl/channel_interface.h>
#include <grpcpp/support/sync_stream.h>
#include <pthread.h>

#include <thread>
#include <utility>

namespace conclave::mesh {
namespace {

struct QueueChannelAccess;

}  // namespace
}  // namespace conclave::mesh

namespace grpc {

// What a channel does for stubs is private to gRPC's own call types, each of which is a friend as a
// template. One more of them, of a type that nobody else can name, forwards to the real channel.
template <>
class ClientReader<conclave::mesh::QueueChannelAccess> {
 public:
  static internal::Call CreateCall(ChannelInterface& channel, const internal::RpcMethod& method,
                                   ClientContext* context, CompletionQueue* queue) {
    return channel.CreateCall(method, context, queue);
  }
  static void PerformOpsOnCall(ChannelInterface& channel, internal::CallOpSetInterface* ops,
                               internal::Call* call) {
    channel.PerformOpsOnCall(ops, call);
  }
  static void* RegisterMethod(ChannelInterface& channel, const char* method) {
    return channel.RegisterMethod(method);
  }
  static void NotifyOnStateChange(ChannelInterface& channel, grpc_connectivity_state last,
                                  gpr_timespec deadline, CompletionQueue* queue, void* tag) {
    channel.NotifyOnStateChangeImpl(last, deadline, queue, tag);
  }
  static bool WaitForStateChange(ChannelInterface& channel, grpc_connectivity_state last,
                                 gpr_timespec deadline) {
    return channel.WaitForStateChangeImpl(last, deadline);
  }
};

}  // namespace grpc

namespace conclave::mesh {
namespace {

using Access = grpc::ClientReader<QueueChannelAccess>;

class ClientQueue final {
 public:
  static grpc::CompletionQueue* Get() {
    static ClientQueue* const queue = new ClientQueue();
    return &queue->queue_;
  }

 private:
  ClientQueue() {
    std::thread([this] {
      pthread_setname_np(pthread_self(), "mesh-client");
      Run();
    }).detach();
  }

  // A tag of the callback API is a functor, called here as gRPC's own threads do.
  void Run() {
    while (true) {
      const grpc_event event = grpc_completion_queue_next(
          queue_.cq(), gpr_inf_future(GPR_CLOCK_MONOTONIC), /*reserved=*/nullptr);
      if (event.type == GRPC_QUEUE_SHUTDOWN) return;
      if (event.type != GRPC_OP_COMPLETE) continue;
      auto* const functor = static_cast<grpc_completion_queue_functor*>(event.tag);
      functor->functor_run(functor, event.success);
    }
  }

  grpc::CompletionQueue queue_;
};

class QueueChannel final : public grpc::ChannelInterface {
 public:
  explicit QueueChannel(std::shared_ptr<grpc::ChannelInterface> channel)
      : channel_(std::move(channel)), queue_(ClientQueue::Get()) {}

  grpc_connectivity_state GetState(bool try_to_connect) override {
    return channel_->GetState(try_to_connect);
  }

 private:
  grpc::internal::Call CreateCall(const grpc::internal::RpcMethod& method,
                                  grpc::ClientContext* context,
                                  grpc::CompletionQueue* queue) override {
    return Access::CreateCall(*channel_, method, context, queue);
  }
  void PerformOpsOnCall(grpc::internal::CallOpSetInterface* ops,
                        grpc::internal::Call* call) override {
    Access::PerformOpsOnCall(*channel_, ops, call);
  }
  void* RegisterMethod(const char* method) override {
    return Access::RegisterMethod(*channel_, method);
  }
  void NotifyOnStateChangeImpl(grpc_connectivity_state last, gpr_timespec deadline,
                               grpc::CompletionQueue* queue, void* tag) override {
    Access::NotifyOnStateChange(*channel_, last, deadline, queue, tag);
  }
  bool WaitForStateChangeImpl(grpc_connectivity_state last, gpr_timespec deadline) override {
    return Access::WaitForStateChange(*channel_, last, deadline);
  }
  grpc::CompletionQueue* CallbackCQ() override { return queue_; }

  const std::shared_ptr<grpc::ChannelInterface> channel_;
  grpc::CompletionQueue* const queue_;
};

}  // namespace

std::shared_ptr<grpc::ChannelInterface> WithClientQueue(
    std::shared_ptr<grpc::ChannelInterface> channel) {
  return std::make_shared<QueueChannel>(std::move(channel));
}

}  // namespace conclave::mesh
