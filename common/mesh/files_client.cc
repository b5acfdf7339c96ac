#include "mesh/files_client.h"

#include <grpcpp/support/client_callback.h>

#include <mutex>
#include <utility>

#include "mesh/call_core.h"
#include "mesh/grpc_status.h"
#include "mesh/unary_call.h"
#include "mesh/worker_link.h"

namespace conclave::mesh {
namespace {

namespace pb = conclave::v1;

absl::StatusOr<std::shared_ptr<WorkerLink>> Find(const Fleet& fleet, const std::string& worker_id) {
  const WorkerInfo* worker = fleet.FindWorker(worker_id);
  if (worker != nullptr && worker->link != nullptr) return worker->link;
  return base::WithReason(base::Unavailable("no worker is available"), "no_worker");
}

class Sender final : public grpc::ClientWriteReactor<pb::PutBlobRequest>,
                     public BlobSender,
                     public std::enable_shared_from_this<Sender> {
 public:
  Sender(std::shared_ptr<WorkerLink> link, std::shared_ptr<BlobObserver> observer)
      : link_(std::move(link)), observer_(std::move(observer)) {}

  void Start(base::SteadyTime deadline) {
    self_ = shared_from_this();
    context_.set_deadline(AsSystemTime(deadline));
    link_->files().async()->PutBlob(&context_, &reply_, this);
    AddHold();  // for the writes that come from outside
    StartCall();
  }

  void Send(pb::PutBlobRequest piece) override {
    piece_ = std::move(piece);
    StartWrite(&piece_);
  }
  void Close() override {
    StartWritesDone();
    Release();
  }
  void Cancel() override {
    context_.TryCancel();
    Release();
  }

 private:
  void Release() {
    {
      const std::lock_guard lock(mutex_);
      if (std::exchange(released_, true)) return;
    }
    RemoveHold();
  }
  void OnWriteDone(bool ok) override {
    if (ok) return observer_->OnSent();
    Release();  // the call has ended, OnDone says how
  }
  void OnDone(const grpc::Status& status) override {
    const std::shared_ptr<Sender> self = std::move(self_);
    const std::shared_ptr<BlobObserver> observer = std::move(observer_);
    if (status.ok()) {
      observer->OnDone(std::move(reply_));
    } else {
      observer->OnDone(FromGrpc(status, &context_));
    }
  }

  const std::shared_ptr<WorkerLink> link_;
  std::shared_ptr<BlobObserver> observer_;
  grpc::ClientContext context_;
  pb::HasBlobReply reply_;
  pb::PutBlobRequest piece_;
  std::mutex mutex_;
  bool released_ = false;
  std::shared_ptr<Sender> self_;  // from Start to OnDone
};

// One read at a time, asked for by the caller. The hold is the caller's right to ask.
class Puller final : public grpc::ClientReadReactor<pb::PullModelProgress>,
                     public PullStream,
                     public std::enable_shared_from_this<Puller> {
 public:
  Puller(std::shared_ptr<WorkerLink> link, pb::PullModelRequest request,
         std::shared_ptr<PullObserver> observer)
      : link_(std::move(link)), request_(std::move(request)), observer_(std::move(observer)) {}

  void Start(base::SteadyTime deadline) {
    self_ = shared_from_this();
    context_.set_deadline(AsSystemTime(deadline));
    link_->files().async()->PullModel(&context_, &request_, this);
    AddHold();
    StartCall();
  }

  void ReadNext() override {
    {
      const std::lock_guard lock(mutex_);
      if (released_ || std::exchange(reading_, true)) return;
    }
    StartRead(&event_);
  }
  void Cancel() override {
    bool release = false;
    {
      const std::lock_guard lock(mutex_);
      if (!reading_) release = !std::exchange(released_, true);
    }
    context_.TryCancel();
    if (release) RemoveHold();
  }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) {
      bool release = false;
      {
        const std::lock_guard lock(mutex_);
        release = !std::exchange(released_, true);
      }
      if (release) RemoveHold();
      return;
    }
    pb::PullModelProgress event = std::move(event_);
    event_.Clear();
    {
      const std::lock_guard lock(mutex_);
      reading_ = false;
    }
    observer_->OnEvent(event);
  }
  void OnDone(const grpc::Status& status) override {
    const std::shared_ptr<Puller> self = std::move(self_);
    observer_->OnDone(status.ok() ? absl::OkStatus() : FromGrpc(status, &context_));
  }

