// Takes calls off gRPC's threads: handlers wait for the database, and those threads must not. A
// fixed number of threads works off a bounded queue; a call that finds it full is refused at once.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <functional>
#include <thread>
#include <utility>
#include <vector>

#include "base/bounded_queue.h"
#include "base/gate.h"
#include "base/status.h"
#include "mesh/grpc_status.h"

namespace conclave::store {

// Thread-safe. Stop the server before destroying it: calls in the queue are still answered.
class Dispatcher final {
 public:
  struct Options {
    int num_threads = 8;
    int queue_max = 512;
  };
  Dispatcher(const Options& options, base::Gate* gate);
  ~Dispatcher();
  Dispatcher(const Dispatcher&) = delete;
  Dispatcher& operator=(const Dispatcher&) = delete;

  // Runs `task` soon; false when the queue is full.
  bool Post(std::function<void()> task);

  // Answers one unary call: handler(request) → StatusOr<Reply>, on a thread of ours.
  template <typename Request, typename Reply, typename Handler>
  grpc::ServerUnaryReactor* Unary(grpc::CallbackServerContext* context, const Request* request,
                                  Reply* reply, Handler handler) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const bool posted = Post([this, context, request, reply, reactor, handler] {
      absl::StatusOr<Reply> result = Guarded<Reply>(*context, [&] { return handler(*request); });
      if (result.ok()) *reply = *std::move(result);
      reactor->Finish(mesh::ToGrpc(result.status(), context));
    });
    if (!posted) reactor->Finish(mesh::ToGrpc(BusyError(), context));
    return reactor;
  }

 private:
  static absl::Status BusyError();
  // Refuses while draining and when the caller has gone.
  absl::Status Admit(const grpc::CallbackServerContext& context,
                     std::optional<base::Gate::Pass>* pass);

  template <typename Reply, typename Call>
  absl::StatusOr<Reply> Guarded(const grpc::CallbackServerContext& context, Call call) {
    std::optional<base::Gate::Pass> pass;
    RETURN_IF_ERROR(Admit(context, &pass));
    return call();
  }

  void Work();

  base::Gate* const gate_;
  base::BoundedQueue<std::function<void()>> queue_;
  std::vector<std::jthread> threads_;
};

}  // namespace conclave::store
