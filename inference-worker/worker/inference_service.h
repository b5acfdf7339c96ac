// conclave.v1.Inference over the models of a ModelHost.
#pragma once

#include <memory>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "base/gate.h"
#include "base/task_pool.h"
#include "conclave/v1/inference.grpc.pb.h"
#include "worker/generate_stream.h"

namespace conclave::worker {

// Thread-safe. Destroy it after the server has stopped.
class InferenceService final : public conclave::v1::Inference::CallbackService {
 public:
  // `gate` refuses when the server drains. All outlive the service.
  InferenceService(ModelHost* host, WorkerMetrics* metrics, base::Gate* gate,
                   WorkerIdentity identity, const StreamOptions& options = {});
  ~InferenceService() override;

  grpc::ServerWriteReactor<conclave::v1::GenerateEvent>* Generate(
      grpc::CallbackServerContext* context, const conclave::v1::GenerateRequest* request) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const conclave::v1::TokenizeRequest* request,
                                     conclave::v1::TokenizeReply* reply) override;
  grpc::ServerUnaryReactor* Detokenize(grpc::CallbackServerContext* context,
                                       const conclave::v1::DetokenizeRequest* request,
                                       conclave::v1::DetokenizeReply* reply) override;
  grpc::ServerUnaryReactor* Predict(grpc::CallbackServerContext* context,
                                    const conclave::v1::PredictRequest* request,
                                    conclave::v1::PredictReply* reply) override;

 private:
  // `work` runs on the pool, with the model in memory.
  grpc::ServerUnaryReactor* RunUnary(grpc::CallbackServerContext* context,
                                     const conclave::v1::RequestMeta& meta,
                                     const std::string& model,
                                     std::function<absl::Status(backends::Backend&)> work);
  void BeatLoop(const std::stop_token& stop);

  StreamContext shared_;
  ModelHost* const host_;
  base::Gate* const gate_;
  std::mutex mutex_;
  std::unordered_map<GenerateStream*, std::weak_ptr<GenerateStream>> live_;
  StreamWriter writer_;
  base::TaskPool pool_;  // its last tasks may still post to the writer
  std::jthread beater_;
};

}  // namespace conclave::worker
