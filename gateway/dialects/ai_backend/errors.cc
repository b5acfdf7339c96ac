#include "gateway/dialects/ai_backend/errors.h"

#include "base/json.h"

namespace conclave::gateway::ai_backend {

std::string ErrorJson(const ErrorInfo& error) {
  base::JsonWriter json;
  json.BeginObject();
  json.Field("error", error.message);
  json.EndObject();
  return json.Take();
}

}  // namespace conclave::gateway::ai_backend
