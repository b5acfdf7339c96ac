#include "gateway/dialects/ollama/names.h"

#include "gateway/http/ascii.h"

namespace conclave::gateway::ollama {
namespace {

constexpr std::string_view kLatest = ":latest";

std::string Normal(std::string_view name) { return Untagged(Lowercase(name)); }

}  // namespace

std::string Untagged(std::string_view name) {
  if (name.size() > kLatest.size() && name.substr(name.size() - kLatest.size()) == kLatest) {
    name.remove_suffix(kLatest.size());
  }
  return std::string(name);
}

std::string Tagged(std::string_view name) {
  const size_t slash = name.rfind('/');
  const size_t from = slash == std::string_view::npos ? 0 : slash;
  const bool has_tag = name.find(':', from) != std::string_view::npos;
  return std::string(name) + (has_tag ? "" : std::string(kLatest));
}

absl::StatusOr<std::string> ResolveModel(const ModelDirectory& models, const std::string& name) {
  if (const auto exact = models.Find(name); exact.ok()) return exact->name();
  const std::string wanted = Normal(name);
  for (const v1::ModelStatus& model : models.List()) {
    if (Normal(model.name()) == wanted) return model.name();
    for (const std::string& alias : model.aliases()) {
      if (Normal(alias) == wanted) return model.name();
    }
  }
  return base::WithReason(base::NotFound("model '" + name + "' not found"), "model_not_found");
}

}  // namespace conclave::gateway::ollama
