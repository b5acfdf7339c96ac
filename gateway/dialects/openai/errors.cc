#include "gateway/dialects/openai/errors.h"

#include <string_view>

#include "base/json.h"

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
  base::JsonWriter json;
  const auto text_or_null = [&json](std::string_view key, const std::string& text) {
    if (text.empty()) {
      json.NullField(key);
    } else {
      json.Field(key, text);
    }
  };
  json.BeginObject();
  json.Key("error");
  json.BeginObject();
  json.Field("message", error.message);
  json.Field("type", TypeOf(error.http_status));
  text_or_null("param", error.param);
  text_or_null("code", error.reason);
  json.EndObject();
  json.EndObject();
  return json.Take();
}

}  // namespace conclave::gateway::openai
