#include "support/error_forms.h"

#include <set>
#include <vector>

#include "catch2/catch.hpp"
#include "gateway/dialects/ai_backend/errors.h"
#include "gateway/dialects/anthropic/errors.h"
#include "gateway/dialects/llama_stack/errors.h"
#include "gateway/dialects/ollama/errors.h"
#include "gateway/dialects/openai/errors.h"
#include "support/gateway_harness.h"

namespace conclave::gateway {

using base::JsonDocument;
using base::JsonValue;

JsonDocument Parsed(const std::string& body) {
  auto document = JsonDocument::Parse(body);
  INFO("not JSON: " << body);
  REQUIRE(document.ok());
  return *std::move(document);
}

namespace {

void CheckOpenAi(JsonValue body) {
  const JsonValue error = body.Get("error");
  CHECK(body.size() == 1);
  CHECK(error.size() == 4);
  CHECK_FALSE(error.Get("message").AsString().value_or("").empty());
  CHECK(error.Get("type").is_string());
  CHECK(error.Get("param").present());
  CHECK(error.Get("code").present());
}

void CheckOllama(JsonValue body) {
  CHECK(body.size() == 1);
  CHECK_FALSE(body.Get("error").AsString().value_or("").empty());
}

void CheckAnthropic(JsonValue body) {
  static const std::set<std::string> kTypes = {
      "invalid_request_error", "authentication_error", "permission_error",
      "not_found_error",       "request_too_large",    "rate_limit_error",
      "overloaded_error",      "timeout_error",        "api_error"};
  CHECK(body.Get("type").AsString().value_or("") == "error");
  CHECK(kTypes.contains(body.Get("error").Get("type").AsString().value_or("")));
  CHECK_FALSE(body.Get("error").Get("message").AsString().value_or("").empty());
  CHECK_FALSE(body.Get("request_id").AsString().value_or("").empty());
}

// The text under both keys, or where a field is at fault its place.
void CheckLlamaStack(JsonValue body) {
  const JsonValue error = body.Get("error");
  CHECK(body.size() == 2);
  CHECK(error.size() == 2);
  CHECK_FALSE(error.Get("message").AsString().value_or("").empty());
  const JsonValue detail = body.Get("detail");
  CHECK(detail.ToJson() == error.Get("detail").ToJson());
  if (detail.is_string()) return;
  const JsonValue place = detail.Get("errors").At(0);
  CHECK(place.Get("loc").At(0).AsString().value_or("") == "body");
  CHECK(place.Get("loc").size() > 1);
  CHECK_FALSE(place.Get("msg").AsString().value_or("").empty());
  CHECK(place.Get("type").is_string());
}

// Its own errors are a text; those of a model that generates are the OpenAI dialect's.
void CheckAiBackend(JsonValue body) {
  if (body.Get("error").is_string()) return CheckOllama(body);
  CheckOpenAi(body);
}

// How a broken stream ends: with an error in the dialect's form, and without its end.
void CheckBrokenSse(const std::string& body, const std::string& end_mark) {
  CHECK(body.find(end_mark) == std::string::npos);
  const std::vector<std::string> data = SseData(body);
  REQUIRE_FALSE(data.empty());
  CheckOpenAi(Parsed(data.back()).root());
}
void CheckBrokenOpenAi(const std::string& body) { CheckBrokenSse(body, "[DONE]"); }
void CheckBrokenAnthropic(const std::string& body) {
  CHECK(body.find("message_stop") == std::string::npos);
  CHECK(body.find("event: error\n") != std::string::npos);
  CheckAnthropic(Parsed(SseData(body).back()).root());
}
void CheckBrokenOllama(const std::string& body) {
  CHECK(body.find("\"done\":true") == std::string::npos);
  const std::string lines = body.substr(0, body.size() - 1);
  CHECK(body.back() == '\n');
  CheckOllama(Parsed(lines.substr(lines.rfind('\n') + 1)).root());
}
void CheckBrokenLlamaStack(const std::string& body) {
  CHECK(body.find("\"complete\"") == std::string::npos);
  CHECK(body.find("\"stop_reason\":\"") == std::string::npos);
  CHECK(body.find("[DONE]") == std::string::npos);
  const std::vector<std::string> data = SseData(body);
  REQUIRE_FALSE(data.empty());
  const JsonDocument last = Parsed(data.back());
  CHECK(last.root().size() == 1);
  CHECK_FALSE(last.root().Get("error").Get("message").AsString().value_or("").empty());
}

const ErrorForm kForms[] = {
    {openai::ErrorJson, CheckOpenAi, CheckBrokenOpenAi},
    {ollama::ErrorJson, CheckOllama, CheckBrokenOllama},
    {anthropic::ErrorJson, CheckAnthropic, CheckBrokenAnthropic},
    {llama_stack::ErrorJson, CheckLlamaStack, CheckBrokenLlamaStack},
    {ai_backend::ErrorJson, CheckAiBackend, CheckBrokenOpenAi},
};

}  // namespace

const ErrorForm& FormOf(const Router& router, std::string_view method, std::string_view path) {
  for (const ErrorForm& form : kForms) {
    if (router.error_family(method, path).body == form.body) return form;
  }
  FAIL("no row in kForms for the errors of " << path);
  return kForms[0];
}

bool IsRegistration(const Endpoint& endpoint) {
  return endpoint.method == "POST" &&
         (endpoint.path == "/v1/models" || endpoint.path == "/models/register" ||
          endpoint.path == "/models/unregister" || endpoint.path.substr(0, 14) == "/alpha/models/");
}

const ErrorForm& FormOf(const Router& router, const Endpoint& endpoint) {
  return FormOf(router, endpoint.method, endpoint.path);
}

}  // namespace conclave::gateway
