#include "worker/providers.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "backends/settings.h"
#include "base/config.h"
#include "base/json.h"
#include "base/status.h"
#include "worker/model_file.h"

namespace conclave::worker {
namespace {

constexpr size_t kProvidersMax = 64;
constexpr size_t kModelsMax = 256;

}  // namespace

absl::StatusOr<std::unique_ptr<ProviderSet>> ProviderSet::Load(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string json, base::LoadYamlAsJson(path));
  absl::StatusOr<std::unique_ptr<ProviderSet>> set = Parse(json);
  if (!set.ok()) return base::Annotate(set.status(), path);
  return set;
}

absl::StatusOr<std::unique_ptr<ProviderSet>> ProviderSet::Parse(const std::string& json) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(json));
  backends::Settings file(document.root());
  backends::Settings apis(file.Take("providers"));
  RETURN_IF_ERROR(file.Finish());
  const base::JsonValue entries = apis.Take("inference");
  RETURN_IF_ERROR(apis.Finish());
  auto set = std::make_unique<ProviderSet>();
  if (entries.missing()) return set;
  RETURN_IF_ERROR(entries.ExpectArray());
  if (entries.size() > kProvidersMax) return entries.Error("more than 64 providers");
  for (size_t i = 0; i < entries.size(); ++i) RETURN_IF_ERROR(set->Add(entries.At(i)));
  return set;
}

absl::Status ProviderSet::Add(const base::JsonValue& entry) {
  RETURN_IF_ERROR(entry.ExpectObject());
  backends::Settings settings(entry);
  std::string id;
  std::string type;
  settings.Read("provider_id", &id);
  settings.Read("provider_type", &type);
  const base::JsonValue config = settings.Take("config");
  const base::JsonValue models = settings.Take("models");
  RETURN_IF_ERROR(settings.Finish());
  if (!IsModelName(id)) return entry.Get("provider_id").Error("required, and a plain name");
  const bool taken = id == kInlineProviderId || Find(id).ok();
  if (taken) return entry.Get("provider_id").Error("is taken");
  if (type.empty()) return entry.Get("provider_type").Error("required");
  auto provider = backends::OpenProvider(type, {.id = id, .settings = config});
  if (!provider.ok()) {
    // Complaints about settings carry their path already.
    const bool about_type = provider.status().message().find("provider_type: ") == 0;
    return about_type ? base::Annotate(provider.status(), entry.path()) : provider.status();
  }
  providers_.push_back(*std::move(provider));
  if (models.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(models.ExpectArray());
  if (models.size() + models_.size() > kModelsMax) return models.Error("more than 256 models");
  for (size_t i = 0; i < models.size(); ++i) RETURN_IF_ERROR(AddModel(models.At(i), id));
  return absl::OkStatus();
}

// "the/model", or {name, provider_model_id, aliases, config}.
absl::Status ProviderSet::AddModel(const base::JsonValue& entry, const std::string& provider_id) {
  ProvidedModel model;
  model.provider_id = provider_id;
  if (entry.is_string()) {
    ASSIGN_OR_RETURN(model.name, entry.AsString());
    model.provider_model_id = model.name;
  } else {
    RETURN_IF_ERROR(entry.ExpectObject());
    backends::Settings settings(entry);
    settings.Read("name", &model.name);
    settings.Read("provider_model_id", &model.provider_model_id);
    settings.Read("aliases", &model.aliases);
    const base::JsonValue config = settings.Take("config");
    RETURN_IF_ERROR(settings.Finish());
    if (!config.missing()) {
      RETURN_IF_ERROR(config.ExpectObject());
      model.config_json = config.ToJson();
    }
    if (model.provider_model_id.empty()) model.provider_model_id = model.name;
    if (model.name.empty()) model.name = model.provider_model_id;
  }
  if (!IsModelName(model.name)) return entry.Error("is no model name; give it a name");
  models_.push_back(std::move(model));
  return absl::OkStatus();
}

absl::StatusOr<backends::Provider*> ProviderSet::Find(std::string_view id) const {
  const auto found = std::find_if(providers_.begin(), providers_.end(),
                                  [&](const auto& provider) { return provider->id() == id; });
  if (found != providers_.end()) return found->get();
  return base::WithParam(
      base::NotFound(absl::StrCat("provider_id: there is no provider \"", std::string(id), "\"")),
      "provider_id");
}

}  // namespace conclave::worker
