#include "mesh/inference_client.h"

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
  std::shared_ptr<CallCore> core;
  InferenceClientOptions options;
};

InferenceClient::InferenceClient(Discovery* discovery, const InferenceClientOptions& options,
                                 base::Metrics* metrics)
    : impl_(std::make_unique<Impl>(Impl{std::make_shared<CallCore>(discovery, metrics), options})) {
  impl_->core->Start();
}

InferenceClient::~InferenceClient() { impl_->core->Stop(); }

std::shared_ptr<GenerateCall> InferenceClient::Generate(
    pb::GenerateRequest request, const CallOptions& options,
    std::shared_ptr<GenerateObserver> observer) {
  auto session = std::make_shared<GenerateSession>(impl_->core, impl_->options, std::move(request),
                                                   options.deadline, std::move(observer));
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
