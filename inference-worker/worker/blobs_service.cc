#include "worker/blobs_service.h"

#include <algorithm>
#include <string>

#include "base/log.h"
#include "base/status.h"
#include "mesh/grpc_status.h"

namespace conclave::worker {
namespace {

namespace pb = conclave::v1;

// Calls come one after the other, from one replica of the store and from those that remove models.
constexpr size_t kQueueMax = 8;

std::string FileName(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// Whatever folder it lies in: a name is a digest, so one that is taken for ours is no harm.
bool IsMadeFrom(const ModelHost& host, const std::string& name) {
  const auto models = host.List();
  return std::any_of(models.begin(), models.end(),
                     [&](const auto& model) { return FileName(model->file.path) == name; });
}

BlobStore::Needs NeedsOf(const pb::CollectBlobsRequest& request, const ModelHost& host,
                         std::chrono::milliseconds unnamed_for) {
  BlobStore::Needs needs;
  for (const std::string& path : request.named()) needs.named.insert(FileName(path));
  for (const pb::DroppedBlob& blob : request.dropped()) {
    needs.dropped[FileName(blob.path())] =
        BlobStore::Time(std::chrono::milliseconds(blob.registered_unix_ms()));
  }
  needs.unnamed_for = unnamed_for;
  needs.in_use = [&host](const std::string& name) { return IsMadeFrom(host, name); };
  return needs;
}

}  // namespace

BlobsService::BlobsService(BlobStore* blobs, const ModelHost* host,
                           std::chrono::milliseconds unnamed_for)
    : blobs_(blobs), host_(host), unnamed_for_(unnamed_for), disk_(1, kQueueMax) {}

grpc::ServerUnaryReactor* BlobsService::CollectBlobs(grpc::CallbackServerContext* context,
                                                     const pb::CollectBlobsRequest* request,
                                                     pb::CollectBlobsReply* reply) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto refuse = [&](const absl::Status& status) {
    reactor->Finish(mesh::ToGrpc(status, context));
    return reactor;
  };
  if (blobs_ == nullptr) {
    return refuse(base::WithReason(base::FailedPrecondition("this worker has no --blob-dir"),
                                   "no_blob_folder"));
  }
  if (unnamed_for_.count() == 0) {
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  const bool posted = disk_.Post([this, reactor, request, reply] {
    const BlobStore::Needs needs = NeedsOf(*request, *host_, unnamed_for_);
    const BlobStore::Collected gone = blobs_->Collect(needs, std::chrono::system_clock::now());
    reply->set_removed(gone.files);
    reply->set_removed_bytes(gone.bytes);
    for (const pb::DroppedBlob& blob : request->dropped()) {
      if (needs.in_use(FileName(blob.path()))) reply->add_in_use(blob.path());
    }
    if (gone.files > 0) {
      base::LogInfo("model files that nothing names taken away",
                    {{"files", gone.files}, {"bytes", gone.bytes}});
    }
    reactor->Finish(grpc::Status::OK);
  });
  if (posted) return reactor;
  return refuse(base::WithReason(base::Unavailable("files are being taken away"), "busy"));
}

}  // namespace conclave::worker
