#include "mesh/picker.h"

#include <catch2/catch.hpp>
#include <set>

namespace conclave::mesh {
namespace {

namespace pb = conclave::v1;

// A fresh worker w<i> that serves "m" (alias "m:latest"), idle.
std::shared_ptr<WorkerInfo> Worker(int i) {
  auto worker = std::make_shared<WorkerInfo>();
  worker->address = "10.0.0." + std::to_string(i) + ":1";
  worker->worker_id = "w" + std::to_string(i);
  worker->epoch = 1;
  worker->health = WorkerHealth::kFresh;
  worker->serving = true;
  worker->outstanding = std::make_shared<OutstandingWork>();
  pb::ModelStatus& model = worker->models.emplace_back();
  model.set_name("m");
  model.add_aliases("m:latest");
  model.set_revision("r1");
  model.set_state(pb::ModelStatus::STATE_READY);
  worker->load.set_slots(4);
  worker->load.set_prefill_tps(1000);
  worker->load.set_decode_tps(50);
  worker->load.set_kv_blocks_total(100);
  return worker;
}

Fleet Of(std::vector<std::shared_ptr<WorkerInfo>> workers) {
  Fleet fleet;
  for (auto& worker : workers) fleet.workers.push_back(worker);
  return fleet;
}

std::string Picked(const Fleet& fleet, const PickRequest& request) {
  const auto worker = Pick(fleet, request);
  return worker.ok() ? (*worker)->worker_id : base::ReasonOf(worker.status());
}

}  // namespace

TEST_CASE("the least loaded worker is picked, whatever the load is made of") {
  const auto a = Worker(1), b = Worker(2);
  const Fleet fleet = Of({a, b});
  const PickRequest request{.model = "m", .prompt_tokens = 100};
  SECTION("waiting prompts") { a->load.set_waiting_tokens(5000); }
  SECTION("a full batch") { a->load.set_running(4); }
  SECTION("a nearly full cache") { a->load.set_kv_blocks_used(95); }
  SECTION("slow prefill") { a->load.set_prefill_tps(100); }
  SECTION("what this process has just sent") { a->outstanding->unreported_tokens = 3000; }
  SECTION("calls this process has just sent") { a->outstanding->unreported_calls = 5; }
  for (uint64_t dice = 0; dice < 4; ++dice) {
    PickRequest with = request;
    with.dice = dice;
    CHECK(Picked(fleet, with) == "w2");
  }
}

TEST_CASE("equal workers share by the dice") {
  const Fleet fleet = Of({Worker(1), Worker(2), Worker(3)});
  std::set<std::string> seen;
  for (uint64_t dice = 0; dice < 3; ++dice) {
    seen.insert(Picked(fleet, {.model = "m", .dice = dice}));
  }
  CHECK(seen.size() == 3);
}

TEST_CASE("a cached prefix outweighs a little load") {
  const auto a = Worker(1), b = Worker(2);
  a->load.set_running(1);
  const Fleet fleet = Of({a, b});
  CHECK(Picked(fleet, {.model = "m", .prompt_tokens = 4000}) == "w2");
  CHECK(Picked(fleet, {.model = "m", .prompt_tokens = 4000, .cached_tokens = {{"w1", 3000}}}) ==
        "w1");
}

TEST_CASE("suspect, dead, draining and not serving workers get no work") {
  const auto a = Worker(1), b = Worker(2);
  const Fleet fleet = Of({a, b});
  b->load.set_running(3);
  SECTION("suspect") { a->health = WorkerHealth::kSuspect; }
  SECTION("dead") { a->health = WorkerHealth::kDead; }
  SECTION("connecting") { a->health = WorkerHealth::kConnecting; }
  SECTION("draining") { a->draining = true; }
  SECTION("not serving") { a->serving = false; }
  SECTION("the model is loading there") { a->models[0].set_state(pb::ModelStatus::STATE_LOADING); }
  CHECK(Picked(fleet, {.model = "m"}) == "w2");
}

TEST_CASE("a worker that has the model in memory goes before one that would have to load it") {
  const auto a = Worker(1), b = Worker(2), c = Worker(3);
  const Fleet fleet = Of({a, b, c});
  a->models[0].set_state(pb::ModelStatus::STATE_UNLOADED);
  b->models[0].set_state(pb::ModelStatus::STATE_LOADING);
  c->load.set_running(60);
  CHECK(Picked(fleet, {.model = "m"}) == "w3");
  CHECK(Picked(fleet, {.model = "m", .avoid = {"w3"}}) == "w2");
  c->health = WorkerHealth::kDead;
  CHECK(Picked(fleet, {.model = "m"}) == "w2");
  b->models[0].set_state(pb::ModelStatus::STATE_FAILED);
  CHECK(Picked(fleet, {.model = "m"}) == "w1");
}

TEST_CASE("a worker tried before is taken only when no other is left") {
  const auto a = Worker(1), b = Worker(2);
  b->load.set_running(4);
  const Fleet fleet = Of({a, b});
  CHECK(Picked(fleet, {.model = "m", .avoid = {"w1"}}) == "w2");
  CHECK(Picked(fleet, {.model = "m", .avoid = {"w1", "w2"}}) == "w1");
}

TEST_CASE("a revision narrows the choice") {
  const auto a = Worker(1), b = Worker(2);
  b->models[0].set_revision("r2");
  b->load.set_running(4);
  const Fleet fleet = Of({a, b});
  CHECK(Picked(fleet, {.model = "m", .revision = "r2"}) == "w2");
  CHECK(Picked(fleet, {.model = "m", .revision = "r3"}) == "no_worker");
}

TEST_CASE("names and aliases find the model") {
  const Fleet fleet = Of({Worker(1)});
  CHECK(Picked(fleet, {.model = "m:latest"}) == "w1");
  CHECK(Picked(fleet, {.model = "M"}) == "model_not_found");
}

TEST_CASE("when nobody serves the model the error says why") {
  const auto a = Worker(1);
  SECTION("unknown") {
    a->models.clear();
    const auto picked = Pick(Of({a}), {.model = "m"});
    CHECK(picked.status().code() == absl::StatusCode::kNotFound);
    CHECK(base::ReasonOf(picked.status()) == "model_not_found");
    CHECK(base::ParamOf(picked.status()) == "model");
  }
  SECTION("on its way out") {
    a->models[0].set_state(pb::ModelStatus::STATE_UNLOADING);
    const auto picked = Pick(Of({a}), {.model = "m"});
    CHECK(base::ReasonOf(picked.status()) == "no_worker");
    CHECK(base::RetryAfterOf(picked.status()).count() > 0);
  }
  SECTION("failed") {
    a->models[0].set_state(pb::ModelStatus::STATE_FAILED);
    a->models[0].set_error("no such tensor");
    const auto picked = Pick(Of({a}), {.model = "m"});
    CHECK(picked.status().code() == absl::StatusCode::kFailedPrecondition);
    CHECK(picked.status().message().find("no such tensor") != absl::string_view::npos);
  }
  SECTION("only a dead worker has it") {
    a->health = WorkerHealth::kDead;
    CHECK(base::ReasonOf(Pick(Of({a}), {.model = "m"}).status()) == "no_worker");
  }
  SECTION("nobody was heard of") {
    CHECK(base::ReasonOf(Pick(Fleet(), {.model = "m"}).status()) == "no_worker");
  }
}

TEST_CASE("the fleet's models are those of usable workers, the readiest state of each") {
  const auto a = Worker(1), b = Worker(2), c = Worker(3);
  a->models[0].set_state(pb::ModelStatus::STATE_LOADING);
  c->models[0].set_name("gone");
  c->health = WorkerHealth::kDead;
  const std::vector<pb::ModelStatus> models = Of({a, b, c}).Models();
  REQUIRE(models.size() == 1);
  CHECK(models[0].name() == "m");
  CHECK(models[0].state() == pb::ModelStatus::STATE_READY);
}

TEST_CASE("a model is lost when every worker that had it is away") {
  const auto a = Worker(1), b = Worker(2);
  const Fleet fleet = Of({a, b});
  a->health = WorkerHealth::kDead;
  b->models[0].set_name("other");
  b->models[0].clear_aliases();
  REQUIRE(fleet.FindLostModel("m:latest") != nullptr);
  CHECK(fleet.FindLostModel("m:latest")->name() == "m");
  CHECK(fleet.FindLostModel("other") == nullptr);
  CHECK(Picked(fleet, {.model = "m"}) == "no_worker");
}

}  // namespace conclave::mesh
