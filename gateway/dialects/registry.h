// Registering and removing models, for every dialect that has a way to say it.
#pragma once

#include <string>

#include "base/json.h"
#include "gateway/dialects/generation.h"

namespace conclave::gateway {

// For routes that change which models there are. `any_content_type`: Ollama's clients send none.
RouteOptions AdminRoute(bool any_content_type = false);

// UNIMPLEMENTED without a store, which keeps what is registered. Else what the store says.
Task<absl::StatusOr<v1::ModelRegistration>> RegisterModel(const Services& services,
                                                          Exchange& exchange,
                                                          v1::RegisterModelRequest request);
// By the model's own name. PERMISSION_DENIED: it is there by the workers' own configuration.
Task<absl::StatusOr<v1::DeleteReply>> UnregisterModel(const Services& services, Exchange& exchange,
                                                      std::string name);

// What an object says in advance of a model: system, template, parameters (an object), messages
// [{role, content}], license (a string, or several). Nothing is set for what is absent.
absl::Status ReadDerived(base::JsonValue root, v1::DerivedModel* derived);

}  // namespace conclave::gateway
