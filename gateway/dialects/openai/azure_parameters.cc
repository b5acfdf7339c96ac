// What the routes below /openai/deployments/{deployment} do with each field: the same as those
// under /v1, but for what names the model.
#include <deque>
#include <string>
#include <vector>

#include "base/check.h"
#include "gateway/dialects/openai/coverage.h"

namespace conclave::gateway::openai {
namespace {

using enum Treatment;

constexpr auto kQuery = std::to_array<Parameter>({
    {"api-version", kIgnored, schema::kString, "2024-10-21", "fields are told by their names"},
});

// What the rows' views point into.
struct Table {
  std::string path;
  std::string summary;
  std::vector<Parameter> parameters;
};

class Deployments final {
 public:
  Deployments() {
    for (const Endpoint& endpoint : GenerationEndpoints()) {
      for (const std::string_view path : kDeployed) {
        if (endpoint.path == "/v1" + std::string(path)) Add(endpoint, path);
      }
    }
    CHECK(endpoints_.size() == std::size(kDeployed));
  }

  std::span<const Endpoint> endpoints() const { return endpoints_; }

 private:
  void Add(Endpoint endpoint, std::string_view path) {
    Table& table = tables_.emplace_back();
    table.path = std::string(kDeployment) + std::string(path);
    table.summary = std::string(endpoint.summary) + "; the deployment is a model's name";
    table.parameters.assign(endpoint.parameters.begin(), endpoint.parameters.end());
    for (Parameter& row : table.parameters) {
      if (row.name != "model") continue;
      row = {"model", kIgnored, schema::kString, row.sample, "the path names it"};
    }
    endpoint.path = table.path;
    endpoint.summary = table.summary;
    endpoint.parameters = table.parameters;
    endpoint.query = kQuery;
    endpoint.has_no_twin = true;
    endpoints_.push_back(endpoint);
  }

  std::deque<Table> tables_;
  std::vector<Endpoint> endpoints_;
};

}  // namespace

std::span<const Endpoint> DeploymentEndpoints() {
  static const Deployments deployments;
  return deployments.endpoints();
}

}  // namespace conclave::gateway::openai
