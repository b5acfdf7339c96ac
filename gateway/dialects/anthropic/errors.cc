#include "gateway/dialects/anthropic/errors.h"

#include <string_view>

#include "base/json.h"

namespace conclave::gateway::anthropic {
namespace {

std::string_view TypeOf(int http_status) {
  switch (http_status) {
    case 401:
      return "authentication_error";
    case 403:
      return "permission_error";
    case 404:
      return "not_found_error";
    case 413:
      return "request_too_large";
    case 429:
      return "rate_limit_error";
    case 503:
      return "overloaded_error";
    case 504:
      return "timeout_error";
    default:
      return http_status >= 500 ? "api_error" : "invalid_request_error";
  }
}

}  // namespace

std::string ErrorJson(const ErrorInfo& error) {
  base::JsonWriter json;
  json.BeginObject();
  json.Field("type", "error");
  json.Key("error");
  json.BeginObject();
  json.Field("type", TypeOf(error.http_status));
  json.Field("message", error.message);
  if (!error.reason.empty()) {
    json.Key("details");
    json.BeginObject();
    json.Field("error_code", error.reason);
    json.EndObject();
  }
  json.EndObject();
  json.Field("request_id", error.request_id);
  json.EndObject();
  return json.Take();
}

}  // namespace conclave::gateway::anthropic