  const std::shared_ptr<WorkerLink> link_;
  const pb::PullModelRequest request_;
  const std::shared_ptr<PullObserver> observer_;
  grpc::ClientContext context_;
  pb::PullModelProgress event_;
  std::mutex mutex_;
  bool reading_ = false;
  bool released_ = false;
  std::shared_ptr<Puller> self_;  // from Start to OnDone
};

// A call that could not begin.
class NoCall final : public CallHandle {
 public:
  void Cancel() override {}
};

// One answer of one worker. `method` starts the call on its link.
template <typename Request, typename Reply, typename Method>
std::shared_ptr<CallHandle> Ask(Discovery& discovery, const std::string& worker_id, Method method,
                                Request request, const CallOptions& options,
                                ReplyCallback<Reply> done) {
  absl::StatusOr<std::shared_ptr<WorkerLink>> link = Find(*discovery.fleet(), worker_id);
  if (!link.ok()) {
    done(link.status());
    return std::make_shared<NoCall>();
  }
  return UnaryCall<Request, Reply>::Start(
      [&](grpc::ClientContext* context, const Request* req, Reply* reply,
          std::function<void(grpc::Status)> end) {
        method(**link, context, req, reply,
               [keep = *link, end = std::move(end)](const grpc::Status& status) { end(status); });
      },
      std::move(request), options, std::move(done));
}

}  // namespace

std::shared_ptr<CallHandle> FilesClient::HasBlob(const std::string& worker_id,
                                                 pb::HasBlobRequest request,
                                                 const CallOptions& options,
                                                 ReplyCallback<pb::HasBlobReply> done) {
  return Ask<pb::HasBlobRequest, pb::HasBlobReply>(
      *discovery_, worker_id,
      [](WorkerLink& link, auto... args) { link.files().async()->HasBlob(std::move(args)...); },
      std::move(request), options, std::move(done));
}

std::shared_ptr<CallHandle> FilesClient::CollectBlobs(const std::string& worker_id,
                                                      pb::CollectBlobsRequest request,
                                                      const CallOptions& options,
                                                      ReplyCallback<pb::CollectBlobsReply> done) {
  return Ask<pb::CollectBlobsRequest, pb::CollectBlobsReply>(
      *discovery_, worker_id,
      [](WorkerLink& link, auto... args) {
        link.blobs().async()->CollectBlobs(std::move(args)...);
      },
      std::move(request), options, std::move(done));
}

absl::StatusOr<std::shared_ptr<BlobSender>> FilesClient::PutBlob(
    const std::string& worker_id, const CallOptions& options,
    std::shared_ptr<BlobObserver> observer) {
  ASSIGN_OR_RETURN(std::shared_ptr<WorkerLink> link, Find(*discovery_->fleet(), worker_id));
  auto sender = std::make_shared<Sender>(std::move(link), std::move(observer));
  sender->Start(options.deadline);
  return sender;
}

absl::StatusOr<std::shared_ptr<PullStream>> FilesClient::PullModel(
    const std::string& worker_id, pb::PullModelRequest request, const CallOptions& options,
    std::shared_ptr<PullObserver> observer) {
  ASSIGN_OR_RETURN(std::shared_ptr<WorkerLink> link, Find(*discovery_->fleet(), worker_id));
  auto puller = std::make_shared<Puller>(std::move(link), std::move(request), std::move(observer));
  puller->Start(options.deadline);
  return puller;
}

}  // namespace conclave::mesh
