// conclave.v1.Embedding over one model.
#pragma once

#include "base/gate.h"
#include "base/task_pool.h"
#include "conclave/v1/embedding.grpc.pb.h"
#include "embed/call.h"
#include "embed/model_slot.h"

namespace conclave::embed {

// Thread-safe. Destroy it after the server has stopped; all arguments outlive it.
class EmbeddingService final : public conclave::v1::Embedding::CallbackService {
 public:
  EmbeddingService(ModelSlot* slot, base::Gate* gate, const EmbedMetrics& metrics)
      : slot_(slot), gate_(gate), metrics_(metrics), pool_(2, 1'024) {}

  // NOT_FOUND (model_not_found); INVALID_ARGUMENT naming the input; RESOURCE_EXHAUSTED.
  grpc::ServerWriteReactor<conclave::v1::EmbedBatch>* Embed(
      grpc::CallbackServerContext* context, const conclave::v1::EmbedRequest* request) override;
  // The same for documents and the query.
  grpc::ServerUnaryReactor* Rerank(grpc::CallbackServerContext* context,
                                   const conclave::v1::RerankRequest* request,
                                   conclave::v1::RerankReply* reply) override;

 private:
  template <typename Call, typename Request>
  void Begin(const std::shared_ptr<Call>& call, const Request& request, bool open);

  ModelSlot* const slot_;
  base::Gate* const gate_;
  const EmbedMetrics metrics_;
  base::TaskPool pool_;  // has the model loaded, and tokenises
};

}  // namespace conclave::embed
