#include "gateway/dialects/llama_stack/errors.h"

#include <charconv>
#include <string_view>

#include "base/json.h"

namespace conclave::gateway::llama_stack {
namespace {

using base::JsonWriter;

// What the servers put in front of an exception's own words.
std::string_view Preamble(int http_status) {
  switch (http_status) {
    case 400:
      return "Invalid value: ";
    case 401:
      return "Authentication required: ";
    case 403:
      return "Permission denied: ";
    case 501:
      return "Not implemented: ";
    case 504:
      return "Operation timed out: ";
    default:
      return "";
  }
}

std::string TextOf(const ErrorInfo& error) {
  return std::string(Preamble(error.http_status)) + error.message;
}

// "messages[2].content" → ["body","messages",2,"content"], as pydantic writes a place.
void WriteLocation(JsonWriter& json, std::string_view path) {
  json.BeginArray();
  json.String("body");
  while (!path.empty()) {
    const size_t end = path.find_first_of(".[]");
    const std::string_view step = path.substr(0, end);
    int64_t index = 0;
    const auto number = std::from_chars(step.data(), step.data() + step.size(), index);
    if (number.ec == std::errc() && number.ptr == step.data() + step.size()) {
      json.Int(index);
    } else if (!step.empty()) {
      json.String(step);
    }
    path.remove_prefix(end == std::string_view::npos ? path.size() : end + 1);
  }
  json.EndArray();
}

bool IsValidation(const ErrorInfo& error) {
  return error.http_status == 400 && !error.param.empty();
}

void WriteDetail(JsonWriter& json, const ErrorInfo& error) {
  if (!IsValidation(error)) return json.String(TextOf(error));
  std::string_view what = error.message;
  const std::string named = error.param + ": ";
  if (what.substr(0, named.size()) == named) what.remove_prefix(named.size());
  json.BeginObject();
  json.Key("errors");
  json.BeginArray();
  json.BeginObject();
  json.Key("loc");
  WriteLocation(json, error.param);
  json.Field("msg", what);
  json.Field("type", what == "required" ? "missing" : "value_error");
  json.EndObject();
  json.EndArray();
  json.EndObject();
}

}  // namespace

std::string ErrorJson(const ErrorInfo& error) {
  JsonWriter json;
  json.BeginObject();
  json.Key("error");
  json.BeginObject();
  json.Key("detail");
  WriteDetail(json, error);
  json.Field("message", TextOf(error));
  json.EndObject();
  json.Key("detail");
  WriteDetail(json, error);
  json.EndObject();
  return json.Take();
}

std::string StreamErrorJson(const ErrorInfo& error) {
  JsonWriter json;
  json.BeginObject();
  json.Key("error");
  json.BeginObject();
  json.Field("message", TextOf(error));
  json.EndObject();
  json.EndObject();
  return json.Take();
}

}  // namespace conclave::gateway::llama_stack
