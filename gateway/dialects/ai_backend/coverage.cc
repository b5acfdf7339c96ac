#include "gateway/dialects/coverage.h"

#include "gateway/dialects/ai_backend/routes.h"
#include "gateway/dialects/openai/coverage.h"

namespace conclave::gateway::ai_backend {
namespace {

using enum Treatment;
using namespace schema;  // NOLINT(google-build-using-namespace): names of nothing but schemas

constexpr Parameter kId{"id", kHonoured, kString, "teacher", "the model", {}, true};
constexpr auto kOneModel = std::to_array<Parameter>({kId});
constexpr auto kNewModel = std::to_array<Parameter>({
    kId,
    {"type",
     kHonoured,
     R"({"enum":["httpmodel","subprocessmodel"]})",
     "httpmodel",
     "in any case",
     {},
     true},
    {"dest",
     kHonoured,
     kString,
     "http://127.0.0.1:8888",
     "what the worker's configuration allows",
     {},
     true},
    {"provider", kHonoured, kString, "web2", "where several could take it"},
});

// The texts that a chat is not, and the name that only the query gives.
constexpr auto kPredictOnly = std::to_array<Parameter>({
    {"prompt", kIgnored, kAny, R"("Other")",
     "without messages: the prompt of a completion, beside the fields of /v1/completions"},
    {"input", kIgnored, kAny, R"("Other")",
     "without messages and prompt: a user's message, or what a model for embeddings is given"},
    {"model", kIgnored, kString, R"("pupil")", "the query's id counts"},
});

// Of a model that generates. The body of any other is its own.
const std::vector<Parameter>& PredictParameters() {
  static const std::vector<Parameter> all = [] {
    std::vector<Parameter> rows(kPredictOnly.begin(), kPredictOnly.end());
    for (const Endpoint& endpoint : openai::GenerationEndpoints()) {
      if (endpoint.path != "/v1/chat/completions") continue;
      for (const Parameter& row : endpoint.parameters) {
        if (row.name != "model") rows.push_back(row);
      }
    }
    return rows;
  }();
  return all;
}

struct Paths {
  std::string_view predict, getlogs, cleanlogs, addmodel;
};
constexpr Paths kPaths[] = {
    {"/post/predict", "/post/getlogs", "/post/cleanlogs", "/post/addmodel"},
    {"/get/predict", "/get/getlogs", "/get/cleanlogs", "/get/addmodel"},
};

void Add(std::string_view method, const Paths& paths, std::vector<Endpoint>* all) {
  all->push_back({.method = method,
                  .path = paths.predict,
                  .summary = "Ask a model: one that generates, by chat; one of a provider, in its "
                             "own JSON",
                  .body = R"({"messages":[{"role":"user","content":"Hi"}]})",
                  .parameters = PredictParameters(),
                  .query = kOneModel,
                  .stream = "text/event-stream"});
  all->push_back({.method = method,
                  .path = paths.getlogs,
                  .summary = "What the workers logged of a model",
                  .query = kOneModel});
  all->push_back({.method = method,
                  .path = paths.cleanlogs,
                  .summary = "Forget what was logged of a model (administrators)",
                  .query = kOneModel});
  all->push_back({.method = method,
                  .path = paths.addmodel,
                  .summary = "Serve a model of a provider (administrators)",
                  .query = kNewModel});
}

}  // namespace

Coverage DialectCoverage() {
  Coverage coverage;
  for (const Paths& paths : kPaths) {
    for (const std::string_view method : {"GET", "POST"}) Add(method, paths, &coverage.endpoints);
  }
  coverage.unserved = {{"/post/{operation...}", 400}, {"/get/{operation...}", 400}};
  return coverage;
}

}  // namespace conclave::gateway::ai_backend
