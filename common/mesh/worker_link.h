// The channel to one worker and the stubs over it, and the connections of its streams. Shared by the snapshot and by every call that
// runs over it: a worker that leaves the fleet keeps its link until its last stream has ended.
#pragma once

#include <grpcpp/impl/channel_interface.h>

#include <memory>

#include "conclave/v1/blobs.grpc.pb.h"
#include "conclave/v1/embedding.grpc.pb.h"
#include "conclave/v1/inference.grpc.pb.h"
#include "conclave/v1/model_files.grpc.pb.h"
#include "conclave/v1/models.grpc.pb.h"
#include "conclave/v1/slots.grpc.pb.h"

namespace conclave::mesh {

class H2Link;

class WorkerLink final {
 public:
  WorkerLink(std::shared_ptr<grpc::ChannelInterface> channel, std::shared_ptr<H2Link> streams)
      : channel_(std::move(channel)),
        streams_(std::move(streams)),
        inference_(conclave::v1::Inference::NewStub(channel_)),
        embedding_(conclave::v1::Embedding::NewStub(channel_)),
        worker_(conclave::v1::Worker::NewStub(channel_)),
        files_(conclave::v1::ModelFiles::NewStub(channel_)),
        blobs_(conclave::v1::Blobs::NewStub(channel_)),
        slots_(conclave::v1::Slots::NewStub(channel_)) {}

  conclave::v1::Inference::Stub& inference() { return *inference_; }
  conclave::v1::Embedding::Stub& embedding() { return *embedding_; }
  conclave::v1::Worker::Stub& worker() { return *worker_; }
  conclave::v1::ModelFiles::Stub& files() { return *files_; }
  conclave::v1::Blobs::Stub& blobs() { return *blobs_; }
  conclave::v1::Slots::Stub& slots() { return *slots_; }
  // For Inference.Generate.
  const std::shared_ptr<H2Link>& streams() const { return streams_; }

 private:
  std::shared_ptr<grpc::ChannelInterface> channel_;
  std::shared_ptr<H2Link> streams_;
  std::unique_ptr<conclave::v1::Inference::Stub> inference_;
  std::unique_ptr<conclave::v1::Embedding::Stub> embedding_;
  std::unique_ptr<conclave::v1::Worker::Stub> worker_;
  std::unique_ptr<conclave::v1::ModelFiles::Stub> files_;
  std::unique_ptr<conclave::v1::Blobs::Stub> blobs_;
  std::unique_ptr<conclave::v1::Slots::Stub> slots_;
};

}  // namespace conclave::mesh
