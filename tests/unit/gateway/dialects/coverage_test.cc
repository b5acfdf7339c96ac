// Holds every row of every dialect's tables against the route itself: what is honoured changes the
// call to a worker or the answer, what is refused is refused by name, what is ignored changes
// nothing at all.
#include "gateway/dialects/coverage.h"

#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <string>

#include "base/json.h"
#include "catch2/catch.hpp"
#include "gateway/dialects/coverage_text.h"
#include "support/gateway_harness.h"

namespace conclave::gateway {
namespace {

using base::JsonDocument;
using base::JsonValue;
using base::JsonWriter;

// "stream_options.include_usage (why)" → its steps; "[]" is the first element.
std::vector<std::string> Steps(std::string_view name) {
  name = name.substr(0, name.find(" ("));
  std::vector<std::string> steps;
  while (!name.empty()) {
    const size_t dot = name.find('.');
    std::string step(name.substr(0, dot));
    name = dot == std::string_view::npos ? "" : name.substr(dot + 1);
    int arrays = 0;
    for (; step.size() > 2 && step.substr(step.size() - 2) == "[]"; ++arrays) {
      step.resize(step.size() - 2);
    }
    steps.push_back(step);
    for (int i = 0; i < arrays; ++i) steps.emplace_back("[]");
  }
  return steps;
}

// The value with `sample` put where the steps lead; what is missing on the way is made.
// An empty sample takes the member away.
std::string With(JsonValue value, std::span<const std::string> steps, std::string_view sample) {
  if (steps.empty()) return std::string(sample);
  JsonWriter json;
  if (steps.front() == "[]") {
    json.BeginArray();
    json.Raw(With(value.size() > 0 ? value.At(0) : JsonValue(), steps.subspan(1), sample));
    for (size_t i = 1; i < value.size(); ++i) json.Raw(value.At(i).ToJson());
    json.EndArray();
    return json.Take();
  }
  json.BeginObject();
  bool done = steps.size() == 1 && sample.empty();
  value.ForEachMember([&](std::string_view key, JsonValue member) {
    const bool here = key == steps.front();
    if (here && steps.size() == 1 && sample.empty()) return;
    json.RawField(key, here ? With(member, steps.subspan(1), sample) : member.ToJson());
    done = done || here;
  });
  if (!done) json.RawField(steps.front(), With(JsonValue(), steps.subspan(1), sample));
  json.EndObject();
  return json.Take();
}

std::string With(const std::string& body, std::string_view name, std::string_view sample) {
  const auto document = JsonDocument::Parse(body);
  INFO(body);
  REQUIRE(document.ok());
  return With(document->root(), Steps(name), sample);
}

// The example with the members a row needs.
std::string Base(const Endpoint& endpoint, const Parameter& row) {
  std::string body(endpoint.body);
  if (row.with.empty()) return body;
  const std::string members = "{" + std::string(row.with) + "}";
  const auto document = JsonDocument::Parse(members);
  INFO(members);
  REQUIRE(document.ok());
  document->root().ForEachMember(
      [&](std::string_view key, JsonValue value) { body = With(body, key, value.ToJson()); });
  return body;
}

// All that a request brings about: the answer, and every call it makes.
struct Outcome {
  int status = 0;
  std::string body;
  std::string all;
  bool operator==(const Outcome& other) const { return all == other.all; }
};

// "/v1/threads/{thread}/runs" with something in each place.
std::string Target(std::string_view pattern) {
  std::string target;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '{') {
      target += pattern[i];
      continue;
    }
    i = pattern.find('}', i);
    target += "teacher";
  }
  return target;
}

void Play(Harness& harness) {
  v1::ModelStatus& pupil = harness.models.Add("pupil");
  pupil.add_capabilities("tools");
  pupil.add_capabilities("thinking");
  for (const char* const name : {"minilm", "minilm2"}) {
    v1::ModelStatus& embedder = harness.models.Add(name);
    embedder.clear_capabilities();
    embedder.add_capabilities("embedding");
  }
  harness.inference.token_ids = {7, 8, 9};
  harness.inference.events = TextScript({"One", " two"});
  v1::Delta* thought = harness.inference.events[1].mutable_delta();
  thought->clear_text();
  thought->set_reasoning("hm");
  harness.embedding.reply.vectors.emplace_back().add_values(0.5f);
  harness.services.metrics_text = [] { return std::string("conclave_example 1\n"); };
#define CONCLAVE_EMPTY_REPLY(Method, Request, Reply) harness.store.replies[#Method] = "";
  CONCLAVE_GATEWAY_STORE_CALLS(CONCLAVE_EMPTY_REPLY)
#undef CONCLAVE_EMPTY_REPLY
}

Outcome Send(const Endpoint& endpoint, const std::string& body, const std::string& query = "") {
  Harness harness;
  Play(harness);
  const RecordingWriter answer =
      harness.Call(std::string(endpoint.method), Target(endpoint.path) + query, body);
  Outcome outcome{answer.response.status, answer.response.body, {}};
  outcome.all = std::to_string(answer.response.status) + " " + answer.response.content_type + "\n" +
                answer.response.body + "\n";
  for (const auto& call : harness.inference.requests) outcome.all += call.ShortDebugString();
  for (const auto& call : harness.inference.tokenized) outcome.all += call.ShortDebugString();
  for (const auto& call : harness.embedding.requests) outcome.all += call.ShortDebugString();
  for (const auto& [method, call] : harness.store.requests) outcome.all += method + call;
  return outcome;
}

