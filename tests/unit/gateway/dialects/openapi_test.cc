// tests/e2e/test_openapi.py holds the document against the specification of OpenAPI 3.1.
#include "gateway/dialects/openapi.h"

#include <set>
#include <string>

#include "base/json.h"
#include "catch2/catch.hpp"
#include "gateway/dialects/answer_fields.h"
#include "support/endpoint_probe.h"

namespace conclave::gateway {
namespace {

using base::JsonDocument;
using base::JsonValue;

JsonDocument Document(const Harness& harness) {
  auto document = JsonDocument::Parse(OpenApiJson(harness.router, "1.2.3"));
  INFO(document.status().ToString());
  REQUIRE(document.ok());
  return *std::move(document);
}

std::string Text(JsonValue value) { return value.AsString().value_or("(no text)"); }

}  // namespace

TEST_CASE("every served route is an operation, under every path it has") {
  const Harness harness;
  const JsonDocument document = Document(harness);
  const JsonValue paths = document.root().Get("paths");
  for (const char* const path : {"/v1/chat/completions", "/chat/completions", "/api/chat",
                                 "/v1/messages", "/v2/rerank", "/tokenize"}) {
    INFO(path);
    CHECK(paths.Get(path).Get("post").is_object());
  }
  CHECK(paths.Get("/v1/models/{model}").Get("get").is_object());
  CHECK(paths.Get("/v1/threads/{thread}").Get("delete").is_object());
  CHECK_FALSE(paths.Get("/v1/images").present());
  CHECK(document.root().Get("x-not-served").ToJson().find("\"/images\"") != std::string::npos);
}

TEST_CASE("a body's schema has the rows of its table") {
  const Harness harness;
  const JsonDocument document = Document(harness);
  const JsonValue root = document.root();
  const JsonValue body =
      root.Get("paths").Get("/chat/completions").Get("post").Get("requestBody").Get("content");
  CHECK(Text(body.Get("application/json").Get("schema").Get("$ref")) ==
        "#/components/schemas/post_chat_completions");
  const JsonValue chat = root.Get("components").Get("schemas").Get("post_chat_completions");
  CHECK(chat.Get("required").ToJson() == R"(["model","messages"])");
  const JsonValue fields = chat.Get("properties");
  CHECK(fields.Get("temperature").Get("maximum").AsNumber().value() == 2);
  CHECK(Text(fields.Get("temperature").Get("x-treatment")) == "honoured");
  CHECK(Text(fields.Get("mirostat").Get("x-treatment")) == "refused");
  const JsonValue usage = fields.Get("stream_options").Get("properties").Get("include_usage");
  CHECK(Text(usage.Get("type")) == "boolean");
  CHECK(fields.Get("messages").Get("items").Get("properties").Get("name").present());
  const JsonValue run = root.Get("components").Get("schemas").Get("post_threads_thread_runs");
  CHECK(run.Get("additionalProperties").AsBool().value() == false);
}

TEST_CASE(
    "operations have ids of their own, errors of their family, and say whether they are open") {
  const Harness harness;
  const JsonDocument document = Document(harness);
  std::set<std::string> ids;
  document.root().Get("paths").ForEachMember([&](std::string_view path, JsonValue item) {
    item.ForEachMember([&](std::string_view, JsonValue operation) {
      INFO(path);
      CHECK(ids.insert(Text(operation.Get("operationId"))).second);
      const std::string ref = Text(operation.Get("responses").Get("4XX").Get("$ref"));
      const JsonValue known = document.root().Get("components").Get("responses");
      CHECK(known.Get(ref.substr(ref.rfind('/') + 1)).is_object());
    });
  });
  const JsonValue paths = document.root().Get("paths");
  const JsonValue query = paths.Get("/models/get").Get("get").Get("parameters");
  CHECK(Text(query.At(0).Get("name")) == "identifier");
  CHECK(query.At(0).Get("required").AsBool().value() == true);
  CHECK_FALSE(query.At(1).Get("required").present());
  const auto error_of = [&](const char* method) {
    return Text(paths.Get("/v1/models").Get(method).Get("responses").Get("4XX").Get("$ref"));
  };
  CHECK(error_of("post") != error_of("get"));
  CHECK(paths.Get("/livez").Get("get").Get("security").is_array());
  CHECK_FALSE(paths.Get("/metrics").Get("get").Get("security").present());
}

TEST_CASE("answers have the members that their schemas promise") {
  const auto is = [](JsonValue value, std::string_view type) {
    if (type == "string") return value.is_string();
    if (type == "integer") return value.AsInt().ok();
    if (type == "boolean") return value.is_bool();
    if (type == "array") return value.is_array();
    return type == "object" && value.is_object();
  };
  size_t asked = 0;
  ForEachEndpoint([&](const Endpoint& endpoint) {
    std::string_view fields = AnswerFieldsOf(endpoint.method, endpoint.path);
    if (fields.empty()) return;
    ++asked;
    const Outcome outcome = SendTo(endpoint, std::string(endpoint.body));
    INFO(outcome.all);
    CHECK(outcome.status == 200);
    const auto document = JsonDocument::Parse(outcome.body);
    REQUIRE(document.ok());
    while (!fields.empty()) {
      const std::string_view field = fields.substr(0, fields.find(' '));
      fields.remove_prefix(std::min(fields.size(), field.size() + 1));
      const size_t colon = field.find(':');
      INFO("field " << field);
      CHECK(is(document->root().Get(field.substr(0, colon)), field.substr(colon + 1)));
    }
  });
  CHECK(asked == AllAnswerFields().size());
}

TEST_CASE("a path that is another endpoint with /v1 than without has two schemas") {
  const Harness harness;
  const JsonDocument document = Document(harness);
  const JsonValue schemas = document.root().Get("components").Get("schemas");
  CHECK(schemas.Get("post_inference_completion").Get("properties").Get("model").present());
  CHECK(schemas.Get("post_v1_inference_completion").Get("properties").Get("model_id").present());
  const JsonValue old = document.root().Get("paths").Get("/inference/completion").Get("post");
  CHECK(Text(old.Get("requestBody")
                 .Get("content")
                 .Get("application/json")
                 .Get("schema")
                 .Get("$ref")) == "#/components/schemas/post_inference_completion");
}

}  // namespace conclave::gateway
