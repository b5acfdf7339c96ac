#include "backends/remote_openai_server.h"

#include <condition_variable>
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/http_url.h"
#include "backends/remote_openai_wire.h"
#include "backends/settings.h"
#include "base/status.h"

namespace conclave::backends {
namespace {

using std::chrono::milliseconds;

constexpr size_t kListBytesMax = size_t{8} << 20;
constexpr size_t kModelsMax = 10'000;
constexpr milliseconds kHour{3'600'000};

absl::StatusOr<RemoteModels> ParseModels(const std::string& body) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(body));
  const base::JsonValue data = document.root().Get("data");
  RETURN_IF_ERROR(data.ExpectArray());
  if (data.size() > kModelsMax) return data.Error("too many models");
  RemoteModels models;
  for (size_t i = 0; i < data.size(); ++i) {
    ASSIGN_OR_RETURN(std::string id, data.At(i).Get("id").AsString());
    RemoteModel model;
    for (const std::string_view key : {"max_model_len", "context_length", "context_window"}) {
      const base::JsonValue value = data.At(i).Get(key);
      const auto number = value.is_integer() ? value.AsInt(1, 1 << 30) : int64_t{0};
      if (number.ok() && *number > 0) model.context_length = static_cast<int32_t>(*number);
    }
    models.emplace(std::move(id), model);
  }
  return models;
}

absl::StatusOr<RemoteModels> Understand(const absl::StatusOr<HttpReply>& reply) {
  RETURN_IF_ERROR(reply.status());
  if (reply->head.status != 200) {
    const absl::Status error = OpenAiError(reply->head, reply->body);
    // A base URL that is not an API's looks like a missing model.
    return absl::IsNotFound(error) ? base::FailedPrecondition("the remote server has no /models")
                                   : error;
  }
  auto models = ParseModels(reply->body);
  if (models.ok()) return models;
  return base::FailedPrecondition(absl::StrCat("the remote server's /models is no list of models: ",
                                               std::string(models.status().message())));
}

}  // namespace

absl::StatusOr<RemoteSettings> ReadRemoteSettings(const base::JsonValue& from) {
  RemoteSettings to;
  Settings settings(from);
  settings.Read("url", &to.url);
  ASSIGN_OR_RETURN(to.key, ReadSecret(settings, "api_key"));
  settings.Read("ca_file", &to.client.ca_file);
  settings.Read("cert_file", &to.client.cert_file);
  settings.Read("key_file", &to.client.key_file);
  settings.Read("verify_tls", &to.client.verify_tls);
  settings.Read("max_concurrent", &to.client.running_max, 1, 4'096);
  settings.Read("max_queued", &to.client.queued_max, 0, 65'536);
  settings.Read("connect_timeout", &to.times.connect, milliseconds(10), kHour);
  settings.Read("first_byte_timeout", &to.times.first_byte, milliseconds(10), kHour);
  settings.Read("idle_timeout", &to.times.idle, milliseconds(10), kHour);
  settings.Read("total_timeout", &to.times.total, milliseconds(10), 24 * kHour);
  settings.Read("health_interval", &to.health_interval, milliseconds(100), kHour);
  settings.Read("max_tokens_field", &to.dialect.max_tokens_field);
  settings.Read("guided", &to.dialect.guided);
  const std::string& field = to.dialect.max_tokens_field;
  if (field != "max_tokens" && field != "max_completion_tokens") {
    settings.Refuse("max_tokens_field", "must be max_tokens or max_completion_tokens");
  }
  if (to.client.cert_file.empty() != to.client.key_file.empty()) {
    settings.Refuse("cert_file", "needs key_file, and the other way round");
  }
  RETURN_IF_ERROR(settings.Finish());
  if (to.url.empty()) return from.Get("url").Error("required");
  if (const auto url = ParseHttpUrl(to.url); !url.ok()) {
    return from.Get("url").Error(std::string(url.status().message()));
  }
  while (to.url.back() == '/') to.url.pop_back();
  to.headers = {"Content-Type: application/json", "Accept: text/event-stream, application/json"};
  if (!to.key.empty()) to.headers.push_back("Authorization: Bearer " + to.key);
  return to;
}

RemoteServer::RemoteServer(RemoteSettings settings)
    : settings_(std::move(settings)), client_(settings_.client) {
  prober_ = std::jthread([this](const std::stop_token& stop) { Probe(stop); });
}

absl::StatusOr<RemoteModels> RemoteServer::Ask() {
  HttpRequest request;
  request.method = "GET";
  request.url = settings_.url + "/models";
  request.headers = settings_.headers;
  request.times = settings_.times;
  request.times.first_byte = request.times.total = kRemoteAskTime;
  request.urgent = true;
  absl::StatusOr<RemoteModels> models =
      Understand(Fetch(client_, std::move(request), kListBytesMax));
  const std::lock_guard lock(mutex_);
  health_ = models.status();
  if (models.ok()) models_ = *models;
  return models;
}

void RemoteServer::NoteUnreachable(const absl::Status& status) {
  const std::lock_guard lock(mutex_);
  health_ = status;
}

ProviderStatus RemoteServer::status() const {
  const std::lock_guard lock(mutex_);
  ProviderStatus status;
  status.health = health_;
  for (const auto& [id, model] : models_) status.models.push_back(id);
  return status;
}

absl::Status RemoteServer::HealthOf(const std::string& model) const {
  const std::lock_guard lock(mutex_);
  if (!health_) return absl::OkStatus();
  // Whatever is wrong with the server, the model is away for now.
  if (!health_->ok()) return base::Unavailable(std::string(health_->message()));
  if (models_.count(model) > 0) return absl::OkStatus();
  return base::Unavailable("the remote server does not serve this model any more");
}

void RemoteServer::Probe(const std::stop_token& stop) {
  std::mutex wait_mutex;
  std::condition_variable_any wake;
  while (!stop.stop_requested()) {
    static_cast<void>(Ask());
    std::unique_lock lock(wait_mutex);
    wake.wait_for(lock, stop, settings_.health_interval, [] { return false; });
  }
}

}  // namespace conclave::backends
