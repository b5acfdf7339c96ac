#include "gateway/http/router.h"

#include <string>

#include "catch2/catch.hpp"

namespace conclave::gateway {
namespace {

Handler Nothing() {
  return [](Exchange&) -> Task<void> { co_return; };
}

std::string PatternOf(const Router& router, const std::string& method, const std::string& path) {
  const Router::Match match = router.Find(method, path);
  return match.route == nullptr ? "" : match.route->pattern;
}

std::string Default(const ErrorInfo&) { return "default"; }
std::string Api(const ErrorInfo&) { return "api"; }

}  // namespace

TEST_CASE("literals win over parameters, those over greedy ones") {
  Router router;
  router.Add("GET", "/models/{model...}", Nothing());
  router.Add("GET", "/models/list", Nothing());
  router.Add("GET", "/models/{id}/logs", Nothing());
  CHECK(PatternOf(router, "GET", "/models/list") == "/models/list");
  CHECK(PatternOf(router, "GET", "/models/a") == "/models/{model...}");
  CHECK(PatternOf(router, "GET", "/models/a/b:c") == "/models/{model...}");
  CHECK(PatternOf(router, "GET", "/models/a/logs") == "/models/{id}/logs");
  CHECK(PatternOf(router, "GET", "/models").empty());
  CHECK(router.Find("GET", "/models/org/name").params[0].second == "org/name");
}

TEST_CASE("a literal with another method does not hide a greedy match") {
  Router router;
  router.Add("DELETE", "/models/{model...}", Nothing());
  router.Add("GET", "/models/list", Nothing());
  CHECK(PatternOf(router, "DELETE", "/models/list") == "/models/{model...}");
  CHECK(router.Find("PUT", "/models/list").allowed == std::vector<std::string>{"DELETE", "GET"});
}

TEST_CASE("a trailing slash changes nothing, an empty segment does") {
  Router router;
  router.Add("GET", "/", Nothing());
  router.Add("GET", "/v1/threads/{t}/runs/{r}", Nothing());
  CHECK(PatternOf(router, "GET", "/v1/threads/a/runs/b/") == "/v1/threads/{t}/runs/{r}");
  CHECK(PatternOf(router, "GET", "/") == "/");
  CHECK(PatternOf(router, "GET", "/v1/threads//runs/b").empty());
  const Router::Match match = router.Find("GET", "/v1/threads/a%2Fb/runs/r");
  REQUIRE(match.params.size() == 2);
  CHECK(match.params[0] == std::pair<std::string, std::string>("t", "a/b"));
  CHECK(match.params[1] == std::pair<std::string, std::string>("r", "r"));
  CHECK(router.Find("GET", "/v1/threads/a%zz/runs/r").bad_escape);
}

TEST_CASE("HEAD finds GET, other methods are told what is allowed") {
  Router router;
  router.Add("GET", "/a", Nothing());
  router.Add("POST", "/a", Nothing());
  CHECK(PatternOf(router, "HEAD", "/a") == "/a");
  const Router::Match match = router.Find("post", "/a");
  CHECK(match.route == nullptr);
  CHECK(match.allowed == std::vector<std::string>{"GET", "POST"});
  CHECK(router.Find("GET", "/b").allowed.empty());
}

TEST_CASE("the longest prefix names the error family") {
  Router router;
  router.SetErrorFamily("", Default);
  router.SetErrorFamily("/api", Api);
  CHECK(router.error_family("GET", "/v1/x").body({}) == "default");
  CHECK(router.error_family("GET", "/api/x").body({}) == "api");
  CHECK(router.error_family("GET", "/api").body({}) == "api");
  CHECK(router.error_family("GET", "/apix").body({}) == "default");
  router.SetErrorFamilyOf("POST", "/v1/x", router.error_family("GET", "/api"));
  CHECK(router.error_family("POST", "/v1/x").body({}) == "api");
  CHECK(router.error_family("POST", "/v1/x/").body({}) == "api");
  CHECK(router.error_family("POST", "/v1/x/y").body({}) == "default");
  CHECK(router.error_family("GET", "/v1/x").body({}) == "default");
}

}  // namespace conclave::gateway
