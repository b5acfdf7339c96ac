// A run is interrupted at every transaction of its execution in turn: the answer to the COMMIT is
// lost, or the process dies right before it or right after it. Whatever happens, the run completes,
// its stream has no gap and no repetition, and its message is there once.
#include <catch2/catch.hpp>

#include <atomic>

#include "support/run_world.h"

namespace pb = conclave::v1;
using namespace conclave::tests;
using conclave::store::Database;
using Point = Database::Options::Point;
using std::chrono::milliseconds;

namespace {

// Text, then a call, then text: every kind of step.
constexpr char kScript[] = R"({"rules": [
  {"when": {"last_role": "tool"}, "steps": [{"text": "Warm."}]},
  {"steps": [{"text": "Let me see."},
             {"tool_call": {"name": "f", "arguments": {"city": "Rome"}}}]}]})";

constexpr char kFirst[] = "Let me see.";
constexpr char kSecond[] = "Warm.";

// What the executor's own transactions are called; claiming and renewing have tests of their own.
bool OfExecutor(std::string_view op) {
  return op == "begin_run" || op == "append_run_events" || op == "finish_run" || op == "end_run";
}

struct Fault {
  int at = 0;  // the number of the transaction
  Point point = Point::kAfterCommit;
  bool dies = false;  // else only the answer is lost
};

// One replica that breaks once.
class BreakingReplica final {
 public:
  BreakingReplica(RunWorld& w, const Fault& fault)
      : fault_(fault),
        database_({.pool = {.conninfo = w.db().conninfo(), .size = 8},
                   .fault = [this](std::string_view op, Point point) { return At(op, point); }}),
        discovery_(*conclave::mesh::Discovery::Start({.targets = {w.worker().address()}})),
        client_(discovery_.get(), {}) {
    REQUIRE(discovery_->WaitFor([](const auto& f) { return f.num_usable() > 0; },
                                std::chrono::seconds(10)));
  }

  // Executes the run to its rest, or dies.
  void Execute(milliseconds lease) {
    conclave::store::Leases leases(database_, "breaking", lease);
    auto claimed = leases.Claim(1);
    REQUIRE(claimed.ok());
    REQUIRE(claimed->size() == 1);
    conclave::store::RunRecorder recorder(database_, signals_, control_, claimed->at(0),
                                          {.lease = lease});
    conclave::store::RunExecutor executor(client_, recorder, control_,
                                          {.flush_every = milliseconds(0)});  // each delta
    const absl::Status status = executor.Execute();
    if (!control_.abandoned()) {
      INFO(status.ToString());
      // A lost answer to the last COMMIT is found out as a run that rests.
      CHECK((status.ok() || conclave::base::ReasonOf(status) == conclave::store::kLeaseLost));
    }
  }

  bool broke() const { return broke_; }

 private:
  absl::Status At(std::string_view op, Point point) {
    if (!OfExecutor(op)) return absl::OkStatus();
    if (point == Point::kBeforeBegin) ++count_;
    if (broke_ || count_ != fault_.at || point != fault_.point) return absl::OkStatus();
    broke_ = true;
    if (fault_.dies) control_.Abandon();
    return absl::UnavailableError("broken by the test");
  }

  const Fault fault_;
  std::atomic<int> count_ = 0;
  std::atomic<bool> broke_ = false;
  Database database_;
  conclave::store::RunSignals signals_;
  conclave::store::RunControl control_;
  std::unique_ptr<conclave::mesh::Discovery> discovery_;
  conclave::mesh::InferenceClient client_;
};

void CheckResult(RunWorld& w, const pb::Run& run) {
  const auto events = w.Events(run);
  for (size_t i = 0; i < events.size(); ++i) {
    REQUIRE(events[i].seq() == static_cast<int64_t>(i) + 1);
  }
  CHECK(Names(events) ==
        std::vector<std::string>{"thread.run.created",          "thread.run.queued",
                                 "thread.run.in_progress",      "thread.run.step.created",
                                 "thread.run.step.in_progress", "thread.message.created",
                                 "thread.message.in_progress",  "thread.message.delta",
                                 "thread.message.completed",    "thread.run.step.completed",
                                 "thread.run.step.created",     "thread.run.step.in_progress",
                                 "thread.run.step.delta",       "thread.run.requires_action",
                                 "thread.run.step.completed",   "thread.run.queued",
                                 "thread.run.in_progress",      "thread.run.step.created",
                                 "thread.run.step.in_progress", "thread.message.created",
                                 "thread.message.in_progress",  "thread.message.delta",
                                 "thread.message.completed",    "thread.run.step.completed",
                                 "thread.run.completed"});
  CHECK(DeltaText(events) == std::string(kFirst) + kSecond);
  const auto messages = w.MessagesOf(run);
  REQUIRE(messages.size() == 2);
  CHECK(messages[0].content(0).text().value() == kFirst);
  CHECK(messages[1].content(0).text().value() == kSecond);
  CHECK(w.db().Value("SELECT count(*) FROM run_tokens") == "0");
  CHECK(w.db().Value("SELECT count(*) FROM run_steps WHERE open") == "0");
}

}  // namespace

TEST_CASE("a run survives a fault at any of its transactions") {
  const auto [point, dies] = GENERATE(table<Point, bool>({{Point::kAfterCommit, false},
                                                          {Point::kBeforeCommit, false},
                                                          {Point::kAfterCommit, true},
                                                          {Point::kBeforeCommit, true}}));
  constexpr milliseconds kLease{300};
  RunWorld w(kScript, kLease);
  int interrupted = 0;
  // The first leg takes about thirty transactions: the first ones each, then every fifth.
  for (int at = 1; at <= 60; at += at < 6 ? 1 : 5) {
    INFO("transaction " << at << ", point " << static_cast<int>(point) << ", dies " << dies);
    conclave::store::RunSignals signals;
    conclave::store::Runs runs(w.db().database(), signals);
    const pb::Run run = w.Ask(runs, "the weather?", [](pb::CreateRunRequest& r) {
      r.add_tools()->mutable_function()->set_name("f");
    });
    bool broke = false;
    while (!conclave::store::IsTerminal(w.Get(run).status())) {
      const pb::Run state = w.Get(run);
      if (state.status() == pb::RUN_STATUS_REQUIRES_ACTION) {
        pb::SubmitToolOutputsRequest submit;
        submit.set_thread_id(run.thread_id());
        submit.set_id(run.id());
        submit.add_tool_outputs()->set_tool_call_id(state.required_tool_calls(0).id());
        submit.mutable_tool_outputs(0)->set_output("20");
        REQUIRE(runs.SubmitToolOutputs(submit).ok());
      } else if (!broke) {
        BreakingReplica replica(w, {.at = at, .point = point, .dies = dies});
        replica.Execute(kLease);
        broke = replica.broke();
      } else {
        // The lease of a dead replica runs out; another one takes over.
        auto replica = w.NewReplica();
        w.Await(run);
      }
    }
    CHECK(w.Get(run).status() == pb::RUN_STATUS_COMPLETED);
    CheckResult(w, run);
    interrupted += broke;
    pb::DeleteThreadRequest remove;
    remove.set_id(run.thread_id());
    REQUIRE(w.threads().Delete(remove).ok());
    if (!broke) break;  // the run has fewer transactions than that
  }
  CHECK(interrupted >= 9);
}
