// tests/e2e/test_openapi.py holds the document against the specification of OpenAPI 3.1.
#include "gateway/dialects/openapi.h"

#include <set>
#include <string>

#include "base/json.h"
#include "catch2/catch.hpp"
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
  CHECK(Text(fields.Get("functions").Get("x-treatment")) == "refused");
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
  CHECK(paths.Get("/livez").Get("get").Get("security").is_array());
  CHECK_FALSE(paths.Get("/metrics").Get("get").Get("security").present());
}

}  // namespace conclave::gateway
