#include "gateway/upstream/worker_admin.h"

#include <google/protobuf/text_format.h>

#include "catch2/catch.hpp"

namespace conclave::gateway {
namespace {

template <typename Reply>
WorkerAnswer<Reply> From(const std::string& worker, const std::string& text) {
  Reply reply;
  REQUIRE(google::protobuf::TextFormat::ParseFromString(text, &reply));
  return {worker, std::move(reply)};
}

template <typename Reply>
WorkerAnswer<Reply> Lost(const std::string& worker) {
  return {worker, base::Unavailable("gone")};
}

}  // namespace

TEST_CASE("providers of several workers are joined by id, healthy where one is") {
  using Reply = v1::ListProvidersReply;
  const auto joined = JoinProviders(
      {From<Reply>("w0",
                   R"(providers { provider_id: "b" provider_type: "subprocess" models: "z" }
                      providers { provider_id: "a" provider_type: "remote::openai"
                                  health: HEALTH_ERROR health_message: "refused" })"),
       Lost<Reply>("w1"),
       From<Reply>("w2",
                   R"(providers { provider_id: "a" provider_type: "remote::openai"
                                  health: HEALTH_OK models: "m1" })"),
       From<Reply>("w3",
                   R"(providers { provider_id: "a" provider_type: "remote::openai"
                                  health: HEALTH_ERROR models: "m0" })")});
  REQUIRE(joined.ok());
  REQUIRE(joined->providers_size() == 2);
  const v1::Provider& a = joined->providers(0);
  CHECK(a.provider_id() == "a");
  CHECK(a.health() == v1::Provider::HEALTH_OK);
  CHECK(a.health_message().empty());
  REQUIRE(a.models_size() == 2);
  CHECK(a.models(0) == "m0");
  CHECK(joined->providers(1).models(0) == "z");
}

TEST_CASE("without one answer there is nothing to join") {
  CHECK(JoinProviders({}).status().code() == absl::StatusCode::kUnavailable);
  CHECK(JoinProviders({Lost<v1::ListProvidersReply>("w0")}).status().message() == "gone");
  CHECK(JoinLogs({Lost<v1::GetModelLogsReply>("w0")}, 0).status().message() == "gone");
}

TEST_CASE("placements of experts are those of the workers that have the model in memory") {
  using Reply = v1::GetExpertsReply;
  const auto joined =
      JoinExperts({From<Reply>("w0", R"(placements { worker_id: "w0" })"), Lost<Reply>("w1"),
                   From<Reply>("w2", R"(placements { worker_id: "w2" })")});
  REQUIRE(joined.ok());
  REQUIRE(joined->placements_size() == 2);
  CHECK(joined->placements(1).worker_id() == "w2");
  CHECK(JoinExperts({Lost<Reply>("w0")}).status().message() == "gone");
}

TEST_CASE("slots are those of all workers that answer, together") {
  using Reply = v1::CountSlotsReply;
  const auto joined = JoinSlots(
      {From<Reply>("w0", "total: 4 busy: 1"), Lost<Reply>("w1"), From<Reply>("w2", "total: 2")});
  REQUIRE(joined.ok());
  CHECK(joined->total() == 6);
  CHECK(joined->busy() == 1);
  CHECK(JoinSlots({Lost<Reply>("w0")}).status().message() == "gone");
}

TEST_CASE("logs of several workers are put in the order of time and say whose they are") {
  using Reply = v1::GetModelLogsReply;
  const auto answers = [] {
    return std::vector<WorkerAnswer<Reply>>{
        From<Reply>(
            "w0", R"(entries { ts_unix_ms: 1 msg: "one" } entries { ts_unix_ms: 3 msg: "three" })"),
        From<Reply>("w1", R"(entries { ts_unix_ms: 2 msg: "two" })"), Lost<Reply>("w2")};
  };
  const auto all = JoinLogs(answers(), 0);
  REQUIRE(all.ok());
  REQUIRE(all->entries_size() == 3);
  CHECK(all->entries(1).msg() == "two");
  CHECK(all->entries(1).fields().at("worker") == "\"w1\"");
  const auto newest = JoinLogs(answers(), 2);
  REQUIRE(newest.ok());
  REQUIRE(newest->entries_size() == 2);
  CHECK(newest->entries(0).msg() == "two");
}

TEST_CASE("what was cleared is summed, and a worker that did not clear is an error") {
  using Reply = v1::ClearModelLogsReply;
  const auto sum = JoinCleared({From<Reply>("w0", "cleared: 3"), From<Reply>("w1", "cleared: 4")});
  REQUIRE(sum.ok());
  CHECK(sum->cleared() == 7);
  CHECK(JoinCleared({From<Reply>("w0", "cleared: 3"), Lost<Reply>("w1")}).status().message() ==
        "worker w1: gone");
}

}  // namespace conclave::gateway
