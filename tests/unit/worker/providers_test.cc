#include "worker/providers.h"

#include <catch2/catch.hpp>
#include <fstream>

#include "base/config.h"
#include "base/status.h"

namespace conclave::worker {
namespace {

std::string Refusal(const std::string& yaml) {
  const auto json = base::YamlToJson(yaml);
  if (!json.ok()) return std::string(json.status().message());
  return std::string(ProviderSet::Parse(*json).status().message());
}

std::string One(const std::string& entry) { return "providers:\n  inference:\n    - " + entry; }

}  // namespace

TEST_CASE("providers and the models that are served from the start come from YAML") {
  const auto json = base::YamlToJson(R"(
providers:
  inference:
    - provider_id: near
      provider_type: remote::http
      config: {destinations: ["127.0.0.1:8888"]}
      models: [{name: n, provider_model_id: "127.0.0.1:8888", aliases: [a], config: {method: GET}}]
    - provider_id: far
      provider_type: remote::http
      config:
        destinations: ["*.example.org"]
    - provider_id: programs
      provider_type: subprocess
      config:
        models: {cat: {argv: [/bin/cat]}}
      models: [cat]
)");
  REQUIRE(json.ok());
  const auto set = ProviderSet::Parse(*json);
  INFO(set.status().ToString());
  REQUIRE(set.ok());
  CHECK((*set)->all().size() == 3);
  CHECK((*(*set)->Find("far"))->status().open_ended);
  CHECK(base::ParamOf((*set)->Find("other").status()) == "provider_id");
  REQUIRE((*set)->models().size() == 2);
  CHECK((*set)->models()[0].config_json == R"({"method":"GET"})");
  CHECK((*set)->models()[0].aliases == std::vector<std::string>{"a"});
  CHECK((*set)->models()[1].provider_model_id == "cat");
  CHECK(ProviderSet::Parse("{}").ok());
}

TEST_CASE("every mistake in the file is named by its key") {
  CHECK(Refusal("provider: []") == "provider: there is no such setting");
  CHECK(Refusal("providers: {agents: []}") == "providers.agents: there is no such setting");
  CHECK(Refusal("providers: {inference: {}}").find("providers.inference: ") == 0);
  CHECK(Refusal(One("{provider_type: subprocess}")).find("providers.inference[0].provider_id: ") ==
        0);
  CHECK(Refusal(One("{provider_id: conclave, provider_type: subprocess}")) ==
        "providers.inference[0].provider_id: is taken");
  CHECK(Refusal(One("{provider_id: a, provider_type: remote::tgi}"))
            .find("providers.inference[0]: provider_type: there is no \"remote::tgi\"") == 0);
  CHECK(Refusal(One("{provider_id: a, provider_type: remote::openai, config: {}}")) ==
        "providers.inference[0].config.url: required");
  CHECK(Refusal(One("{provider_id: a, provider_type: remote::openai, config: {url: \"http://h\", "
                    "api_key: k}}")) ==
        "providers.inference[0].config.api_key: there is no such setting");
  CHECK(Refusal(One("{provider_id: a, provider_type: subprocess, config: {models: {m: {argv: "
                    "[cat]}}}}"))
            .find("providers.inference[0].config.models.m.argv: ") == 0);
  CHECK(Refusal(One("{provider_id: a, provider_type: subprocess, config: {models: {}}, models: "
                    "[\"a b\"]}"))
            .find("providers.inference[0].models[0]: ") == 0);
  CHECK(Refusal(One("{provider_id: a, provider_id: b}")) == "line 3: provider_id: given twice");
  CHECK(absl::IsNotFound(ProviderSet::Load("/nowhere.yaml").status()));
}

TEST_CASE("plain scalars of YAML are typed, quoted ones are not") {
  CHECK(
      *base::YamlToJson("{a: 1, b: \"1\", c: true, d: 1.5, e: 1.2.3, f: ~, g: [x, -2], h: 0x10}") ==
      R"({"a":1,"b":"1","c":true,"d":1.5,"e":"1.2.3","f":null,"g":["x",-2],"h":"0x10"})");
  CHECK(!base::YamlToJson("- a").ok());
  CHECK(!base::YamlToJson("a: [").ok());
}

}  // namespace conclave::worker
