#include "store/jobs/registrar_plan.h"

#include <catch2/catch.hpp>

namespace pb = conclave::v1;
using conclave::mesh::Fleet;
using conclave::mesh::WorkerHealth;
using conclave::mesh::WorkerInfo;
using conclave::store::PlanFor;
using conclave::store::RegistrarAction;
using conclave::store::Registrations;
using Kind = RegistrarAction::Kind;

namespace {

pb::ModelStatus Model(const std::string& name, const std::string& registration,
                      pb::ModelStatus::State state = pb::ModelStatus::STATE_READY) {
  pb::ModelStatus model;
  model.set_name(name);
  model.set_registration(registration);
  model.set_state(state);
  return model;
}

Fleet FleetOf(std::vector<pb::ModelStatus> models, bool serving = true) {
  auto worker = std::make_shared<WorkerInfo>();
  worker->worker_id = "w";
  worker->epoch = 7;
  worker->health = WorkerHealth::kFresh;
  worker->serving = serving;
  worker->models = std::move(models);
  Fleet fleet;
  fleet.workers.push_back(worker);
  return fleet;
}

Registrations::Desired Desired(const std::string& name, const std::string& digest) {
  Registrations::Desired desired;
  desired.accepted = true;
  desired.registration.set_name(name);
  desired.registration.set_digest(digest);
  return desired;
}

std::string Text(const std::vector<RegistrarAction>& plan) {
  std::string text;
  for (const RegistrarAction& action : plan) {
    text += action.kind == Kind::kLoad ? "+" : action.kind == Kind::kUnload ? "-" : "=";
    text += action.name + " ";
  }
  return text;
}

}  // namespace

TEST_CASE("a worker is brought what it lacks and freed of what is not registered") {
  const Fleet fleet =
      FleetOf({Model("gone", "d0"), Model("old", "d1"), Model("same", "d2"), Model("own", ""),
               Model("failed", "d3", pb::ModelStatus::STATE_FAILED)});
  CHECK(Text(PlanFor(fleet, {Desired("new", "d9"), Desired("old", "d8"), Desired("same", "d2"),
                             Desired("failed", "d3"), Desired("own", "d4")})) ==
        "-gone -old +new +failed =own ");
}

TEST_CASE("workers that cannot take work are left alone") {
  CHECK(PlanFor(FleetOf({Model("gone", "d0")}, false), {Desired("new", "d9")}).empty());
}

TEST_CASE("what is just being registered is nobody else's") {
  Registrations::Desired busy = Desired("busy", "new");
  busy.busy = true;
  Registrations::Desired begun = Desired("begun", "d");
  begun.accepted = false;
  CHECK(PlanFor(FleetOf({Model("busy", "old")}), {busy, begun}).empty());
}

TEST_CASE("a derived model waits until its base is there") {
  Registrations::Desired derived = Desired("derived", "d");
  derived.registration.mutable_derived()->set_base("base");
  CHECK(PlanFor(FleetOf({}), {derived}).empty());
  CHECK(Text(PlanFor(FleetOf({Model("base", "")}), {derived})) == "+derived ");
}
