// conclave.v1.ModelFiles over blob_store.h and puller.h.
#pragma once

#include <memory>

#include "base/task_pool.h"
#include "conclave/v1/model_files.grpc.pb.h"
#include "worker/blob_store.h"
#include "worker/puller.h"

namespace conclave::worker {

// Thread-safe. Destroy it after the server has stopped.
class FilesService final : public conclave::v1::ModelFiles::CallbackService {
 public:
  // Null: this worker takes no files.
  FilesService(BlobStore* blobs, Puller* puller);
  ~FilesService() override;

  grpc::ServerUnaryReactor* HasBlob(grpc::CallbackServerContext* context,
                                    const conclave::v1::HasBlobRequest* request,
                                    conclave::v1::HasBlobReply* reply) override;
  grpc::ServerReadReactor<conclave::v1::PutBlobRequest>* PutBlob(
      grpc::CallbackServerContext* context, conclave::v1::HasBlobReply* reply) override;
  grpc::ServerWriteReactor<conclave::v1::PullModelProgress>* PullModel(
      grpc::CallbackServerContext* context, const conclave::v1::PullModelRequest* request) override;

 private:
  class Upload;

  BlobStore* const blobs_;
  Puller* const puller_;
  base::TaskPool disk_;   // writes of uploads
  base::TaskPool pulls_;  // one thread for each pull at a time
};

}  // namespace conclave::worker
