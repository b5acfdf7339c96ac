#include "gateway/upstream/model_files.h"

#include <utility>

#include "gateway/upstream/mesh_calls.h"

namespace conclave::gateway {
namespace {

using SentStream = EventStream<BlobUpload::Sent>;

class SentObserver final : public mesh::BlobObserver {
 public:
  explicit SentObserver(std::shared_ptr<SentStream::Feed> feed) : feed_(std::move(feed)) {}
  void OnSent() override { feed_->Push({}, 0); }
  void OnDone(absl::StatusOr<v1::HasBlobReply> reply) override { feed_->Finish(reply.status()); }

 private:
  const std::shared_ptr<SentStream::Feed> feed_;
};

class MeshUpload final : public BlobUpload {
 public:
  MeshUpload(std::shared_ptr<mesh::BlobSender> sender, std::string digest,
             std::shared_ptr<SentStream::Feed> feed)
      : sender_(std::move(sender)),
        digest_(std::move(digest)),
        progress_(
            std::move(feed), [] {}, [sender = sender_] { sender->Cancel(); }) {}

  void Send(std::string bytes) override {
    v1::PutBlobRequest piece;
    piece.set_digest(std::exchange(digest_, std::string()));
    piece.set_data(std::move(bytes));
    sender_->Send(std::move(piece));
  }
  void Close() override { sender_->Close(); }
  SentStream& progress() override { return progress_; }

 private:
  const std::shared_ptr<mesh::BlobSender> sender_;
  std::string digest_;  // with the first piece
  SentStream progress_;
};

}  // namespace

std::vector<std::string> FleetFiles::Workers() {
  std::vector<std::string> ids;
  for (const auto& worker : workers_->fleet()->workers) {
    if (worker->usable()) ids.push_back(worker->worker_id);
  }
  return ids;
}

Call<v1::HasBlobReply> FleetFiles::HasBlob(const std::string& worker, v1::HasBlobRequest request,
                                           base::SteadyTime deadline) {
  return Unary<v1::HasBlobReply>([&](auto done) {
    return client_.HasBlob(worker, std::move(request), {.deadline = deadline}, std::move(done));
  });
}

absl::StatusOr<std::unique_ptr<BlobUpload>> FleetFiles::PutBlob(const std::string& worker,
                                                                const std::string& digest,
                                                                base::SteadyTime deadline) {
  auto feed = std::make_shared<SentStream::Feed>();
  ASSIGN_OR_RETURN(
      std::shared_ptr<mesh::BlobSender> sender,
      client_.PutBlob(worker, {.deadline = deadline}, std::make_shared<SentObserver>(feed)));
  return std::make_unique<MeshUpload>(std::move(sender), digest, std::move(feed));
}

Call<v1::PullModelProgress> FleetFiles::PullModel(const std::string& worker,
                                                  v1::PullModelRequest request,
                                                  base::SteadyTime deadline) {
  using PullRelay = Relay<mesh::PullObserver, v1::PullModelProgress, mesh::PullStream>;
  auto feed = std::make_shared<EventStream<v1::PullModelProgress>::Feed>();
  auto relay = std::make_shared<PullRelay>(feed);
  auto stream = std::make_unique<EventStream<v1::PullModelProgress>>(
      feed, [relay] { relay->ReadNext(); }, [slot = relay->slot()] { slot->Cancel(); });
  absl::StatusOr<std::shared_ptr<mesh::PullStream>> pull =
      client_.PullModel(worker, std::move(request), {.deadline = deadline}, relay);
  if (!pull.ok()) {
    feed->Finish(pull.status());
    return stream;
  }
  relay->slot()->Set(*std::move(pull));
  relay->ReadNext();
  return stream;
}

}  // namespace conclave::gateway
