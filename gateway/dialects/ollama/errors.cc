#include "gateway/dialects/ollama/errors.h"

#include "base/json.h"

namespace conclave::gateway::ollama {

std::string ErrorJson(const ErrorInfo& error) {
  base::JsonWriter json;
  json.BeginObject();
  json.Field("error", error.message);
  json.EndObject();
  return json.Take();
}

}  // namespace conclave::gateway::ollama
