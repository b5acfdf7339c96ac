// One unary gRPC call with a callback and a handle; no retries. Used by the clients' .cc files.
#pragma once

#include <grpcpp/client_context.h>

#include <functional>
#include <memory>
#include <utility>

#include "mesh/call_core.h"
#include "mesh/channel.h"
#include "mesh/grpc_status.h"
#include "mesh/inference_client.h"

namespace conclave::mesh {

template <typename Request, typename Reply>
class UnaryCall final : public CallHandle {
 public:
  // Bound to the stub: (context, request, reply, done).
  using Method = std::function<void(grpc::ClientContext*, const Request*, Reply*,
                                    std::function<void(grpc::Status)>)>;

  // `done` is called exactly once, on a thread of gRPC's.
  static std::shared_ptr<CallHandle> Start(const Method& method, Request request,
                                           const CallOptions& options, ReplyCallback<Reply> done) {
    auto call = std::make_shared<UnaryCall>(std::move(request), std::move(done));
    call->context_.set_deadline(AsSystemTime(options.deadline));
    method(&call->context_, &call->request_, &call->reply_, [call](const grpc::Status& status) {
      ReplyCallback<Reply> callback = std::move(call->done_);
      if (status.ok()) {
        callback(std::move(call->reply_));
      } else {
        callback(FromGrpc(status, &call->context_));
      }
    });
    return call;
  }

  UnaryCall(Request request, ReplyCallback<Reply> done)
      : request_(std::move(request)), done_(std::move(done)) {}
  void Cancel() override { context_.TryCancel(); }

 private:
  grpc::ClientContext context_;
  Request request_;
  Reply reply_;
  ReplyCallback<Reply> done_;
};

}  // namespace conclave::mesh
