#include "worker/http_pull_source.h"

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "backends/http_policy.h"
#include "backends/http_url.h"
#include "base/status.h"

namespace conclave::worker {
namespace {

using backends::AddressScope;
using backends::HttpFlow;

// What may wait between the network and the disk.
constexpr size_t kWaitingBytesMax = 8 << 20;
// How often somebody who waits is asked whether he still does.
constexpr std::chrono::milliseconds kAskEvery{250};

absl::Status Refused(std::string what) {
  return base::WithReason(base::FailedPrecondition(std::move(what)), "mirror_refused");
}

// 200 and 206 are for the caller to tell apart.
absl::Status StatusOf(int http_status, const std::string& path) {
  if (http_status == 200 || http_status == 206) return absl::OkStatus();
  if (http_status == 404 || http_status == 410) {
    return base::NotFound(absl::StrCat(path, ": no such file"));
  }
  std::string what = absl::StrCat("the mirror answers ", http_status, " for ", path);
  const bool passes = http_status >= 500 || http_status == 429 || http_status == 408;
  if (!passes) return Refused(std::move(what));
  return base::WithReason(base::Unavailable(std::move(what)), "mirror_unavailable");
}

// A mirror that falls silent may be asked again, like one that breaks off.
absl::Status Explained(const absl::Status& status) {
  if (!absl::IsDeadlineExceeded(status)) return status;
  return base::WithReason(base::Unavailable(absl::StrCat("the mirror: ", status.message())),
                          base::ReasonOf(status));
}

// From the client's thread to the one that writes.
class Pieces final : public backends::HttpListener {
 public:
  void OnHead(const backends::HttpHead& head) override {
    const std::lock_guard lock(mutex_);
    head_ = head;
    changed_.notify_all();
  }
  HttpFlow OnBody(std::string_view bytes) override {
    const std::lock_guard lock(mutex_);
    waiting_bytes_ += bytes.size();
    pieces_.emplace_back(bytes);
    changed_.notify_all();
    paused_ = waiting_bytes_ >= kWaitingBytesMax;
    return paused_ ? HttpFlow::kPause : HttpFlow::kContinue;
  }
  void OnEnd(const absl::Status& status) override {
    const std::lock_guard lock(mutex_);
    end_ = status;
    changed_.notify_all();
  }

  // Waits a moment for the head of the answer; nothing when none has come yet.
  absl::StatusOr<std::optional<backends::HttpHead>> Head() {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kAskEvery, [this] { return head_.has_value() || end_.has_value(); });
    if (!head_ && end_ && !end_->ok()) return *end_;
    return head_;
  }

  enum class Got { kPiece, kNothing, kEnd };
  // Waits a moment for the next piece. `*unpause`: the client waits for room.
  absl::StatusOr<Got> Next(std::string* piece, bool* unpause) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, kAskEvery, [this] { return !pieces_.empty() || end_.has_value(); });
    piece->clear();
    *unpause = false;
    if (pieces_.empty()) {
      if (!end_) return Got::kNothing;
      if (!end_->ok()) return *end_;
      return Got::kEnd;
    }
    *piece = std::move(pieces_.front());
    pieces_.pop_front();
    waiting_bytes_ -= piece->size();
    *unpause = paused_ && waiting_bytes_ < kWaitingBytesMax / 2;
    if (*unpause) paused_ = false;
    return Got::kPiece;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<backends::HttpHead> head_;
  std::deque<std::string> pieces_;
  size_t waiting_bytes_ = 0;
  bool paused_ = false;
  std::optional<absl::Status> end_;
};

class HttpSource final : public PullSource {
 public:
  HttpSource(std::string base, AddressScope scope, const backends::HttpTimes& times)
      : base_(std::move(base)), scope_(scope), times_(times), client_({}) {}

  const std::string& name() const override { return base_; }

  absl::StatusOr<std::string> Read(const std::string& path, size_t bytes_max) override {
    absl::StatusOr<backends::HttpReply> reply =
        backends::Fetch(client_, RequestFor(path, 0), bytes_max);
    if (!reply.ok()) return Explained(reply.status());
    RETURN_IF_ERROR(StatusOf(reply->head.status, path));
    return std::move(reply->body);
  }

