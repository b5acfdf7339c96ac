// Calls to the embedding workers: one request, one answer with all vectors, retried as in
// inference_client.h (nothing of the answer is shown before all of it is there, so every failure
// may be retried).
#pragma once

#include <memory>
#include <vector>

#include "conclave/v1/embedding.pb.h"
#include "mesh/inference_client.h"

namespace conclave::mesh {

struct EmbedResult {
  std::vector<conclave::v1::EmbeddingVector> vectors;  // in the order of the inputs
  conclave::v1::Usage usage;
  conclave::v1::Timings timings;
};

// Thread-safe.
class EmbeddingClient final {
 public:
  // `discovery` of the embedding workers; must outlive the client.
  EmbeddingClient(Discovery* discovery, base::Metrics* metrics = nullptr);
  ~EmbeddingClient();
  EmbeddingClient(const EmbeddingClient&) = delete;
  EmbeddingClient& operator=(const EmbeddingClient&) = delete;

  // Exactly one callback, on a thread of gRPC's. INTERNAL when the worker's answer does not have
  // one vector per input.
  std::shared_ptr<CallHandle> Embed(conclave::v1::EmbedRequest request, const CallOptions& options,
                                    ReplyCallback<EmbedResult> done);
  // The scores in the order of the documents, with the same retries.
  std::shared_ptr<CallHandle> Rerank(conclave::v1::RerankRequest request,
                                     const CallOptions& options,
                                     ReplyCallback<conclave::v1::RerankReply> done);
  // Embed, waiting.
  absl::StatusOr<EmbedResult> EmbedAndWait(conclave::v1::EmbedRequest request,
                                           const CallOptions& options);

  Discovery& discovery();

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace conclave::mesh
