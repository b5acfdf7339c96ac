// Replays tests/golden/dialects: every request goes over a socket through the real routes to a
// worker with the scripted backend, and every byte of the answer must be the file's.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "catch2/catch.hpp"
#include "conformance/dialect_gateway.h"
#include "conformance/golden_exchange.h"
#include "gateway/dialects/bare_path.h"
#include "gateway/dialects/dialect.h"
#include "support/raw_client.h"

namespace conclave::gateway {
namespace {

namespace fs = std::filesystem;
using base::JsonDocument;
using base::JsonValue;

const fs::path kRoot = fs::path(CONCLAVE_SOURCE_DIR) / "tests/golden/dialects";
const std::string kRequestEnd = ".request.json";

std::string ReadFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

JsonDocument ReadJson(const fs::path& path) {
  auto document = JsonDocument::Parse(ReadFile(path));
  INFO(path.string() << ": " << document.status().ToString());
  REQUIRE(document.ok());
  return *std::move(document);
}

// Paths without their ".request.json", sorted.
std::vector<std::string> Cases(std::string_view dialect) {
  std::vector<std::string> cases;
  for (const auto& entry : fs::directory_iterator(kRoot / dialect)) {
    const std::string path = entry.path().string();
    if (path.size() <= kRequestEnd.size()) continue;
    const size_t stem = path.size() - kRequestEnd.size();
    if (path.substr(stem) == kRequestEnd) cases.push_back(path.substr(0, stem));
  }
  std::sort(cases.begin(), cases.end());
  return cases;
}

Answer Replay(const DialectGateway& gateway, JsonValue request) {
  RawClient client(gateway.port());
  client.Send(RequestBytes(request));
  client.ReadToEnd();
  REQUIRE(client.closed());
  return ParseAnswer(client.received(), request.Get("method").AsString().value() == "HEAD");
}

// Without the prefixes under which a route exists as well: its handler is the same.
std::string Unprefixed(const std::string& pattern) {
  constexpr std::string_view kLayer = "/v1/openai/v1/";
  if (pattern.substr(0, kLayer.size()) == kLayer) return pattern.substr(kLayer.size() - 1);
  return std::string(BarePath(pattern));
}

// The route a request finds, "POST /chat/completions": with and without /v1 it is the same.
std::string RouteOf(const Router& router, JsonValue request) {
  const std::string path = request.Get("path").AsString().value();
  const Router::Match match = router.Find(request.Get("method").AsString().value(),
                                          std::string_view(path).substr(0, path.find('?')));
  if (match.route == nullptr) return "";
  return match.route->method + " " + Unprefixed(match.route->pattern);
}

// Every route a dialect answers itself. A family that is refused as a whole is known by PATCH,
// which no served route has; one case is enough for all of them.
std::set<std::string> ServedRoutes(const Router& router) {
  std::set<std::string> patterns_with_patch;
  for (const Route* route : router.routes()) {
    if (route->method == "PATCH") patterns_with_patch.insert(route->pattern);
  }
  std::set<std::string> served;
  for (const Route* route : router.routes()) {
    if (patterns_with_patch.contains(route->pattern)) continue;
    served.insert(route->method + " " + Unprefixed(route->pattern));
  }
  return served;
}

// What these answer is made from tables or measured: their own tests hold them.
const std::set<std::string> kWithoutGolden = {"GET /capabilities", "GET /openapi.json",
                                              "GET /system-info"};

bool Regenerating() { return std::getenv("CONCLAVE_REGENERATE_GOLDEN") != nullptr; }

}  // namespace

TEST_CASE("every golden exchange is answered byte for byte") {
  for (const Dialect& dialect : AllDialects()) {
    const std::vector<std::string> cases = Cases(dialect.name);
    INFO("dialect " << dialect.name);
    CHECK_FALSE(cases.empty());
    for (const std::string& name : cases) {
      INFO(fs::relative(name, kRoot).string());
      const JsonDocument setup = ReadJson(name + kRequestEnd);
      const DialectGateway gateway(setup.root());
      const Answer answer = Replay(gateway, setup.root().Get("request"));
      const std::string text = AnswerText(answer);
      if (Regenerating()) {
        std::ofstream(name + ".response.json", std::ios::binary) << text;
        continue;
      }
      const std::string expected = ReadFile(name + ".response.json");
      CHECK(text == expected);
      if (text == expected) CHECK(answer.body == BodyOf(ReadJson(name + ".response.json").root()));
    }
  }
}

TEST_CASE("every route has a golden exchange") {
  const JsonDocument empty = *JsonDocument::Parse("{}");
  const DialectGateway gateway(empty.root());
  std::set<std::string> missing = ServedRoutes(gateway.router());
  for (const Dialect& dialect : AllDialects()) {
    for (const std::string& name : Cases(dialect.name)) {
      const JsonDocument setup = ReadJson(name + kRequestEnd);
      missing.erase(RouteOf(gateway.router(), setup.root().Get("request")));
    }
  }
  for (const std::string& route : kWithoutGolden) CHECK(missing.erase(route) == 1);
  std::string report;
  for (const std::string& route : missing) report += "\n  " + route;
  INFO("routes without a case:" << report);
  CHECK(missing.empty());
}

TEST_CASE("every response has its request") {
  for (const auto& entry : fs::recursive_directory_iterator(kRoot)) {
    const std::string path = entry.path().string();
    const std::string end = ".response.json";
    if (path.size() <= end.size() || path.substr(path.size() - end.size()) != end) continue;
    INFO(path);
    CHECK(fs::exists(path.substr(0, path.size() - end.size()) + kRequestEnd));
  }
}

}  // namespace conclave::gateway
