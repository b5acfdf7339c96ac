// A unary call on whichever worker serves the request's model, retried as RetryingCall does.
#pragma once

#include <functional>
#include <memory>
#include <utility>

#include "mesh/inference_client.h"
#include "mesh/retrying_call.h"
#include "mesh/worker_link.h"

namespace conclave::mesh {

template <typename Async, typename Request, typename Reply>
using UnaryMethod = void (Async::*)(grpc::ClientContext*, const Request*, Reply*,
                                    std::function<void(grpc::Status)>);

template <typename Async, typename Request, typename Reply>
class RetryingUnary final : public RetryingCall {
 public:
  using AsyncOf = Async* (*)(WorkerLink& link);

  RetryingUnary(std::shared_ptr<CallCore> core, Request request, int64_t tokens,
                const CallOptions& options, AsyncOf async,
                UnaryMethod<Async, Request, Reply> method, ReplyCallback<Reply> done)
      : RetryingCall(std::move(core), request.model(), tokens, options.deadline),
        request_(std::move(request)),
        async_(async),
        method_(method),
        done_(std::move(done)) {}

 private:
  void Begin(const WorkerInfo& worker, grpc::ClientContext* context) override {
    reply_.Clear();
    link_ = worker.link;
    auto self = std::static_pointer_cast<RetryingUnary>(shared_from_this());
    (async_(*link_)->*method_)(context, &request_, &reply_,
                               [self](const grpc::Status& status) { self->AttemptDone(status); });
  }
  void End(const absl::Status& status) override {
    ReplyCallback<Reply> done = std::move(done_);
    if (status.ok()) {
      done(std::move(reply_));
    } else {
      done(status);
    }
  }

  const Request request_;
  const AsyncOf async_;
  const UnaryMethod<Async, Request, Reply> method_;
  Reply reply_;
  ReplyCallback<Reply> done_;
  std::shared_ptr<WorkerLink> link_;
};

template <typename Async, typename Request, typename Reply>
std::shared_ptr<CallHandle> StartRetryingUnary(
    std::shared_ptr<CallCore> core, Request request, int64_t tokens, const CallOptions& options,
    typename RetryingUnary<Async, Request, Reply>::AsyncOf async,
    UnaryMethod<Async, Request, Reply> method, ReplyCallback<Reply> done) {
  auto call = std::make_shared<RetryingUnary<Async, Request, Reply>>(
      std::move(core), std::move(request), tokens, options, async, method, std::move(done));
  call->Start();
  return call;
}

}  // namespace conclave::mesh
