// What a route does with each field that clients send, written down once, next to its decoder.
// docs/coverage.md, GET /v1/capabilities and /openapi.json are made from these tables, and
// tests/unit/gateway/dialects/coverage_test.cc sends every row's sample to the route itself, so a
// row that is not true fails.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace conclave::gateway {

enum class Treatment {
  kHonoured,    // what it asks for is done
  kIfModelCan,  // done where the model can, else refused or told in the answer
  kRefused,     // 4xx or 501 that names it, when it asks for something
  kIgnored,     // accepted, and nothing changes
};
std::string_view TreatmentName(Treatment treatment);

struct Parameter {
  // The path in the body: "temperature", "options.top_k", "messages[].name". Words in parentheses
  // tell kinds of one field apart: "messages[].content (image_url)".
  std::string_view name;
  Treatment treatment = Treatment::kHonoured;
  std::string_view schema;  // of its values, JSON Schema
  // A JSON value that asks for something: not the default, not what the endpoint's example has. Of
  // a query parameter, its text.
  std::string_view sample;
  std::string_view note = {};
  std::string_view with = {};  // members of the body without which the sample means nothing
  bool required = false;       // without it: 4xx that names it
};

struct Endpoint {
  std::string_view method;
  std::string_view path;  // the router's pattern; its twin without /v1 is the same endpoint
  std::string_view summary;
  std::string_view body = {};  // a whole request, with all that is required; empty = none is read
  std::span<const Parameter> parameters = {};  // of the body
  std::span<const Parameter> query = {};
  std::string_view answer = "application/json";  // content type; empty = no body
  std::string_view stream = {};  // content type of a streamed answer; empty = never streamed
  bool refuses_unknown = false;  // a field that is in no row is 400 instead of ignored
  bool has_no_twin = false;      // with and without /v1 are two endpoints here
};

// Whether the endpoint is what the router has at the pattern.
bool IsAt(const Endpoint& endpoint, std::string_view pattern);

// Paths that are known and not served: this status in the dialect's own form.
struct Unserved {
  std::string_view path;  // with all below it
  int status = 501;
};

struct Coverage {
  std::vector<Endpoint> endpoints;
  std::vector<Unserved> unserved = {};
  std::string_view version = "1";  // of the protocol, for GET /version
};

// Tables that several endpoints share, put together at compile time.
template <size_t A, size_t B>
constexpr std::array<Parameter, A + B> Join(const std::array<Parameter, A>& a,
                                            const std::array<Parameter, B>& b) {
  std::array<Parameter, A + B> all;
  for (size_t i = 0; i < A; ++i) all[i] = a[i];
  for (size_t i = 0; i < B; ++i) all[A + i] = b[i];
  return all;
}
template <size_t A, size_t B, typename... Rest>
constexpr auto Join(const std::array<Parameter, A>& a, const std::array<Parameter, B>& b,
                    const Rest&... rest) {
  return Join(Join(a, b), rest...);
}

// The schemas that most rows have.
namespace schema {
inline constexpr std::string_view kBool = R"({"type":"boolean"})";
inline constexpr std::string_view kString = R"({"type":"string"})";
inline constexpr std::string_view kNumber = R"({"type":"number"})";
inline constexpr std::string_view kInteger = R"({"type":"integer"})";
inline constexpr std::string_view kCount = R"({"type":"integer","minimum":0})";
inline constexpr std::string_view kPositive = R"({"type":"integer","minimum":1})";
inline constexpr std::string_view kFraction = R"({"type":"number","minimum":0,"maximum":1})";
inline constexpr std::string_view kObject = R"({"type":"object"})";
inline constexpr std::string_view kArray = R"({"type":"array"})";
inline constexpr std::string_view kIds =
    R"({"type":"array","items":{"type":"integer","minimum":0}})";
inline constexpr std::string_view kStrings = R"({"type":"array","items":{"type":"string"}})";
inline constexpr std::string_view kText =
    R"({"oneOf":[{"type":"string"},{"type":"array","items":{"type":"string"}}]})";
inline constexpr std::string_view kAny = "{}";
}  // namespace schema

}  // namespace conclave::gateway
