#include "backends/http_policy.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <catch2/catch.hpp>
#include <cstring>
#include <optional>

#include "base/status.h"

namespace conclave::backends {
namespace {

bool Allowed(const std::string& text, AddressScope scope) {
  sockaddr_storage storage{};
  auto& in4 = reinterpret_cast<sockaddr_in&>(storage);
  auto& in6 = reinterpret_cast<sockaddr_in6&>(storage);
  if (inet_pton(AF_INET, text.c_str(), &in4.sin_addr) == 1) {
    in4.sin_family = AF_INET;
  } else {
    REQUIRE(inet_pton(AF_INET6, text.c_str(), &in6.sin6_addr) == 1);
    in6.sin6_family = AF_INET6;
  }
  return IsAllowedAddress(reinterpret_cast<const sockaddr&>(storage), scope);
}

std::optional<AddressScope> Check(const std::vector<std::string>& entries, const std::string& url) {
  const auto policy = HttpPolicy::Parse(entries);
  REQUIRE(policy.ok());
  const auto parsed = ParseHttpUrl(url);
  if (!parsed.ok()) return std::nullopt;
  const auto scope = policy->Check(*parsed);
  if (!scope.ok()) return std::nullopt;
  return *scope;
}

}  // namespace

TEST_CASE("a pattern leads to public addresses only") {
  for (const char* address : {"127.0.0.1",
                              "10.1.2.3",
                              "172.16.0.1",
                              "172.31.255.255",
                              "192.168.1.1",
                              "169.254.169.254",
                              "100.64.0.1",
                              "0.0.0.0",
                              "224.0.0.1",
                              "255.255.255.255",
                              "198.18.0.1",
                              "::1",
                              "::",
                              "::ffff:127.0.0.1",
                              "::ffff:10.0.0.1",
                              "::127.0.0.1",
                              "64:ff9b::a9fe:a9fe",
                              "fe80::1",
                              "fc00::1",
                              "fd00:ec2::254",
                              "ff02::1",
                              "2002:7f00:1::",
                              "2001:db8::1",
                              "2001:0:1::"}) {
    CAPTURE(address);
    CHECK(!Allowed(address, AddressScope::kPublic));
  }
  for (const char* address : {"1.1.1.1", "172.32.0.1", "8.8.8.8", "2606:4700::1111",
                              "::ffff:8.8.8.8", "64:ff9b::808:808"}) {
    CAPTURE(address);
    CHECK(Allowed(address, AddressScope::kPublic));
  }
}

TEST_CASE("a name listed in full may lead inside, but not to where clouds keep credentials") {
  CHECK(Allowed("10.1.2.3", AddressScope::kInside));
  CHECK(Allowed("127.0.0.1", AddressScope::kInside));
  CHECK(Allowed("::1", AddressScope::kInside));
  for (const char* address : {"169.254.169.254", "::ffff:169.254.169.254", "fe80::1",
                              "fd00:ec2::254", "0.0.0.0", "224.0.0.1"}) {
    CAPTURE(address);
    CHECK(!Allowed(address, AddressScope::kInside));
    CHECK(Allowed(address, AddressScope::kAny));
  }
}

TEST_CASE("only listed destinations pass, by host and port") {
  CHECK(Check({"127.0.0.1:8888"}, "http://127.0.0.1:8888/x") == AddressScope::kAny);
  CHECK(!Check({"127.0.0.1:8888"}, "http://127.0.0.1:8889/x"));
  CHECK(!Check({"127.0.0.1:8888"}, "http://127.0.0.1/x"));
  CHECK(Check({"models.example"}, "http://MODELS.example/") == AddressScope::kInside);
  CHECK(Check({"models.example"}, "https://models.example/") == AddressScope::kInside);
  CHECK(!Check({"models.example"}, "http://models.example:8080/"));
  CHECK(!Check({"models.example"}, "http://models.example.evil/"));
  CHECK(Check({"*.example"}, "https://a.b.example/") == AddressScope::kPublic);
  CHECK(!Check({"*.example"}, "https://example/"));
  CHECK(!Check({"*.example"}, "https://evilexample/"));
  CHECK(Check({"*", "inside"}, "http://inside/") == AddressScope::kInside);
  CHECK(Check({"*"}, "http://anything/") == AddressScope::kPublic);
  CHECK(Check({"[::1]:80"}, "http://[::1]/") == AddressScope::kAny);
  CHECK(!Check({}, "http://127.0.0.1/"));
}

TEST_CASE(
    "spellings that parsers read differently are refused, other spellings of an address are that "
    "address") {
  for (const char* url :
       {"http://good\\@evil/", "http://good@evil/", "http://u:p@good/", "http://good/#@evil",
        "ftp://good/", "file:///etc/passwd", "gopher://good/", "http://go od/", "",
        "http://good/\r\nHost: evil", "http://good:99999/"}) {
    CAPTURE(url);
    CHECK(!ParseHttpUrl(url).ok());
  }
  for (const char* url : {"http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/"}) {
    CAPTURE(url);
    CHECK(Check({"127.0.0.1"}, url) == AddressScope::kAny);
  }
}

TEST_CASE("an entry that is no destination is refused") {
  for (const char* entry : {"", ":80", "host:0", "host:70000", "http://host", "a*b", "host/path"}) {
    CAPTURE(entry);
    CHECK(!HttpPolicy::Parse({entry}).ok());
  }
}

}  // namespace conclave::backends
