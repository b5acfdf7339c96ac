#include "gateway/dialects/model_files.h"

#include <utility>
#include <vector>

namespace conclave::gateway {
namespace {

using Uploads = std::vector<std::unique_ptr<BlobUpload>>;

absl::Status NoWorker() {
  return base::WithReason(base::Unavailable("no worker is available"), "no_worker");
}

bool TakesNoFiles(const absl::Status& status) { return base::ReasonOf(status) == "no_blob_folder"; }

Task<absl::Status> AwaitEnd(BlobUpload& upload) {
  std::vector<BlobUpload::Sent> sent;
  while (true) {
    const StreamGot got = co_await upload.progress().Next(&sent, base::SteadyTime::max());
    if (got == StreamGot::kEnd) co_return upload.progress().status();
    sent.clear();
  }
}

// Drops the upload of a worker that takes no files; another's refusal is the whole's.
absl::Status Settle(const absl::Status& end, std::unique_ptr<BlobUpload>* upload) {
  if (!end.ok() && !TakesNoFiles(end)) return end;
  upload->reset();
  return absl::OkStatus();
}

Task<absl::Status> SendPiece(Uploads& uploads, std::string piece) {
  for (auto& upload : uploads) upload->Send(piece);
  for (auto& upload : uploads) {
    std::vector<BlobUpload::Sent> sent;
    const StreamGot got = co_await upload->progress().Next(&sent, base::SteadyTime::max());
    if (got != StreamGot::kEnd) continue;
    const absl::Status end = upload->progress().status();
    // All of it was not sent yet.
    if (end.ok()) co_return base::Internal("a worker ended an upload early");
    const absl::Status settled = Settle(end, &upload);
    if (!settled.ok()) co_return settled;
  }
  std::erase(uploads, nullptr);
  if (uploads.empty()) {
    co_return base::WithReason(
        base::FailedPrecondition(
            "this server takes no model files: its workers have no --blob-dir"),
        "no_blob_folder");
  }
  co_return absl::OkStatus();
}

Task<absl::Status> SendBody(Exchange& exchange, Uploads& uploads) {
  // At least one, so that an empty file has its digest told.
  bool first = true;
  while (true) {
    std::string piece;
    const absl::StatusOr<bool> more = co_await exchange.out.ReadBody(&piece);
    if (!more.ok()) co_return more.status();
    if (*more || first) {
      const absl::Status sent = co_await SendPiece(uploads, std::move(piece));
      if (!sent.ok()) co_return sent;
    }
    first = false;
    if (!*more) break;
  }
  for (auto& upload : uploads) upload->Close();
  for (auto& upload : uploads) {
    const absl::Status end = co_await AwaitEnd(*upload);
    if (!end.ok()) co_return end;
  }
  co_return absl::OkStatus();
}

}  // namespace

Task<absl::Status> FindBlob(const Services& services, Exchange& exchange, std::string digest) {
  absl::Status found = NoWorker();
  for (const std::string& worker : services.files->Workers()) {
    v1::HasBlobRequest request;
    request.set_digest(digest);
    Call<v1::HasBlobReply> call = services.files->HasBlob(
        worker, std::move(request), std::chrono::steady_clock::now() + services.times.store);
    const absl::StatusOr<v1::HasBlobReply> reply =
        co_await AwaitReply(std::move(call), exchange.out);
    if (TakesNoFiles(reply.status())) {
      if (!found.ok()) found = reply.status();
      continue;
    }
    if (!reply.ok()) co_return reply.status();
    found = absl::OkStatus();
  }
  co_return found;
}

Task<absl::Status> StoreBlob(const Services& services, Exchange& exchange, std::string digest) {
  Uploads uploads;
  for (const std::string& worker : services.files->Workers()) {
    absl::StatusOr<std::unique_ptr<BlobUpload>> upload = services.files->PutBlob(
        worker, digest, std::chrono::steady_clock::now() + services.times.transfer);
    if (!upload.ok()) co_return upload.status();
    uploads.push_back(*std::move(upload));
  }
  if (uploads.empty()) co_return NoWorker();
  exchange.out.OnCancel([&uploads] {
    for (auto& upload : uploads) {
      if (upload != nullptr) upload->progress().Cancel();
    }
  });
  const absl::Status stored = co_await SendBody(exchange, uploads);
  exchange.out.OnCancel(nullptr);
  co_return stored;
}

}  // namespace conclave::gateway
