// Holds every row of every dialect's tables against the route itself: what is honoured changes the
// call to a worker or the answer, what is refused is refused by name, what is ignored changes
// nothing at all.
#include "gateway/dialects/coverage.h"

#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "base/json.h"
#include "catch2/catch.hpp"
#include "gateway/dialects/bare_path.h"
#include "gateway/dialects/coverage_text.h"
#include "support/endpoint_probe.h"
#include "support/gateway_harness.h"

namespace conclave::gateway {
namespace {

using base::JsonDocument;
using base::JsonValue;

void CheckRow(const Parameter& row, const Outcome& without, const Outcome& with) {
  INFO("without it: " << without.all);
  INFO("with it:    " << with.all);
  switch (row.treatment) {
    case Treatment::kHonoured:
    case Treatment::kIfModelCan:
      CHECK_FALSE(with.refused());
      CHECK_FALSE(with == without);
      break;
    case Treatment::kRefused:
      CHECK(with.refused());
      CHECK(with.Names(row.name));
      break;
    case Treatment::kIgnored:
      CHECK(with == without);
      break;
  }
}

// The twins of a route are one endpoint.
std::string Bare(std::string_view path) { return std::string(BarePath(path)); }

}  // namespace

TEST_CASE("every parameter of every body is treated as its row says") {
  ForEachEndpoint([](const Endpoint& endpoint) {
    for (const Parameter& row : endpoint.parameters) {
      INFO("parameter " << row.name);
      const std::string base = BodyFor(endpoint, row);
      const std::string body = WithField(base, row.name, row.sample);
      INFO("body " << body);
      const Outcome without = SendTo(endpoint, base);
      CHECK_FALSE(without.refused());
      CheckRow(row, without, SendTo(endpoint, body));
      if (!row.required) continue;
      const Outcome missing = SendTo(endpoint, WithField(base, row.name, ""));
      INFO("when it is missing: " << missing.all);
      CHECK(missing.refused());
      CHECK(missing.Names(row.name));
    }
  });
}

TEST_CASE("every parameter of every query is treated as its row says") {
  ForEachEndpoint([](const Endpoint& endpoint) {
    const std::string body(endpoint.body);
    for (const Parameter& row : endpoint.query) {
      INFO("parameter " << row.name);
      const std::string others = QueryOf(endpoint, row.name);
      const std::string query = others + (others.empty() ? "?" : "&") + std::string(row.name) +
                                "=" + std::string(row.sample);
      const Outcome without = SendTo(endpoint, body, others);
      CheckRow(row, without, SendTo(endpoint, body, query));
      if (!row.required) continue;
      CHECK(without.refused());
      CHECK(without.Names(row.name));
    }
  });
}

TEST_CASE("a field nobody knows is ignored, or refused where the API says so") {
  ForEachEndpoint([](const Endpoint& endpoint) {
    if (endpoint.body.empty()) return;
    const std::string body(endpoint.body);
    const Outcome with = SendTo(endpoint, WithField(body, "no_such_field", R"({"a":[1]})"));
    INFO(with.all);
    CHECK(with.refused() == endpoint.refuses_unknown);
    if (!endpoint.refuses_unknown) CHECK(with == SendTo(endpoint, body));
  });
}

TEST_CASE("what one endpoint reads and another does not list, the other does not read") {
  std::map<std::string, std::string> samples;  // of every field there is, by name
  ForEachEndpoint([&](const Endpoint& endpoint) {
    for (const Parameter& row : endpoint.parameters) {
      if (StepsOf(row.name).size() == 1) samples.emplace(StepsOf(row.name).front(), row.sample);
    }
  });
  ForEachEndpoint([&](const Endpoint& endpoint) {
    if (endpoint.body.empty() || endpoint.refuses_unknown) return;
    std::set<std::string> listed;
    for (const Parameter& row : endpoint.parameters) listed.insert(StepsOf(row.name).front());
    const Outcome without = SendTo(endpoint, std::string(endpoint.body));
    for (const auto& [name, sample] : samples) {
      if (listed.contains(name)) continue;
      INFO("parameter " << name << ": " << sample);
      const Outcome with = SendTo(endpoint, WithField(std::string(endpoint.body), name, sample));
      INFO(with.all);
      CHECK(with == without);
    }
  });
}

TEST_CASE("every route has a row, and every row has its route") {
  const Harness harness;
  std::set<std::string> rows;
  std::set<std::string> apart;  // what is another endpoint with /v1 than without
  std::set<std::string> unserved;
  for (const Dialect& dialect : AllDialects()) {
    const Coverage coverage = dialect.coverage();
    for (const Endpoint& endpoint : coverage.endpoints) {
      const std::string whole = std::string(endpoint.method) + " " + std::string(endpoint.path);
      if (endpoint.has_no_twin) apart.insert(whole);
      const std::string row =
          endpoint.has_no_twin ? whole : std::string(endpoint.method) + " " + Bare(endpoint.path);
      INFO(dialect.name << ": " << row);
      CHECK(rows.insert(row).second);
    }
    for (const Unserved& family : coverage.unserved) unserved.insert(Bare(family.path));
  }
  std::set<std::string> routes;
  for (const Route* route : harness.router.routes()) {
    const std::string path = Bare(route->pattern);
    const std::string family = path.substr(0, path.find("/{rest...}"));
    const bool served = !unserved.contains(path) && !unserved.contains(family);
    const std::string whole = route->method + " " + route->pattern;
    if (served) routes.insert(apart.contains(whole) ? whole : route->method + " " + path);
  }
  CHECK(rows == routes);
}

TEST_CASE("what is not served is refused with the status of its row") {
  Harness harness;
  for (const Dialect& dialect : AllDialects()) {
    for (const Unserved& family : dialect.coverage().unserved) {
      INFO(dialect.name << ": " << family.path);
      const std::string path = TargetOf(family.path);
      for (const char* const method : {"GET", "POST", "DELETE", "HEAD"}) {
        if (harness.router.Find(method, path).route == nullptr) continue;
        CHECK(harness.Call(method, path, "{}").response.status == family.status);
      }
    }
  }
}

TEST_CASE("docs/coverage.md is what the tables say") {
  std::ifstream file(CONCLAVE_SOURCE_DIR "/docs/coverage.md", std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  INFO("conclave-gateway --print-coverage > docs/coverage.md");
  CHECK(text.str() == CoverageMarkdown());
}

TEST_CASE("capabilities are one JSON document with every endpoint and model in it") {
  Harness harness;
  const std::string body = harness.Call("GET", "/v1/capabilities").response.body;
  const auto document = JsonDocument::Parse(body);
  REQUIRE(document.ok());
  CHECK(document->root().Get("dialects").size() == AllDialects().size());
  const JsonValue teacher = document->root().Get("models").At(0);
  CHECK(teacher.Get("id").AsString().value() == "teacher");
  CHECK(teacher.Get("capabilities").ToJson() == R"(["completion","tools","thinking"])");
  const JsonValue chat = document->root().Get("dialects").At(0).Get("endpoints").At(0);
  CHECK(chat.Get("path").AsString().value() == "/v1/chat/completions");
  CHECK(chat.Get("parameters").At(0).Get("treatment").AsString().value() == "honoured");
}

}  // namespace conclave::gateway
