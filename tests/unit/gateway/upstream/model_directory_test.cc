#include "gateway/upstream/model_directory.h"

#include "catch2/catch.hpp"

namespace conclave::gateway {
namespace {

v1::ModelStatus Model(const std::string& name, v1::ModelStatus::State state,
                      const std::string& registration = "") {
  v1::ModelStatus model;
  model.set_name(name);
  model.set_state(state);
  model.set_registration(registration);
  return model;
}

std::vector<std::string> Names(const std::vector<v1::ModelStatus>& models) {
  std::vector<std::string> names;
  for (const auto& model : models) names.push_back(model.name());
  return names;
}

}  // namespace

TEST_CASE("what a worker only tries is not listed until the store has it") {
  std::vector<v1::ModelStatus> models = {
      Model("own", v1::ModelStatus::STATE_LOADING),
      Model("own-failed", v1::ModelStatus::STATE_FAILED),
      Model("known", v1::ModelStatus::STATE_FAILED, "d1"),
      Model("tried", v1::ModelStatus::STATE_LOADING, "d2"),
      Model("refused", v1::ModelStatus::STATE_FAILED, "d3"),
      Model("going", v1::ModelStatus::STATE_UNLOADING, "d4"),
      Model("taken", v1::ModelStatus::STATE_READY, "d5"),
      Model("waits", v1::ModelStatus::STATE_UNLOADED, "d6"),
  };
  // One that has been here is loading again.
  models.push_back(Model("back", v1::ModelStatus::STATE_LOADING, "d7"));
  models.back().mutable_details()->set_family("llama");
  models[6].mutable_details()->set_family("llama");
  models[7].mutable_details()->set_family("llama");
  const auto known = [](const std::string& name) { return name == "known"; };
  CHECK(Names(WithoutTried(models, known)) ==
        std::vector<std::string>{"own", "own-failed", "known", "taken", "waits", "back"});
  CHECK(WithoutTried(models, [](const std::string&) { return true; }).size() == models.size());
}

TEST_CASE("a name of both kinds of workers is one model that can what both can") {
  v1::ModelStatus generates = Model("both", v1::ModelStatus::STATE_READY);
  generates.add_capabilities("completion");
  v1::ModelStatus embeds = Model("both", v1::ModelStatus::STATE_UNLOADED);
  embeds.add_capabilities("embedding");
  const auto joined = JoinModels({generates}, {Model("a", v1::ModelStatus::STATE_READY), embeds});
  CHECK(Names(joined) == std::vector<std::string>{"a", "both"});
  CHECK(Can(joined[1], "completion"));
  CHECK(Can(joined[1], "embedding"));
  CHECK(joined[1].state() == v1::ModelStatus::STATE_READY);
}

}  // namespace conclave::gateway
