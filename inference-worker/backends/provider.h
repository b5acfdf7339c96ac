// Where models come from that are not files of ours: another server's API, a child process, an HTTP
// destination. A provider is one configured instance (several of one type may be there, told apart
// by id); it knows what it really serves, and opens a Backend for one of its models.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/model_log.h"
#include "base/json.h"

namespace conclave::backends {

struct ProviderStatus {
  std::optional<absl::Status> health;  // nullopt = not asked yet
  std::vector<std::string> models;     // by the provider's own names, sorted
  bool open_ended = false;             // besides those, what its configuration lets through
};

// One model of a provider, as somebody registers it.
struct ProviderModel {
  std::string name;         // ours
  std::string model_id;     // the provider's
  std::string config_json;  // the registration's own settings, a JSON object; empty = none
  std::shared_ptr<ModelLog> log;
};

// Thread-safe. Outlives the backends it has opened.
class Provider {
 public:
  virtual ~Provider() = default;
  virtual const std::string& id() const = 0;
  virtual std::string_view type() const = 0;
  virtual ProviderStatus status() const = 0;
  // May take seconds: it asks. NOT_FOUND: the provider does not serve that model. INVALID_ARGUMENT:
  // config_json. PERMISSION_DENIED: a destination that the configuration does not allow.
  // UNAVAILABLE: the provider cannot be reached.
  virtual absl::StatusOr<std::unique_ptr<Backend>> Open(const ProviderModel& model) = 0;
};

// What a provider is made from: its own part of the configuration.
struct ProviderConfig {
  std::string id;
  base::JsonValue settings;  // an object, or absent
};

struct ProviderType {
  std::string_view name;  // "remote::openai"
  absl::StatusOr<std::unique_ptr<Provider>> (*open)(const ProviderConfig& config);
};

// All of them, in all.cc.
std::span<const ProviderType> AllProviderTypes();
// INVALID_ARGUMENT naming the key: an unknown type, an unknown or ill-formed setting.
absl::StatusOr<std::unique_ptr<Provider>> OpenProvider(std::string_view type,
                                                       const ProviderConfig& config);

// One opener per file.
absl::StatusOr<std::unique_ptr<Provider>> OpenRemoteOpenAi(const ProviderConfig& config);
absl::StatusOr<std::unique_ptr<Provider>> OpenRemoteHttp(const ProviderConfig& config);
absl::StatusOr<std::unique_ptr<Provider>> OpenSubprocess(const ProviderConfig& config);

}  // namespace conclave::backends
