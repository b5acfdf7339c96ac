// Registering and removing models, for every dialect that has a way to say it, and the providers
// that models are registered at.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "gateway/dialects/generation.h"

namespace conclave::gateway {

// The provider whose models are the workers' own.
inline constexpr std::string_view kInlineProvider = "conclave";
inline constexpr std::string_view kInlineProviderType = "inline::conclave";

std::string ProviderIdOf(const v1::ModelStatus& model);
// As the provider calls it.
std::string ProviderModelIdOf(const v1::ModelStatus& model);

// Every provider, or the one that is named. NOT_FOUND.
Task<absl::StatusOr<v1::ListProvidersReply>> AskProviders(const Services& services,
                                                          Exchange& exchange, std::string id);

// Every model as its workers have it at this moment, not as they last reported by themselves: for
// routes that tell what is in memory, so that whoever was told "loaded" sees it at every gateway.
Task<std::vector<v1::ModelStatus>> ModelsNow(const Services& services, Exchange& exchange);

// For routes that change which models there are. `any_content_type`: Ollama's clients send none.
RouteOptions AdminRoute(bool any_content_type = false);

// UNIMPLEMENTED without a store, which keeps what is registered. Else what the store says.
Task<absl::StatusOr<v1::ModelRegistration>> RegisterModel(const Services& services,
                                                          Exchange& exchange,
                                                          v1::RegisterModelRequest request);

struct WantedModel {
  std::string name;
  std::string provider_id;        // empty = the workers themselves
  std::string provider_model_id;  // empty = `name`
  std::string model_type;         // "llm", "embedding"; empty = llm
  std::string config_json;
  std::map<std::string, std::string> metadata;
};

// For dialects that name a provider and the model as the provider calls it. OK as well when the
// very same is there already. Of the workers' own models, another name for one that is served.
// INVALID_ARGUMENT "Provider `x` not found".
Task<absl::Status> RegisterModelOf(const Services& services, Exchange& exchange,
                                   WantedModel wanted);

// By name or alias. NOT_FOUND; PERMISSION_DENIED: it is there by the workers' own configuration.
Task<absl::StatusOr<v1::DeleteReply>> UnregisterModel(const Services& services, Exchange& exchange,
                                                      std::string name);

// What an object says in advance of a model: system, template, parameters (an object), messages
// [{role, content}], license (a string, or several). Nothing is set for what is absent.
absl::Status ReadDerived(base::JsonValue root, v1::DerivedModel* derived);

// "level", "msg" and "fields" of an entry of a model's log, the fields by name.
void WriteLogEntry(base::JsonWriter& json, const v1::LogEntry& entry);

}  // namespace conclave::gateway
