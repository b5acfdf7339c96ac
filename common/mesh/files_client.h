// The model files of one worker: is a blob there, bring one, have a model pulled. The caller
// chooses the worker (by worker_id, as the snapshot names it).
#pragma once

#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "conclave/v1/blobs.pb.h"
#include "conclave/v1/model_files.pb.h"
#include "mesh/channel.h"
#include "mesh/inference_client.h"

namespace conclave::mesh {

// One blob on its way to one worker.
class BlobSender : public CallHandle {
 public:
  // One at a time: the next after `OnSent`. Not after Close.
  virtual void Send(conclave::v1::PutBlobRequest piece) = 0;
  // No more pieces; the end comes with the worker's answer.
  virtual void Close() = 0;
};

class BlobObserver {
 public:
  virtual ~BlobObserver() = default;
  virtual void OnSent() = 0;  // the piece has left
  // Exactly once, last; also when the worker has heard enough.
  virtual void OnDone(absl::StatusOr<conclave::v1::HasBlobReply> reply) = 0;
};

class PullObserver {
 public:
  virtual ~PullObserver() = default;
  virtual void OnEvent(conclave::v1::PullModelProgress& progress) = 0;
  virtual void OnDone(const absl::Status& status) = 0;
};

class PullStream : public CallHandle {
 public:
  // Asks for one event; may be called from OnEvent.
  virtual void ReadNext() = 0;
};

// Thread-safe. Callbacks come on threads of gRPC's and must not block. UNAVAILABLE (no_worker) when
// the worker is not there any more.
class FilesClient final {
 public:
  explicit FilesClient(Discovery* discovery) : discovery_(discovery) {}  // must outlive the client

  std::shared_ptr<CallHandle> HasBlob(const std::string& worker_id,
                                      conclave::v1::HasBlobRequest request,
                                      const CallOptions& options,
                                      ReplyCallback<conclave::v1::HasBlobReply> done);
  std::shared_ptr<CallHandle> CollectBlobs(const std::string& worker_id,
                                           conclave::v1::CollectBlobsRequest request,
                                           const CallOptions& options,
                                           ReplyCallback<conclave::v1::CollectBlobsReply> done);
  absl::StatusOr<std::shared_ptr<BlobSender>> PutBlob(const std::string& worker_id,
                                                      const CallOptions& options,
                                                      std::shared_ptr<BlobObserver> observer);
  absl::StatusOr<std::shared_ptr<PullStream>> PullModel(const std::string& worker_id,
                                                        conclave::v1::PullModelRequest request,
                                                        const CallOptions& options,
                                                        std::shared_ptr<PullObserver> observer);

 private:
  Discovery* const discovery_;
};

}  // namespace conclave::mesh