  absl::Status Copy(const std::string& path, int64_t from,
                    absl::FunctionRef<absl::Status(int64_t)> begin,
                    absl::FunctionRef<absl::Status(std::string_view)> bytes) override {
    const auto pieces = std::make_shared<Pieces>();
    ASSIGN_OR_RETURN(const auto exchange, client_.Start(RequestFor(path, from), pieces));
    const absl::Status status = Take(*pieces, exchange, path, from, begin, bytes);
    if (!status.ok()) client_.Cancel(exchange);
    return Explained(status);
  }

  // As Ollama's registry has them.
  std::string ManifestPath(const ManifestName& name) const override {
    return absl::StrCat("v2/", name.ns, "/", name.model, "/manifests/", name.tag);
  }
  std::string LayerPath(const ManifestName& name, const std::string& digest) const override {
    return absl::StrCat("v2/", name.ns, "/", name.model, "/blobs/", digest);
  }

 private:
  backends::HttpRequest RequestFor(const std::string& path, int64_t from) const {
    backends::HttpRequest request;
    request.method = "GET";
    request.url = base_ + path;
    request.headers = {"Accept: application/vnd.docker.distribution.manifest.v2+json, */*"};
    if (from > 0) request.headers.push_back(absl::StrCat("Range: bytes=", from, "-"));
    request.times = times_;
    request.allow_address = [scope = scope_](const sockaddr& address) {
      return backends::IsAllowedAddress(address, scope);
    };
    return request;
  }

  absl::Status Take(Pieces& pieces, const std::shared_ptr<backends::HttpExchange>& exchange,
                    const std::string& path, int64_t from,
                    absl::FunctionRef<absl::Status(int64_t)> begin,
                    absl::FunctionRef<absl::Status(std::string_view)> bytes) {
    std::optional<backends::HttpHead> head;
    while (true) {
      ASSIGN_OR_RETURN(head, pieces.Head());
      if (head) break;
      RETURN_IF_ERROR(bytes(""));
    }
    RETURN_IF_ERROR(StatusOf(head->status, path));
    const bool rest = head->status == 206;
    if (rest && (from == 0 || head->range_begin != from)) {
      return Refused(absl::StrCat("the mirror answers with another part of ", path));
    }
    const int64_t length = head->content_length;
    RETURN_IF_ERROR(begin(length < 0 ? 0 : rest ? from + length : length));
    // A mirror that knows no ranges sends again what is here.
    int64_t to_skip = rest ? 0 : from;
    for (std::string piece;;) {
      bool unpause = false;
      ASSIGN_OR_RETURN(const Pieces::Got got, pieces.Next(&piece, &unpause));
      if (got == Pieces::Got::kEnd) return absl::OkStatus();
      if (unpause) client_.Unpause(exchange);
      const auto skipped = std::min<int64_t>(to_skip, static_cast<int64_t>(piece.size()));
      to_skip -= skipped;
      RETURN_IF_ERROR(bytes(std::string_view(piece).substr(static_cast<size_t>(skipped))));
    }
  }

  const std::string base_;  // with a slash at its end
  const AddressScope scope_;
  const backends::HttpTimes times_;
  backends::HttpClient client_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PullSource>> OpenHttpSource(const std::string& url,
                                                           const backends::HttpTimes& times) {
  const absl::StatusOr<backends::HttpUrl> parsed = backends::ParseHttpUrl(url);
  RETURN_IF_ERROR(base::Annotate(parsed.status(), "pull-from"));
  if (parsed->path.find('?') != std::string::npos) {
    return base::InvalidArgument("pull-from: a mirror is a folder, without a query");
  }
  const std::string place = absl::StrCat(parsed->host, ":", parsed->port);
  ASSIGN_OR_RETURN(const auto policy, backends::HttpPolicy::Parse({place}));
  ASSIGN_OR_RETURN(const AddressScope scope, policy.Check(*parsed));
  std::string base = absl::StrCat(parsed->scheme, "://", place, parsed->path);
  if (base.back() != '/') base += '/';
  return std::make_unique<HttpSource>(std::move(base), scope, times);
}

}  // namespace conclave::worker
