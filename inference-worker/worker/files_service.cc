#include "worker/files_service.h"

#include <utility>

#include "base/log.h"
#include "base/status.h"
#include "mesh/grpc_status.h"
#include "worker/blocking_writer.h"

namespace conclave::worker {
namespace {

namespace pb = conclave::v1;

constexpr int kDiskThreads = 2;
constexpr size_t kDiskQueueMax = 64;
constexpr int kPullThreads = 2;
constexpr size_t kPullQueueMax = 8;
constexpr size_t kPieceBytesMax = 1 << 20;

absl::Status NoFolder() {
  return base::WithReason(
      base::FailedPrecondition("this server takes no model files: its workers have no --blob-dir"),
      "no_blob_folder");
}

absl::Status Busy() {
  return base::WithRetryAfter(
      base::WithReason(base::Unavailable("other model files are being written"), "busy"),
      std::chrono::seconds(5));
}

void Fill(const std::string& digest, int64_t size, pb::HasBlobReply* reply) {
  reply->set_size(size);
  reply->set_path(BlobName(digest));
}

void Fill(const Pulled& pulled, pb::PulledModel* to) {
  to->set_digest(pulled.digest);
  to->set_path(BlobName(pulled.digest));
  if (pulled.system) to->mutable_derived()->set_system(*pulled.system);
  if (!pulled.chat_template.empty()) to->mutable_derived()->set_template_(pulled.chat_template);
  if (!pulled.parameters.empty()) to->mutable_derived()->set_parameters_json(pulled.parameters);
  if (!pulled.license.empty()) to->mutable_derived()->set_license(pulled.license);
  for (const auto& [role, text] : pulled.messages) {
    pb::ChatMessage* message = to->mutable_derived()->add_messages();
    message->set_role(role == "system"      ? pb::ROLE_SYSTEM
                      : role == "assistant" ? pb::ROLE_ASSISTANT
                                            : pb::ROLE_USER);
    message->add_content()->set_text(text);
  }
}

}  // namespace

// One PutBlob: a message is read, written to disk on a thread of ours, and then the next is read.
class FilesService::Upload final : public grpc::ServerReadReactor<pb::PutBlobRequest>,
                                   public std::enable_shared_from_this<Upload> {
 public:
  Upload(FilesService* service, grpc::CallbackServerContext* context, pb::HasBlobReply* reply)
      : service_(service), context_(context), reply_(reply) {}

  void Start() {
    self_ = shared_from_this();
    StartRead(&message_);
  }
  void Refuse(const absl::Status& status) {
    self_ = shared_from_this();
    End(status);
  }

 private:
  void OnReadDone(bool ok) override {
    const bool posted = service_->disk_.Post([self = shared_from_this(), ok] {
      if (ok) {
        self->Take();
      } else {
        self->Close();
      }
    });
    if (!posted) End(Busy());
  }
  void OnDone() override { const std::shared_ptr<Upload> self = std::move(self_); }

  void Take() {
    if (absl::Status status = Append(); !status.ok()) return End(status);
    StartRead(&message_);
  }

  absl::Status Append() {
    if (message_.data().size() > kPieceBytesMax) {
      return base::InvalidArgument("data: at most 1 MiB in one message");
    }
    if (writer_ == nullptr) {
      ASSIGN_OR_RETURN(writer_, service_->blobs_->Begin(message_.digest()));
      digest_ = message_.digest();
      if (digest_.empty()) return base::InvalidArgument("digest: required");
    }
    return writer_->Append(message_.data());
  }

  void Close() {
    if (context_->IsCancelled()) return End(absl::CancelledError("the caller has gone"));
    if (writer_ == nullptr) return End(base::InvalidArgument("digest: required"));
    const absl::StatusOr<std::string> digest = writer_->Commit();
    if (digest.ok()) {
      Fill(digest_, writer_->size(), reply_);
      base::LogInfo("model file taken", {{"digest", digest_}, {"bytes", writer_->size()}});
    }
    End(digest.status());
  }

  void End(const absl::Status& status) {
    writer_.reset();
    Finish(mesh::ToGrpc(status, context_));
  }

  FilesService* const service_;
  grpc::CallbackServerContext* const context_;
  pb::HasBlobReply* const reply_;
  std::shared_ptr<Upload> self_;  // until gRPC is done with us
  pb::PutBlobRequest message_;
  std::string digest_;
  std::unique_ptr<BlobStore::Writer> writer_;
};

FilesService::FilesService(BlobStore* blobs, Puller* puller)
    : blobs_(blobs),
      puller_(puller),
      disk_(kDiskThreads, kDiskQueueMax),
      pulls_(kPullThreads, kPullQueueMax) {}

FilesService::~FilesService() = default;

grpc::ServerUnaryReactor* FilesService::HasBlob(grpc::CallbackServerContext* context,
                                                const pb::HasBlobRequest* request,
                                                pb::HasBlobReply* reply) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const absl::StatusOr<int64_t> size =
      blobs_ == nullptr ? absl::StatusOr<int64_t>(NoFolder()) : blobs_->Find(request->digest());
  if (size.ok()) Fill(request->digest(), *size, reply);
  reactor->Finish(mesh::ToGrpc(size.status(), context));
  return reactor;
}

grpc::ServerReadReactor<pb::PutBlobRequest>* FilesService::PutBlob(
    grpc::CallbackServerContext* context, pb::HasBlobReply* reply) {
  auto upload = std::make_shared<Upload>(this, context, reply);
  if (blobs_ == nullptr) {
    upload->Refuse(NoFolder());
  } else {
    upload->Start();
  }
  return upload.get();
}

grpc::ServerWriteReactor<pb::PullModelProgress>* FilesService::PullModel(
    grpc::CallbackServerContext* context, const pb::PullModelRequest* request) {
  auto stream = std::make_shared<BlockingWriter<pb::PullModelProgress>>();
  stream->Start();
  const auto pull = [this, stream, name = request->name()]() -> absl::Status {
    if (puller_ == nullptr) return NoFolder();
    pb::PullModelProgress progress;
    ASSIGN_OR_RETURN(const Pulled pulled, puller_->Pull(name, [&](const PullStep& step) {
      progress.set_status(step.status);
      progress.set_digest(step.digest);
      progress.set_total(step.total);
      progress.set_completed(step.completed);
      return stream->Write(progress);
    }));
    progress.Clear();
    Fill(pulled, progress.mutable_pulled());
    base::LogInfo("model file pulled", {{"name", name}, {"digest", pulled.digest}});
    return stream->Write(progress) ? absl::OkStatus() : absl::CancelledError("the caller has gone");
  };
  const bool posted =
      pulls_.Post([stream, context, pull] { stream->Finish(mesh::ToGrpc(pull(), context)); });
  if (!posted) stream->Finish(mesh::ToGrpc(Busy(), context));
  return stream.get();
}

}  // namespace conclave::worker
