#include "gateway/dialects/openai/errors.h"

#include <string_view>

#include "base/json.h"
#include "gateway/dialects/openai/answer.h"
#include "gateway/dialects/openai/kt_legacy.h"

namespace conclave::gateway::openai {
namespace {

std::string_view TypeOf(int http_status) {
  switch (http_status) {
    case 403:
      return "permission_error";
    case 409:
      return "conflict_error";
    case 429:
      return "rate_limit_error";
    case 501:
      return "not_supported_error";
    case 503:
      return "unavailable_error";
    default:
      return http_status >= 500 ? "server_error" : "invalid_request_error";
  }
}

}  // namespace

std::string ErrorJson(const ErrorInfo& error) {
  if (error.profile == CompatProfile::kKtLegacy && error.http_status == 400) {
    return FlatErrorJson(error);
  }
  base::JsonWriter json;
  json.BeginObject();
  json.Key("error");
  json.BeginObject();
  json.Field("message", error.message);
  json.Field("type", TypeOf(error.http_status));
  TextOrNull(json, "param", !error.param.empty(), error.param);
  TextOrNull(json, "code", !error.reason.empty(), error.reason);
  json.EndObject();
  json.EndObject();
  return json.Take();
}

}  // namespace conclave::gateway::openai
