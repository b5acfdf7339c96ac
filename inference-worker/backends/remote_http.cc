// Models behind plain HTTP: the body of Predict is sent as it is, by the method that the model's
// registration or else its caller names, and the JSON that comes back is the answer. A model's id
// is its destination, "127.0.0.1:8888" or a whole URL; only what the configuration lists is ever
// connected to (http_policy.h).
#include <condition_variable>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "backends/http_client.h"
#include "backends/http_policy.h"
#include "backends/http_url.h"
#include "backends/provider.h"
#include "backends/remote_openai_wire.h"
#include "backends/settings.h"
#include "base/check.h"
#include "base/status.h"

namespace conclave::backends {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kCancelMax{60'000};
constexpr milliseconds kHour{3'600'000};

struct HttpSettings {
  std::vector<std::string> destinations;
  HttpPolicy policy;
  std::string key;
  std::string path = "/predict";  // of destinations that have none
  HttpClientOptions client;
  HttpTimes times;
  int64_t reply_bytes_max = int64_t{32} << 20;
};

absl::StatusOr<HttpSettings> ReadHttpSettings(const base::JsonValue& from) {
  HttpSettings to;
  Settings settings(from);
  settings.Read("destinations", &to.destinations);
  ASSIGN_OR_RETURN(to.key, ReadSecret(settings, "api_key"));
  settings.Read("path", &to.path);
  settings.Read("ca_file", &to.client.ca_file);
  settings.Read("verify_tls", &to.client.verify_tls);
  settings.Read("max_concurrent", &to.client.running_max, 1, 4'096);
  settings.Read("max_queued", &to.client.queued_max, 0, 65'536);
  settings.Read("connect_timeout", &to.times.connect, milliseconds(10), kHour);
  settings.Read("first_byte_timeout", &to.times.first_byte, milliseconds(10), kHour);
  settings.Read("idle_timeout", &to.times.idle, milliseconds(10), kHour);
  settings.Read("total_timeout", &to.times.total, milliseconds(10), 24 * kHour);
  settings.ReadBytes("reply_bytes_max", &to.reply_bytes_max, 1, int64_t{1} << 30);
  if (to.path.empty() || to.path.front() != '/') settings.Refuse("path", "must begin with a slash");
  RETURN_IF_ERROR(settings.Finish());
  auto policy = HttpPolicy::Parse(to.destinations);
  if (!policy.ok()) {
    return from.Get("destinations").Error(std::string(policy.status().message()));
  }
  to.policy = *std::move(policy);
  return to;
}

// One Predict in flight; on the client's thread.
class PredictListener final : public HttpListener {
 public:
  PredictListener(size_t bytes_max, PredictDone done)
      : bytes_max_(bytes_max), done_(std::move(done)) {}

  void OnHead(const HttpHead& head) override { reply_.head = head; }
  HttpFlow OnBody(std::string_view bytes) override {
    too_long_ = reply_.body.size() + bytes.size() > bytes_max_;
    if (too_long_) return HttpFlow::kStop;
    reply_.body += bytes;
    return HttpFlow::kContinue;
  }
  void OnEnd(const absl::Status& status) override { done_(Outcome(status)); }

 private:
  absl::StatusOr<std::string> Outcome(const absl::Status& status) {
    if (too_long_) {
      return base::WithReason(
          base::Internal(absl::StrCat("the model's answer is longer than ", bytes_max_, " bytes")),
          "upstream_invalid");
    }
    absl::Status failure = status;
    const int code = reply_.head.status;
    if (failure.ok() && (code < 200 || code > 299)) failure = OpenAiError(reply_.head, reply_.body);
    // What has been sent may have been done: nobody tries it again by himself.
    if (absl::IsUnavailable(failure) && base::ReasonOf(failure) != "upstream_unreachable") {
      failure =
          base::WithReason(base::Internal(std::string(failure.message())), base::ReasonOf(failure));
    }
    RETURN_IF_ERROR(failure);
    if (!base::JsonDocument::Parse(reply_.body).ok()) {
      return base::WithReason(base::Internal("the model did not answer with JSON"),
                              "upstream_invalid");
    }
    return std::move(reply_.body);
  }

  const size_t bytes_max_;
  const PredictDone done_;
  HttpReply reply_;
  bool too_long_ = false;
};

class HttpModel final : public Backend {
 public:
  HttpModel(std::shared_ptr<HttpClient> client, HttpRequest request, bool method_is_fixed,
            size_t reply_bytes_max, ModelDetails details)
      : client_(std::move(client)),
        request_(std::move(request)),
        method_is_fixed_(method_is_fixed),
        reply_bytes_max_(reply_bytes_max),
        details_(std::move(details)) {}
  ~HttpModel() override { Drain(milliseconds(0)); }

  absl::StatusOr<Accepted> Generate(GenerateRequest, std::shared_ptr<EventSink>) override {
    return base::Unimplemented("this model answers predict only");
  }
  void Predict(PredictRequest request, PredictDone done) override;
  void Cancel(std::string_view id) override;
  void Resume(std::string_view) override {}
  absl::StatusOr<Tokenized> Tokenize(const std::variant<ChatPrompt, TextPrompt>&,
                                     const TokenizeOptions&) const override {
    return base::Unimplemented("this model shows no tokenizer");
  }
  absl::StatusOr<std::string> Detokenize(std::span<const TokenId>) const override {
    return base::Unimplemented("this model shows no tokenizer");
  }
  Load load() const override;
  const ModelDetails& details() const override { return details_; }
  void Drain(milliseconds timeout) override;

 private:
  absl::Status Submit(PredictRequest request, PredictDone* done);
  void Ended(const std::string& id) {
    const std::lock_guard lock(mutex_);
    live_.erase(id);
    idle_.notify_all();
  }

  const std::shared_ptr<HttpClient> client_;
  const HttpRequest request_;  // all but the body
  const bool method_is_fixed_;
  const size_t reply_bytes_max_;
  const ModelDetails details_;

  mutable std::mutex mutex_;
  std::condition_variable idle_;
  std::unordered_map<std::string, std::shared_ptr<HttpExchange>> live_;
  bool draining_ = false;
};

void HttpModel::Predict(PredictRequest request, PredictDone done) {
  const absl::Status status = Submit(std::move(request), &done);
  if (!status.ok()) done(status);
}

absl::Status HttpModel::Submit(PredictRequest request, PredictDone* done) {
  HttpRequest http = request_;
  http.body = std::move(request.body);
  if (!method_is_fixed_ && !request.method.empty()) http.method = request.method;
  if (http.method == "GET" && http.body == "{}") http.body.clear();  // nothing is asked by it
  const std::lock_guard lock(mutex_);
  if (draining_) return base::Unavailable("draining");
  // The end waits for the lock, so it comes after the entry.
  auto listener = std::make_shared<PredictListener>(
      reply_bytes_max_, [this, id = request.id, end = *done](absl::StatusOr<std::string> reply) {
        Ended(id);
        end(std::move(reply));
      });
  ASSIGN_OR_RETURN(live_[request.id], client_->Start(std::move(http), std::move(listener)));
  return absl::OkStatus();
}

void HttpModel::Cancel(std::string_view id) {
  const std::lock_guard lock(mutex_);
  const auto found = live_.find(std::string(id));
  if (found != live_.end()) client_->Cancel(found->second);
}

Load HttpModel::load() const {
  const HttpClient::Load shared = client_->load();
  const std::lock_guard lock(mutex_);
  Load load;
  const auto mine = static_cast<int32_t>(live_.size());
  load.waiting = std::min(mine, shared.waiting);
  load.running = mine - load.waiting;
  return load;
}

void HttpModel::Drain(milliseconds timeout) {
  std::unique_lock lock(mutex_);
  draining_ = true;
  idle_.wait_for(lock, timeout, [&] { return live_.empty(); });
  for (const auto& [id, exchange] : live_) client_->Cancel(exchange);
  CHECK(idle_.wait_for(lock, kCancelMax, [&] { return live_.empty(); }));
}

class RemoteHttp final : public Provider {
 public:
  RemoteHttp(std::string id, HttpSettings settings)
      : id_(std::move(id)),
        settings_(std::move(settings)),
        client_(std::make_shared<HttpClient>(settings_.client)) {}

  const std::string& id() const override { return id_; }
  std::string_view type() const override { return "remote::http"; }
  // Destinations are asked when they are used; there is nothing to look at in between.
  ProviderStatus status() const override {
    ProviderStatus status;
    status.health = absl::OkStatus();
    for (const std::string& entry : settings_.destinations) {
      if (entry.front() != '*') status.models.push_back(entry);
    }
    std::sort(status.models.begin(), status.models.end());
    status.open_ended = settings_.policy.has_patterns();
    return status;
  }

  absl::StatusOr<std::unique_ptr<Backend>> Open(const ProviderModel& model) override {
    HttpRequest request;
    request.times = settings_.times;
    request.headers = {"Content-Type: application/json", "Accept: application/json"};
    bool method_is_fixed = false;
    RETURN_IF_ERROR(ReadModelSettings(model, &request, &method_is_fixed));
    request.url =
        absl::StrContains(model.model_id, "://") ? model.model_id : "http://" + model.model_id;
    absl::StatusOr<HttpUrl> url = ParseHttpUrl(request.url);
    RETURN_IF_ERROR(base::Annotate(url.status(), "provider_model_id"));
    ASSIGN_OR_RETURN(const AddressScope scope, settings_.policy.Check(*url));
    if (url->path == "/") url->path = settings_.path;
    // Put together again, so that nothing is connected to but what was checked.
    request.url = absl::StrCat(url->scheme, "://", url->host, ":", url->port, url->path);
    request.allow_address = [scope](const sockaddr& address) {
      return IsAllowedAddress(address, scope);
    };
    if (!settings_.key.empty()) request.headers.push_back("Authorization: Bearer " + settings_.key);
    ModelDetails details;
    details.format = "remote";
    details.family = "http";
    details.capabilities = {"predict"};
    details.revision = absl::StrCat("http-", absl::Hex(std::hash<std::string>()(request.url)));
    return std::make_unique<HttpModel>(client_, std::move(request), method_is_fixed,
                                       static_cast<size_t>(settings_.reply_bytes_max),
                                       std::move(details));
  }

 private:
  // {"method": "GET"}: how the model wants to be asked, whatever its callers say.
  static absl::Status ReadModelSettings(const ProviderModel& model, HttpRequest* request,
                                        bool* method_is_fixed) {
    const auto document =
        base::JsonDocument::Parse(model.config_json.empty() ? "{}" : model.config_json);
    RETURN_IF_ERROR(base::Annotate(document.status(), "config_json"));
    *method_is_fixed = !document->root().Get("method").missing();
    Settings settings(document->root());
    settings.Read("method", &request->method);
    if (request->method != "POST" && request->method != "GET" && request->method != "PUT") {
      settings.Refuse("method", "must be POST, GET or PUT");
    }
    return base::Annotate(settings.Finish(), "config_json");
  }

  const std::string id_;
  const HttpSettings settings_;
  const std::shared_ptr<HttpClient> client_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Provider>> OpenRemoteHttp(const ProviderConfig& config) {
  ASSIGN_OR_RETURN(HttpSettings settings, ReadHttpSettings(config.settings));
  return std::make_unique<RemoteHttp>(config.id, std::move(settings));
}

}  // namespace conclave::backends
