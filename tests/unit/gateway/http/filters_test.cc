#include "gateway/http/filters.h"

#include <string>

#include "catch2/catch.hpp"

namespace conclave::gateway {
namespace {

RequestHead HeadWith(std::vector<HeaderField> fields, std::string host = "localhost:8080") {
  RequestHead head;
  head.method = "POST";
  head.path = "/v1/x";
  head.host = std::move(host);
  head.fields = std::move(fields);
  return head;
}

Filters MakeFilters(const FilterOptions& options) {
  auto filters = Filters::Make(options);
  REQUIRE(filters.ok());
  return *std::move(filters);
}

int StatusOf(const std::optional<ErrorInfo>& error) { return error ? error->http_status : 200; }

}  // namespace

TEST_CASE("keys come in three spellings and are compared as digests") {
  // sha256("second")
  const std::string digest =
      "sha256:16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4";
  const Filters filters = MakeFilters({.api_keys = {"first", digest}});
  const auto with = [&](const std::string& name, const std::string& value) {
    return StatusOf(filters.CheckKey(HeadWith({{name, value}}), {}));
  };
  CHECK(with("authorization", "Bearer first") == 200);
  CHECK(with("authorization", "bearer  second") == 200);
  CHECK(with("x-api-key", "first") == 200);
  CHECK(with("api-key", "second") == 200);
  CHECK(with("authorization", "Bearer firs") == 401);
  CHECK(with("authorization", "Basic first") == 401);
  CHECK(with("authorization", "Bearer ") == 401);
  CHECK(StatusOf(filters.CheckKey(HeadWith({}), {})) == 401);
  CHECK(StatusOf(MakeFilters({}).CheckKey(HeadWith({}), {})) == 200);
}

TEST_CASE("an administrator's routes are off until a key or an open door is configured") {
  RouteOptions admin;
  admin.admin = true;
  const auto status = [&](const FilterOptions& options, const std::string& key) {
    const RequestHead head = key.empty() ? HeadWith({}) : HeadWith({{"x-api-key", key}});
    return StatusOf(MakeFilters(options).CheckKey(head, admin));
  };
  CHECK(status({}, "") == 403);
  CHECK(status({.api_keys = {"user"}}, "user") == 403);
  CHECK(status({.admin_open = true}, "") == 200);
  CHECK(status({.api_keys = {"user"}, .admin_open = true}, "user") == 200);
  CHECK(status({.api_keys = {"user"}, .admin_open = true}, "") == 401);
  const FilterOptions keyed{.api_keys = {"user"}, .admin_keys = {"root"}};
  CHECK(status(keyed, "root") == 200);
  CHECK(status(keyed, "user") == 403);
  CHECK(status(keyed, "") == 401);
  // It opens everything else as well.
  CHECK(StatusOf(MakeFilters(keyed).CheckKey(HeadWith({{"x-api-key", "root"}}), {})) == 200);
}

TEST_CASE("a key may bring a profile, and is a key like any other") {
  const Filters filters =
      MakeFilters({.api_keys = {"plain"}, .profile_keys = {"kt-legacy=old=1", "ls-seed=seed"}});
  const auto profile = [&](const std::string& key) {
    return filters.ProfileOf(HeadWith({{"x-api-key", key}}));
  };
  CHECK(profile("old=1") == CompatProfile::kKtLegacy);
  CHECK(profile("seed") == CompatProfile::kLsSeed);
  CHECK(profile("plain") == std::nullopt);
  CHECK(profile("other") == std::nullopt);
  CHECK(StatusOf(filters.CheckKey(HeadWith({{"x-api-key", "seed"}}), {})) == 200);
  CHECK(StatusOf(filters.CheckKey(HeadWith({{"x-api-key", "other"}}), {})) == 401);
  CHECK_FALSE(Filters::Make({.profile_keys = {"kt-legacy"}}).ok());
  CHECK_FALSE(Filters::Make({.profile_keys = {"modern=key"}}).ok());
  CHECK_FALSE(Filters::Make({.profile_keys = {"ls-seed="}}).ok());
}

TEST_CASE("ill-formed keys are refused by position") {
  CHECK_FALSE(Filters::Make({.api_keys = {"sha256:12"}}).ok());
  CHECK_FALSE(Filters::Make({.api_keys = {""}}).ok());
  CHECK_FALSE(Filters::Make({.api_keys = {"sha256:" + std::string(64, 'x')}}).ok());
}

TEST_CASE("only literals, localhost and listed names are our host") {
  const Filters filters = MakeFilters({.allowed_hosts = {"api.example.com", "*.mesh.local"}});
  const auto status = [&](const std::string& host) {
    return StatusOf(filters.CheckHost(HeadWith({}, host)));
  };
  CHECK(status("localhost") == 200);
  CHECK(status("127.0.0.1:8080") == 200);
  CHECK(status("[::1]:8080") == 200);
  CHECK(status("api.example.com:443") == 200);
  CHECK(status("a.mesh.local") == 200);
  CHECK(status("mesh.local") == 421);
  CHECK(status("evil.example.com") == 421);
  CHECK(status("127.0.0.1.evil.com") == 421);
}

TEST_CASE("foreign pages are refused, our own and listed ones are not") {
  const Filters filters = MakeFilters({.allowed_origins = {"https://app.example.com"}});
  const auto status = [&](const std::string& origin) {
    return StatusOf(filters.CheckOrigin(HeadWith({{"origin", origin}})));
  };
  CHECK(status("https://app.example.com") == 200);
  CHECK(status("http://localhost:8080") == 200);
  CHECK(status("http://localhost:9999") == 403);
  CHECK(status("https://evil.example.com") == 403);
  CHECK(status("null") == 403);
  CHECK(StatusOf(filters.CheckOrigin(HeadWith({}))) == 200);
}

TEST_CASE("bodies must be plain JSON where that is asked") {
  const Filters filters = MakeFilters({});
  const auto status = [&](std::vector<HeaderField> fields, bool any) {
    RequestHead head = HeadWith(std::move(fields));
    head.content_length = 3;
    RouteOptions options;
    options.any_content_type = any;
    return StatusOf(filters.CheckBody(head, options));
  };
  CHECK(status({{"content-type", "application/json"}}, false) == 200);
  CHECK(status({{"content-type", "Application/JSON; charset=utf-8"}}, false) == 200);
  CHECK(status({{"content-type", "text/plain"}}, false) == 415);
  CHECK(status({}, false) == 415);
  CHECK(status({{"content-type", "text/plain"}}, true) == 200);
  CHECK(status({{"content-encoding", "gzip"}}, true) == 415);
  CHECK(status({{"content-encoding", "identity"}}, true) == 200);
}

}  // namespace conclave::gateway
