// conclave.v1.Blobs over blob_store.h: takes away model files that nobody names any more.
#pragma once

#include <chrono>

#include "base/task_pool.h"
#include "conclave/v1/blobs.grpc.pb.h"
#include "worker/blob_store.h"
#include "worker/model_host.h"

namespace conclave::worker {

// Thread-safe. Destroy it after the server has stopped.
class BlobsService final : public conclave::v1::Blobs::CallbackService {
 public:
  // `blobs` null: this worker takes no files. `unnamed_for` 0: what it takes stays.
  BlobsService(BlobStore* blobs, const ModelHost* host, std::chrono::milliseconds unnamed_for);

  grpc::ServerUnaryReactor* CollectBlobs(grpc::CallbackServerContext* context,
                                         const conclave::v1::CollectBlobsRequest* request,
                                         conclave::v1::CollectBlobsReply* reply) override;

 private:
  BlobStore* const blobs_;
  const ModelHost* const host_;
  const std::chrono::milliseconds unnamed_for_;
  base::TaskPool disk_;  // taking a large file away takes a while
};

}  // namespace conclave::worker