bool Refused(const Outcome& outcome) {
  return (outcome.status >= 400 && outcome.status < 500) || outcome.status == 501;
}

bool Names(const Outcome& outcome, std::string_view name) {
  for (const std::string& step : Steps(name)) {
    if (step != "[]" && outcome.body.find(step) != std::string::npos) return true;
  }
  return false;
}

void CheckRow(const Parameter& row, const Outcome& without, const Outcome& with) {
  INFO("without it: " << without.all);
  INFO("with it:    " << with.all);
  CHECK_FALSE(Refused(without));
  switch (row.treatment) {
    case Treatment::kHonoured:
    case Treatment::kIfModelCan:
      CHECK_FALSE(Refused(with));
      CHECK_FALSE(with == without);
      break;
    case Treatment::kRefused:
      CHECK(Refused(with));
      CHECK(Names(with, row.name));
      break;
    case Treatment::kIgnored:
      CHECK(with == without);
      break;
  }
}

void ForEachEndpoint(const std::function<void(const Endpoint&)>& visit) {
  for (const Dialect& dialect : AllDialects()) {
    INFO("dialect " << dialect.name);
    REQUIRE(dialect.coverage != nullptr);
    for (const Endpoint& endpoint : dialect.coverage().endpoints) {
      INFO(endpoint.method << " " << endpoint.path);
      visit(endpoint);
    }
  }
}

// Without /v1: the twins of a route are one endpoint.
std::string Bare(std::string_view path) {
  return std::string(path.substr(0, 4) == "/v1/" ? path.substr(3) : path);
}

}  // namespace

TEST_CASE("every parameter of every body is treated as its row says") {
  ForEachEndpoint([](const Endpoint& endpoint) {
    for (const Parameter& row : endpoint.parameters) {
      INFO("parameter " << row.name);
      const std::string base = Base(endpoint, row);
      const std::string body = With(base, row.name, row.sample);
      INFO("body " << body);
      CheckRow(row, Send(endpoint, base), Send(endpoint, body));
      if (!row.required) continue;
      const Outcome missing = Send(endpoint, With(base, row.name, ""));
      INFO("when it is missing: " << missing.all);
      CHECK(Refused(missing));
      CHECK(Names(missing, row.name));
    }
  });
}

TEST_CASE("every parameter of every query is treated as its row says") {
  ForEachEndpoint([](const Endpoint& endpoint) {
    const std::string body(endpoint.body);
    for (const Parameter& row : endpoint.query) {
      INFO("parameter " << row.name);
      const std::string query = "?" + std::string(row.name) + "=" + std::string(row.sample);
      CheckRow(row, Send(endpoint, body), Send(endpoint, body, query));
    }
  });
}

TEST_CASE("a field nobody knows is ignored, or refused where the API says so") {
  ForEachEndpoint([](const Endpoint& endpoint) {
    if (endpoint.body.empty()) return;
    const std::string body(endpoint.body);
    const Outcome with = Send(endpoint, With(body, "no_such_field", R"({"a":[1]})"));
    INFO(with.all);
    CHECK(Refused(with) == endpoint.refuses_unknown);
    if (!endpoint.refuses_unknown) CHECK(with == Send(endpoint, body));
  });
}

TEST_CASE("what one endpoint reads and another does not list, the other does not read") {
  std::map<std::string, std::string> samples;  // of every field there is, by name
  ForEachEndpoint([&](const Endpoint& endpoint) {
    for (const Parameter& row : endpoint.parameters) {
      if (Steps(row.name).size() == 1) samples.emplace(Steps(row.name).front(), row.sample);
    }
  });
  ForEachEndpoint([&](const Endpoint& endpoint) {
    if (endpoint.body.empty() || endpoint.refuses_unknown) return;
    std::set<std::string> listed;
    for (const Parameter& row : endpoint.parameters) listed.insert(Steps(row.name).front());
    const Outcome without = Send(endpoint, std::string(endpoint.body));
    for (const auto& [name, sample] : samples) {
      if (listed.contains(name)) continue;
      INFO("parameter " << name << ": " << sample);
      const Outcome with = Send(endpoint, With(std::string(endpoint.body), name, sample));
      INFO(with.all);
      CHECK(with == without);
    }
  });
}

TEST_CASE("every route has a row, and every row has its route") {
  const Harness harness;
  std::set<std::string> rows;
  std::vector<std::string> unserved;
  for (const Dialect& dialect : AllDialects()) {
    const Coverage coverage = dialect.coverage();
    for (const Endpoint& endpoint : coverage.endpoints) {
      const std::string row = std::string(endpoint.method) + " " + Bare(endpoint.path);
      INFO(dialect.name << ": " << row);
      CHECK(rows.insert(row).second);
    }
    for (const Unserved& family : coverage.unserved) unserved.emplace_back(family.path);
  }
  std::set<std::string> routes;
  for (const Route* route : harness.router.routes()) {
    const std::string path = Bare(route->pattern);
    bool served = true;
    for (const std::string& family : unserved) {
      const bool inside = path.substr(0, family.size()) == family &&
                          (path.size() == family.size() || path[family.size()] == '/');
      served = served && !inside;
    }
    if (served) routes.insert(route->method + " " + path);
  }
  CHECK(rows == routes);
}

TEST_CASE("what is not served is refused with the status of its row") {
  Harness harness;
  for (const Dialect& dialect : AllDialects()) {
    for (const Unserved& family : dialect.coverage().unserved) {
      INFO(dialect.name << ": " << family.path);
      const std::string path = Target(family.path);
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
