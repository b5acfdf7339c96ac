// Registering and removing models at run time, for the dialects that name a provider and the model
// as the provider calls it.
#pragma once

#include <map>
#include <string>

#include "gateway/dialects/generation.h"

namespace conclave::gateway {

// The provider whose models are the workers' own.
inline constexpr std::string_view kInlineProvider = "conclave";
inline constexpr std::string_view kInlineProviderType = "inline::conclave";

std::string ProviderIdOf(const v1::ModelStatus& model);
// As the provider calls it.
std::string ProviderModelIdOf(const v1::ModelStatus& model);

struct WantedModel {
  std::string name;
  std::string provider_id;        // empty = the workers themselves
  std::string provider_model_id;  // empty = `name`
  std::string model_type;         // "llm", "embedding"; empty = llm
  std::string config_json;
  std::map<std::string, std::string> metadata;
};

// OK as well when the very same is there already. Of the workers' own models, another name for one
// that is served. INVALID_ARGUMENT "Provider `x` not found"; else what the store says;
// UNIMPLEMENTED without one.
Task<absl::Status> RegisterModelOf(const Services& services, Exchange& exchange,
                                   WantedModel wanted);
// By name or alias. NOT_FOUND, PERMISSION_DENIED when it is the workers' own configuration's.
Task<absl::Status> RemoveModel(const Services& services, Exchange& exchange, std::string name);

// Every provider, or the one that is named. NOT_FOUND.
Task<absl::StatusOr<v1::ListProvidersReply>> AskProviders(const Services& services,
                                                          Exchange& exchange, std::string id);

}  // namespace conclave::gateway
