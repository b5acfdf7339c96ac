#include "mesh/inference_client.h"

#include <mutex>
#include <optional>

#include "base/event_loops.h"
#include "mesh/generate_session.h"
#include "mesh/retrying_unary.h"

namespace conclave::mesh {
namespace {

namespace pb = conclave::v1;

using Async = class pb::Inference::Stub::async;

template <typename Request, typename Reply>
std::shared_ptr<CallHandle> StartUnary(std::shared_ptr<CallCore> core, Request request,
                                       const CallOptions& options,
                                       UnaryMethod<Async, Request, Reply> method,
                                       ReplyCallback<Reply> done) {
  return StartRetryingUnary<Async, Request, Reply>(
      std::move(core), std::move(request), 0, options,
      [](WorkerLink& link) { return link.inference().async(); }, method, std::move(done));
}

}  // namespace

struct InferenceClient::Impl {
  Impl(Discovery* discovery, const InferenceClientOptions& its_options, base::Metrics* metrics)
      : core(std::make_shared<CallCore>(discovery, metrics)), options(its_options) {
    core->Start();
  }

  const std::shared_ptr<base::EventLoop>& OwnLoop() {
    std::call_once(own_once, [this] { own.emplace(1, "mesh-streams"); });
    return own->at(0);
  }

  const std::shared_ptr<CallCore> core;
  const InferenceClientOptions options;
  std::once_flag own_once;
  std::optional<base::EventLoops> own;  // for callers without a loop
};

InferenceClient::InferenceClient(Discovery* discovery, const InferenceClientOptions& options,
                                 base::Metrics* metrics)
    : impl_(std::make_unique<Impl>(discovery, options, metrics)) {}

InferenceClient::~InferenceClient() { Stop(); }

void InferenceClient::Stop() { impl_->core->Stop(); }

std::shared_ptr<GenerateCall> InferenceClient::Generate(
    pb::GenerateRequest request, const CallOptions& options,
    std::shared_ptr<GenerateObserver> observer) {
  base::EventLoop* const here = base::EventLoop::Current();
  auto session = std::make_shared<GenerateSession>(
      impl_->core, impl_->options, here != nullptr ? here->shared_from_this() : impl_->OwnLoop(),
      std::move(request), options.deadline, std::move(observer));
  session->Start();
  return session;
}

std::shared_ptr<CallHandle> InferenceClient::Tokenize(pb::TokenizeRequest request,
                                                      const CallOptions& options,
                                                      ReplyCallback<pb::TokenizeReply> done) {
  return StartUnary<pb::TokenizeRequest, pb::TokenizeReply>(
      impl_->core, std::move(request), options, &pb::Inference::Stub::async::Tokenize,
      std::move(done));
}

std::shared_ptr<CallHandle> InferenceClient::Detokenize(pb::DetokenizeRequest request,
                                                        const CallOptions& options,
                                                        ReplyCallback<pb::DetokenizeReply> done) {
  return StartUnary<pb::DetokenizeRequest, pb::DetokenizeReply>(
      impl_->core, std::move(request), options, &pb::Inference::Stub::async::Detokenize,
      std::move(done));
}

std::shared_ptr<CallHandle> InferenceClient::Predict(pb::PredictRequest request,
                                                     const CallOptions& options,
                                                     ReplyCallback<pb::PredictReply> done) {
  return StartUnary<pb::PredictRequest, pb::PredictReply>(impl_->core, std::move(request), options,
                                                          &pb::Inference::Stub::async::Predict,
                                                          std::move(done));
}

Discovery& InferenceClient::discovery() { return impl_->core->discovery(); }

}  // namespace conclave::mesh
