// The providers of one worker, from its --providers file (docs/operations.md).
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/provider.h"

namespace conclave::worker {

// The worker's own engine among the providers: its models are files.
constexpr std::string_view kInlineProviderId = "conclave";
constexpr std::string_view kInlineProviderType = "inline::conclave";

// A model that the file wants served from the start.
struct ProvidedModel {
  std::string name;
  std::vector<std::string> aliases;
  std::string provider_id;
  std::string provider_model_id;
  std::string config_json;
};

// Thread-safe once made.
class ProviderSet final {
 public:
  ProviderSet() = default;

  // INVALID_ARGUMENT naming the key: "providers.inference[1].config.url: required". NOT_FOUND: no
  // such file. Waits for nobody: a server that is away makes its provider unhealthy.
  static absl::StatusOr<std::unique_ptr<ProviderSet>> Load(const std::string& path);
  static absl::StatusOr<std::unique_ptr<ProviderSet>> Parse(const std::string& json);

  // NOT_FOUND with the param provider_id.
  absl::StatusOr<backends::Provider*> Find(std::string_view id) const;
  const std::vector<std::unique_ptr<backends::Provider>>& all() const { return providers_; }
  const std::vector<ProvidedModel>& models() const { return models_; }

 private:
  absl::Status Add(const base::JsonValue& entry);
  absl::Status AddModel(const base::JsonValue& entry, const std::string& provider_id);

  std::vector<std::unique_ptr<backends::Provider>> providers_;
  std::vector<ProvidedModel> models_;
};

}  // namespace conclave::worker
