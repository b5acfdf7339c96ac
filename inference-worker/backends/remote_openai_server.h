// The other server, as all models of one remote::openai provider share it: where it is, how it is
// asked, what it serves, whether it answers.
#pragma once

#include <chrono>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "backends/http_client.h"
#include "backends/provider.h"
#include "backends/remote_openai_request.h"
#include "base/json.h"

namespace conclave::backends {

// For a list of models, for a tokenizer.
constexpr std::chrono::milliseconds kRemoteAskTime{10'000};

struct RemoteSettings {
  std::string url;  // without a slash at the end
  std::string key;
  HttpClientOptions client;
  HttpTimes times;
  std::chrono::milliseconds health_interval{10'000};
  OpenAiDialect dialect;
  std::vector<std::string> headers;  // of every request
};

// INVALID_ARGUMENT naming the key.
absl::StatusOr<RemoteSettings> ReadRemoteSettings(const base::JsonValue& from);

// What GET /models says of one model.
struct RemoteModel {
  int32_t context_length = 0;  // 0 = it does not say
};
using RemoteModels = std::map<std::string, RemoteModel>;

// Thread-safe. Asks for the models at once and then every health_interval, on a thread of its own.
class RemoteServer final {
 public:
  explicit RemoteServer(RemoteSettings settings);
  RemoteServer(const RemoteServer&) = delete;
  RemoteServer& operator=(const RemoteServer&) = delete;

  const RemoteSettings& settings() const { return settings_; }
  HttpClient& client() { return client_; }

  // Asks now, and remembers the answer. Blocks up to kRemoteAskTime.
  absl::StatusOr<RemoteModels> Ask();
  // A connection has failed: no need to wait for the next look.
  void NoteUnreachable(const absl::Status& status);
  ProviderStatus status() const;
  // OK while nobody has asked, or when the server answers and still has the model.
  absl::Status HealthOf(const std::string& model) const;

 private:
  void Probe(const std::stop_token& stop);

  const RemoteSettings settings_;
  mutable std::mutex mutex_;
  std::optional<absl::Status> health_;
  RemoteModels models_;
  HttpClient client_;
  std::jthread prober_;  // last: it uses all of the above
};

}  // namespace conclave::backends
