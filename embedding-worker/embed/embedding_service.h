// conclave.v1.Embedding over one model.
#pragma once

#include "base/gate.h"
#include "base/metrics.h"
#include "base/task_pool.h"
#include "conclave/v1/embedding.grpc.pb.h"
#include "embed/served_model.h"

namespace conclave::embed {

struct EmbedMetrics {
  base::Counter ok;
  base::Counter refused;
  base::Counter cancelled;
  base::Counter tokens;
  base::Histogram request_seconds;
};
EmbedMetrics MakeEmbedMetrics(base::Metrics* metrics, const std::string& model_name);

// Thread-safe. Destroy it after the server has stopped; all arguments outlive it.
class EmbeddingService final : public conclave::v1::Embedding::CallbackService {
 public:
  EmbeddingService(ServedModel* model, base::Gate* gate, const EmbedMetrics& metrics)
      : model_(model), gate_(gate), metrics_(metrics), pool_(2, 1'024) {}

  // NOT_FOUND (model_not_found); INVALID_ARGUMENT naming the input; RESOURCE_EXHAUSTED.
  grpc::ServerWriteReactor<conclave::v1::EmbedBatch>* Embed(
      grpc::CallbackServerContext* context, const conclave::v1::EmbedRequest* request) override;

 private:
  ServedModel* const model_;
  base::Gate* const gate_;
  const EmbedMetrics metrics_;
  base::TaskPool pool_;  // tokenises
};

}  // namespace conclave::embed
