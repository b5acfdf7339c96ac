#include "support/endpoint_probe.h"

#include <span>

#include "base/json.h"
#include "catch2/catch.hpp"

namespace conclave::gateway {
namespace {

constexpr std::string_view kPlaceOfModel = "{deployment}";

using base::JsonDocument;
using base::JsonValue;
using base::JsonWriter;

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

}  // namespace

std::vector<std::string> StepsOf(std::string_view name) {
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

std::string WithField(const std::string& body, std::string_view name, std::string_view sample) {
  const auto document = JsonDocument::Parse(body);
  INFO(body);
  REQUIRE(document.ok());
  return With(document->root(), StepsOf(name), sample);
}

std::string BodyFor(const Endpoint& endpoint, const Parameter& row) {
  std::string body(endpoint.body);
  if (row.with.empty()) return body;
  const std::string members = "{" + std::string(row.with) + "}";
  const auto document = JsonDocument::Parse(members);
  INFO(members);
  REQUIRE(document.ok());
  document->root().ForEachMember(
      [&](std::string_view key, JsonValue value) { body = WithField(body, key, value.ToJson()); });
  return body;
}

std::string TargetOf(std::string_view pattern) {
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

std::string TargetOf(const Endpoint& endpoint) {
  const size_t at = endpoint.path.find(kPlaceOfModel);
  if (at == std::string_view::npos) return TargetOf(endpoint.path);
  const auto body = JsonDocument::Parse(endpoint.body);
  REQUIRE(body.ok());
  std::string path(endpoint.path);
  path.replace(at, kPlaceOfModel.size(), body->root().Get("model").AsString().value());
  return path;
}

std::string QueryOf(const Endpoint& endpoint, std::string_view without) {
  std::string query;
  for (const Parameter& row : endpoint.query) {
    if (!row.required || row.name == without) continue;
    query += (query.empty() ? "?" : "&") + std::string(row.name) + "=" + std::string(row.sample);
  }
  return query;
}

std::string_view ModelField(const Endpoint& endpoint) {
  for (const Parameter& row : endpoint.query) {
    if (row.required && row.name == "id") return row.name;
  }
  for (const Parameter& row : endpoint.parameters) {
    if (row.name == "model_id") return row.name;
  }
  return "model";
}

bool IsEndless(const Endpoint& endpoint) { return endpoint.answer == "text/event-stream"; }

void AnswerEverything(Harness& harness) {
  for (const char* const name : {"web", "web2"}) {
    v1::Provider* provider = harness.admin.providers.add_providers();
    provider->set_provider_id(name);
    provider->set_provider_type("remote::http");
    provider->set_open_ended(true);
  }
  harness.admin.logs["teacher"].add_entries()->set_msg("loaded");
  harness.admin.logs["teacher"].add_entries()->set_msg("asked");
  harness.files.pull = {R"(pulled { path: "sha256-00" })"};
  v1::ModelStatus& pupil = harness.models.Add("pupil");
  pupil.add_capabilities("tools");
  pupil.add_capabilities("thinking");
  for (const char* const name : {"coder", "coder2"}) {
    harness.models.Add(name).add_capabilities("insert");
  }
  for (const char* const name : {"minilm", "minilm2"}) {
    v1::ModelStatus& embedder = harness.models.Add(name);
    embedder.clear_capabilities();
    embedder.add_capabilities("embedding");
  }
  for (const char* const name : {"ranker", "ranker2"}) {
    v1::ModelStatus& ranker = harness.models.Add(name);
    ranker.clear_capabilities();
    ranker.add_capabilities("rerank");
  }
  harness.embedding.scores = {0.25f, 0.75f};
  harness.inference.token_ids = {7, 8, 9};
  harness.inference.events = TextScript({"One", " two"});
  v1::Delta* thought = harness.inference.events[1].mutable_delta();
  thought->clear_text();
  thought->set_reasoning("hm");
  harness.inference.events.insert(
      harness.inference.events.begin() + 1,
      Proto<v1::GenerateEvent>("progress { phase: PHASE_PREFILL done: 3 total: 5 }"));
  harness.embedding.reply.vectors.emplace_back().add_values(0.5f);
  harness.services.metrics_text = [] { return std::string("conclave_example 1\n"); };
#define CONCLAVE_EMPTY_REPLY(Method, Request, Reply) harness.store.replies[#Method] = "";
  CONCLAVE_GATEWAY_STORE_CALLS(CONCLAVE_EMPTY_REPLY)
#undef CONCLAVE_EMPTY_REPLY
}

Outcome SendTo(const Endpoint& endpoint, const std::string& body) {
  return SendTo(endpoint, body, QueryOf(endpoint));
}

Outcome SendFor(const Endpoint& endpoint, const std::string& model) {
  const std::string body(endpoint.body);
  const size_t place = endpoint.path.find(kPlaceOfModel);
  if (place != std::string_view::npos) {
    std::string path(endpoint.path);
    Endpoint there = endpoint;
    there.path = path.replace(place, kPlaceOfModel.size(), model);
    return SendTo(there, body);
  }
  const std::string_view field = ModelField(endpoint);
  if (field == "id") return SendTo(endpoint, body, QueryOf(endpoint, field) + "?id=" + model);
  return SendTo(endpoint, WithField(body, field, "\"" + model + "\""));
}

Outcome SendTo(const Endpoint& endpoint, const std::string& body, const std::string& query) {
  Harness harness;
  AnswerEverything(harness);
  if (IsEndless(endpoint)) harness.services.draining = [] { return true; };
  const RecordingWriter answer =
      harness.Call(std::string(endpoint.method), TargetOf(endpoint) + query, body);
  Outcome outcome{.status = answer.response.status, .body = answer.response.body};
  outcome.all = std::to_string(answer.response.status) + " " + answer.response.content_type + "\n" +
                answer.response.body + "\n";
  for (const auto& call : harness.inference.requests) outcome.all += call.ShortDebugString();
  for (const auto& call : harness.inference.tokenized) outcome.all += call.ShortDebugString();
  for (const auto& call : harness.inference.detokenized) outcome.all += call.ShortDebugString();
  for (const auto& call : harness.embedding.reranked) outcome.all += call.ShortDebugString();
  for (const auto& call : harness.embedding.requests) outcome.all += call.ShortDebugString();
  for (const auto& call : harness.admin.keep_requests) outcome.all += call.ShortDebugString();
  for (const auto& call : harness.admin.plan_requests) outcome.all += call.ShortDebugString();
  for (const auto& [method, call] : harness.store.requests) outcome.all += method + call;
  outcome.model_calls = harness.inference.requests.size() + harness.inference.tokenized.size() +
                        harness.inference.detokenized.size() + harness.embedding.requests.size() +
                        harness.embedding.reranked.size();
  return outcome;
}

bool Outcome::Names(std::string_view name) const {
  for (const std::string& step : StepsOf(name)) {
    if (step != "[]" && body.find(step) != std::string::npos) return true;
  }
  return false;
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

}  // namespace conclave::gateway
