// Runs from their creation to their end, against PostgreSQL and the worker's real services with the
// scripted backend.
#include <catch2/catch.hpp>

#include <set>

#include "absl/strings/str_cat.h"
#include "mesh/blocking_generate.h"
#include "support/run_world.h"

namespace pb = conclave::v1;
using namespace conclave::tests;
using std::chrono::milliseconds;

namespace {

constexpr char kEcho[] = "{}";
// Slow enough to be caught in the middle.
constexpr char kSlow[] = R"({"token_ms": 2, "rules": [{"mode": "dice", "count": 150}]})";
constexpr char kTools[] = R"({"rules": [
  {"when": {"last_role": "user", "last_contains": "weather"},
   "steps": [{"text": "Let me see."},
             {"tool_call": {"name": "get_weather", "arguments": {"city": "Rome"}}},
             {"tool_call": {"name": "get_weather", "arguments": {"city": "Oslo"}}}]},
  {"when": {"last_role": "tool"}, "steps": [{"text": "It is warm."}]}]})";

void AddTool(pb::CreateRunRequest& request) {
  pb::FunctionTool* tool = request.add_tools()->mutable_function();
  tool->set_name("get_weather");
  tool->set_parameters_json(R"({"type":"object","properties":{"city":{"type":"string"}}})");
}

std::string TextOf(const pb::Message& message) { return message.content(0).text().value(); }

// What the official SDKs demand of any stream of a run.
void CheckStream(const std::vector<pb::RunEvent>& events) {
  std::string step;
  std::string message;
  int64_t seq = 0;
  for (const pb::RunEvent& event : events) {
    INFO(event.seq() << " " << event.event());
    CHECK(event.seq() == ++seq);
    if (event.event() == "thread.run.step.created") {
      CHECK(step.empty());
      step = event.step().id();
    } else if (event.event() == "thread.message.created") {
      CHECK(message.empty());
      message = event.message().id();
      CHECK(event.message().content_size() == 0);
    } else if (event.has_message_delta()) {
      CHECK(event.message_delta().id() == message);
    } else if (event.has_step_delta()) {
      CHECK(event.step_delta().id() == step);
    } else if (event.has_message()) {
      CHECK(event.message().id() == message);
      if (event.event() != "thread.message.in_progress") message.clear();
    } else if (event.has_step()) {
      CHECK(event.step().id() == step);
      if (event.event() != "thread.run.step.in_progress") step.clear();
    }
  }
  CHECK(message.empty());
}

}  // namespace

TEST_CASE("a plain run tells its events in OpenAI's order and leaves one message") {
  RunWorld w(kEcho);
  auto replica = w.NewReplica();
  const pb::Run run = w.Ask(replica->runs(), "hello there");
  const pb::Run done = w.Await(run);
  CHECK(done.status() == pb::RUN_STATUS_COMPLETED);
  CHECK(done.has_completed_at());
  CHECK(done.has_started_at());
  CHECK_FALSE(done.has_expires_at());
  CHECK(done.usage().completion_tokens() > 0);
  CHECK(done.usage().prompt_tokens() > 0);
  const auto events = w.Events(run);
  CheckStream(events);
  CHECK(Names(events) == std::vector<std::string>{
                             "thread.run.created", "thread.run.queued", "thread.run.in_progress",
                             "thread.run.step.created", "thread.run.step.in_progress",
                             "thread.message.created", "thread.message.in_progress",
                             "thread.message.delta", "thread.message.completed",
                             "thread.run.step.completed", "thread.run.completed"});
  const auto messages = w.MessagesOf(run);
  REQUIRE(messages.size() == 1);
  CHECK(TextOf(messages[0]) == "hello there");
  CHECK(DeltaText(events) == "hello there");
  CHECK(messages[0].status() == pb::Message::STATUS_COMPLETED);
  CHECK(messages[0].assistant_id() == w.assistant());
  CHECK(w.db().Value("SELECT count(*) FROM run_tokens") == "0");
}

TEST_CASE("tool calls wait for their outputs and the run goes on with them") {
  RunWorld w(kTools);
  auto replica = w.NewReplica();
  const pb::Run run = w.Ask(replica->runs(), "the weather?", AddTool);
  const pb::Run waiting = w.Await(run);
  REQUIRE(waiting.status() == pb::RUN_STATUS_REQUIRES_ACTION);
  REQUIRE(waiting.required_tool_calls_size() == 2);
  CHECK(waiting.required_tool_calls(0).name() == "get_weather");
  CHECK(waiting.required_tool_calls(0).arguments().find("Rome") != std::string::npos);
  CHECK(waiting.required_tool_calls(1).arguments().find("Oslo") != std::string::npos);
  CHECK_FALSE(waiting.has_usage());
  CHECK(Names(w.Events(run)) ==
        std::vector<std::string>{
            "thread.run.created", "thread.run.queued", "thread.run.in_progress",
            "thread.run.step.created", "thread.run.step.in_progress", "thread.message.created",
            "thread.message.in_progress", "thread.message.delta", "thread.message.completed",
            "thread.run.step.completed", "thread.run.step.created", "thread.run.step.in_progress",
            "thread.run.step.delta", "thread.run.requires_action"});

  pb::SubmitToolOutputsRequest submit;
  submit.set_thread_id(run.thread_id());
  submit.set_id(run.id());
  submit.add_tool_outputs()->set_tool_call_id(waiting.required_tool_calls(0).id());
  submit.mutable_tool_outputs(0)->set_output("20 degrees");
  SECTION("one output of two is refused") {
    const auto refused = replica->runs().SubmitToolOutputs(submit);
    CHECK(refused.status().code() == absl::StatusCode::kInvalidArgument);
    CHECK(conclave::base::ParamOf(refused.status()) == "tool_outputs");
    CHECK(w.Get(run).status() == pb::RUN_STATUS_REQUIRES_ACTION);
  }
  SECTION("both outputs lead to the answer") {
    submit.add_tool_outputs()->set_tool_call_id(waiting.required_tool_calls(1).id());
    submit.mutable_tool_outputs(1)->set_output("2 degrees");
    auto queued = replica->runs().SubmitToolOutputs(submit);
    REQUIRE(queued.ok());
    CHECK(queued->status() == pb::RUN_STATUS_QUEUED);
    CHECK(queued->required_tool_calls_size() == 0);
    const pb::Run done = w.Await(run);
    CHECK(done.status() == pb::RUN_STATUS_COMPLETED);
    CheckStream(w.Events(run));
    CHECK(Names(w.Events(run, queued->event_seq())) ==
          std::vector<std::string>{
              "thread.run.step.completed", "thread.run.queued", "thread.run.in_progress",
              "thread.run.step.created", "thread.run.step.in_progress", "thread.message.created",
              "thread.message.in_progress", "thread.message.delta", "thread.message.completed",
              "thread.run.step.completed", "thread.run.completed"});
    const auto messages = w.MessagesOf(run);
    REQUIRE(messages.size() == 2);
    CHECK(TextOf(messages[0]) == "Let me see.");
    CHECK(TextOf(messages[1]) == "It is warm.");
    // A second answer comes too late.
    CHECK(replica->runs().SubmitToolOutputs(submit).status().code() ==
          absl::StatusCode::kFailedPrecondition);

    pb::ListRunStepsRequest list;
    list.set_thread_id(run.thread_id());
    list.set_run_id(run.id());
    list.mutable_page()->set_order(pb::PageRequest::ORDER_ASC);
    auto steps = replica->runs().ListSteps(list);
    REQUIRE(steps.ok());
    REQUIRE(steps->data_size() == 3);
    CHECK(steps->data(1).type() == pb::RunStep::TYPE_TOOL_CALLS);
    CHECK(steps->data(1).tool_calls(0).output() == "20 degrees");
    CHECK(steps->data(1).status() == pb::RunStep::STATUS_COMPLETED);
  }
  SECTION("waiting runs can be cancelled") {
    pb::CancelRunRequest cancel;
    cancel.set_thread_id(run.thread_id());
    cancel.set_id(run.id());
    auto cancelled = replica->runs().Cancel(cancel);
    REQUIRE(cancelled.ok());
    CHECK(cancelled->status() == pb::RUN_STATUS_CANCELLED);
    CHECK(Names(w.Events(run, cancelled->event_seq())) ==
          std::vector<std::string>{"thread.run.step.cancelled", "thread.run.cancelled"});
    CheckStream(w.Events(run));
  }
}

TEST_CASE("a run in progress is cancelled within a moment and keeps what it has said") {
  RunWorld w(R"({"token_ms": 5, "rules": [{"mode": "dice", "count": 2000}]})");
  auto replica = w.NewReplica();
  const pb::Run run = w.Ask(replica->runs(), "go");
  w.AwaitDeltas(run, 2);
  pb::CancelRunRequest cancel;
  cancel.set_thread_id(run.thread_id());
  cancel.set_id(run.id());
  // Any replica may be asked; here one that does not execute the run.
  conclave::store::RunSignals elsewhere;
  conclave::store::Runs other(w.db().database(), elsewhere);
  auto cancelling = other.Cancel(cancel);
  REQUIRE(cancelling.ok());
  CHECK(cancelling->status() == pb::RUN_STATUS_CANCELLING);
  const auto start = std::chrono::steady_clock::now();
  const pb::Run done = w.Await(run);
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(8));
  CHECK(done.status() == pb::RUN_STATUS_CANCELLED);
  CHECK(done.has_cancelled_at());
  const auto messages = w.MessagesOf(run);
  REQUIRE(messages.size() == 1);
  CHECK(messages[0].status() == pb::Message::STATUS_INCOMPLETE);
  CHECK(messages[0].incomplete_reason() == "run_cancelled");
  CHECK(TextOf(messages[0]) == DeltaText(w.Events(run)));
  CheckStream(w.Events(run));
  CHECK(w.Events(run).back().event() == "thread.run.cancelled");
  CHECK(w.worker().WaitUntilIdle(milliseconds(5000)));
}

TEST_CASE("a run that reaches its limit of tokens is incomplete, and so is its message") {
  RunWorld w(R"({"rules": [{"mode": "dice", "count": 3000}]})");
  auto replica = w.NewReplica();
  const pb::Run run = w.Ask(replica->runs(), "go",
                            [](pb::CreateRunRequest& r) { r.set_max_completion_tokens(256); });
  const pb::Run done = w.Await(run);
  CHECK(done.status() == pb::RUN_STATUS_INCOMPLETE);
  CHECK(done.incomplete_reason() == "max_completion_tokens");
  CHECK(done.usage().completion_tokens() == 256);
  const auto messages = w.MessagesOf(run);
  REQUIRE(messages.size() == 1);
  CHECK(messages[0].status() == pb::Message::STATUS_INCOMPLETE);
  CHECK(messages[0].incomplete_reason() == "max_tokens");
  CHECK(w.Events(run).back().event() == "thread.run.incomplete");
}

TEST_CASE("a failing model fails the run, and says so in the last events") {
  RunWorld w(R"({"rules": [{"steps": [{"text": "Half an ans"},
                {"fail": {"code": "INTERNAL", "message": "secret detail"}}]}]})");
  auto replica = w.NewReplica();
  const pb::Run run = w.Ask(replica->runs(), "go");
  const pb::Run done = w.Await(run);
  CHECK(done.status() == pb::RUN_STATUS_FAILED);
  CHECK(done.last_error().code() == "server_error");
  CHECK(done.last_error().message().find("secret") == std::string::npos);
  const auto messages = w.MessagesOf(run);
  REQUIRE(messages.size() == 1);
  CHECK(messages[0].incomplete_reason() == "run_failed");
  CHECK(TextOf(messages[0]) == "Half an ans");
  const auto names = Names(w.Events(run));
  CHECK(names[names.size() - 3] == "thread.message.incomplete");
  CHECK(names[names.size() - 2] == "thread.run.step.failed");
  CHECK(names.back() == "thread.run.failed");
  CheckStream(w.Events(run));
  // The thread is free again.
  pb::CreateMessageRequest message;
  message.set_thread_id(run.thread_id());
  message.mutable_message()->set_role(pb::Message::ROLE_USER);
  message.mutable_message()->add_content()->mutable_text()->set_value("again");
  CHECK(w.messages().Create(message).ok());
}

TEST_CASE("what the transport says of our addresses is not told to callers") {
  RunWorld w(R"({"rules": [{"refuse":
      {"code": "UNAVAILABLE", "message": "ipv4:10.0.0.7:50051: connection refused"}}]})");
  auto replica = w.NewReplica(milliseconds(50));
  const pb::Run done = w.Await(w.Ask(replica->runs(), "go"));
  CHECK(done.status() == pb::RUN_STATUS_FAILED);
  CHECK(done.last_error().code() == "server_error");
  CHECK_FALSE(done.last_error().message().empty());
  CHECK(done.last_error().message().find("10.0.0.7") == std::string::npos);
}

TEST_CASE("a run of an unknown model fails and does not hang") {
  RunWorld w(kEcho);
  auto replica = w.NewReplica();
  const pb::Run run =
      w.Ask(replica->runs(), "go", [](pb::CreateRunRequest& r) { r.set_model("nobody"); });
  const pb::Run done = w.Await(run);
  CHECK(done.status() == pb::RUN_STATUS_FAILED);
  CHECK(done.last_error().code() == "server_error");
}

TEST_CASE("runs past their time expire: waiting, queued and in progress") {
  SECTION("in progress") {
    RunWorld w(R"({"token_ms": 20, "rules": [{"mode": "dice", "count": 3000}]})",
               milliseconds(15'000), std::chrono::seconds(1));
    auto replica = w.NewReplica();
    const pb::Run run = w.Ask(replica->runs(), "go");
    const pb::Run done = w.Await(run);
    CHECK(done.status() == pb::RUN_STATUS_EXPIRED);
    const auto messages = w.MessagesOf(run);
    REQUIRE(messages.size() == 1);
    CHECK(messages[0].incomplete_reason() == "run_expired");
    CheckStream(w.Events(run));
  }
  SECTION("waiting for the caller") {
    RunWorld w(kTools, milliseconds(15'000), std::chrono::seconds(1));
    auto replica = w.NewReplica();
    const pb::Run run = w.Ask(replica->runs(), "the weather?", AddTool);
    w.Await(run, pb::RUN_STATUS_REQUIRES_ACTION);
    w.Await(run, pb::RUN_STATUS_EXPIRED);
    const auto names = Names(w.Events(run));
    CHECK(names[names.size() - 2] == "thread.run.step.expired");
    CHECK(names.back() == "thread.run.expired");
  }
  SECTION("queued") {
    RunWorld w(kEcho);
    conclave::store::RunSignals signals;
    conclave::store::Runs runs(w.db().database(), signals,
                               {.expires_after = std::chrono::seconds(0)});
    const pb::Run run = w.Ask(runs, "go");
    CHECK(conclave::store::ExpireRuns(w.db().database())->size() == 1);
    CHECK(w.Get(run).status() == pb::RUN_STATUS_EXPIRED);
  }
}

TEST_CASE("a run whose executor dies is completed by another, word for word and once") {
  RunWorld w(kSlow, milliseconds(600));
  auto first = w.NewReplica();
  const pb::Run run = w.Ask(first->runs(), "go");
  w.AwaitDeltas(run, 3);
  first->jobs().Abandon();
  const auto told_before = w.Events(run);
  CHECK(w.Get(run).status() == pb::RUN_STATUS_IN_PROGRESS);

  auto second = w.NewReplica();
  const pb::Run done = w.Await(run);
  CHECK(done.status() == pb::RUN_STATUS_COMPLETED);
  const auto events = w.Events(run);
  CheckStream(events);
  REQUIRE(events.size() > told_before.size());
  for (size_t i = 0; i < told_before.size(); ++i) {
    CHECK(events[i].SerializeAsString() == told_before[i].SerializeAsString());
  }
  const auto messages = w.MessagesOf(run);
  REQUIRE(messages.size() == 1);
  CHECK(TextOf(messages[0]) == DeltaText(events));
  CHECK(Names(events).size() == 11);
  CHECK(done.usage().completion_tokens() > 150);

  // An undisturbed generation from the same seed says the same.
  const std::string fence = w.db().Value("SELECT fence FROM runs");
  CHECK(fence == "2");
  pb::GenerateRequest request;
  auto history = conclave::store::RunHistory{.run = run};
  pb::ListMessagesRequest list;
  list.set_thread_id(run.thread_id());
  list.mutable_page()->set_order(pb::PageRequest::ORDER_ASC);
  history.messages.push_back(w.messages().List(list)->data(0));
  request = *conclave::store::MakeRequest(history, "default");
  auto discovery = *conclave::mesh::Discovery::Start({.targets = {w.worker().address()}});
  REQUIRE(discovery->WaitFor([](const auto& f) { return f.num_usable() > 0; },
                             std::chrono::seconds(10)));
  conclave::mesh::InferenceClient client(discovery.get(), {});
  conclave::mesh::BlockingGenerate stream(client, request, {});
  std::string text;
  while (true) {
    auto event = stream.Next(std::chrono::seconds(10));
    REQUIRE(event.ok());
    if (!event->has_value()) break;
    text += (*event)->delta().text();
  }
  CHECK(text == TextOf(messages[0]));
}

TEST_CASE("tool calls broken off by a crash are told once") {
  RunWorld w(R"({"token_ms": 4, "rules": [
    {"when": {"last_role": "user"},
     "steps": [{"tool_call": {"name": "get_weather",
       "arguments": {"city": "a place with a name that takes its time to be written down"}}}]},
    {"steps": [{"text": "done"}]}]})",
             milliseconds(600));
  auto first = w.NewReplica();
  const pb::Run run = w.Ask(first->runs(), "weather", AddTool);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  const auto deltas = [&] {
    int count = 0;
    for (const auto& event : w.Events(run)) count += event.has_step_delta();
    return count;
  };
  while (deltas() < 2 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(milliseconds(2));
  }
  first->jobs().Abandon();
  REQUIRE(w.Get(run).status() == pb::RUN_STATUS_IN_PROGRESS);
  auto second = w.NewReplica();
  const pb::Run waiting = w.Await(run);
  REQUIRE(waiting.status() == pb::RUN_STATUS_REQUIRES_ACTION);
  REQUIRE(waiting.required_tool_calls_size() == 1);
  std::string told;
  std::set<std::string> ids;
  for (const auto& event : w.Events(run)) {
    for (const auto& fragment : event.step_delta().tool_calls()) {
      told += fragment.arguments();
      if (!fragment.id().empty()) ids.insert(fragment.id());
    }
  }
  CHECK(told == waiting.required_tool_calls(0).arguments());
  CHECK(ids == std::set<std::string>{waiting.required_tool_calls(0).id()});
  CheckStream(w.Events(run));
}

TEST_CASE("an orderly stop hands runs over at once") {
  RunWorld w(kSlow, milliseconds(60'000));  // far longer than this test may take
  auto first = w.NewReplica();
  const pb::Run run = w.Ask(first->runs(), "go");
  w.AwaitDeltas(run, 3);
  first->jobs().Stop();
  auto second = w.NewReplica();
  const pb::Run done = w.Await(run);
  CHECK(done.status() == pb::RUN_STATUS_COMPLETED);
  CHECK(w.MessagesOf(run).size() == 1);
  CHECK(TextOf(w.MessagesOf(run)[0]) == DeltaText(w.Events(run)));
  CheckStream(w.Events(run));
}

TEST_CASE("a restarted worker is asked to go on where it was") {
  RunWorld w(kSlow);
  auto replica = w.NewReplica();
  const pb::Run run = w.Ask(replica->runs(), "go");
  w.AwaitDeltas(run, 3);
  w.RestartWorker(kSlow);
  const pb::Run done = w.Await(run);
  CHECK(done.status() == pb::RUN_STATUS_COMPLETED);
  const auto messages = w.MessagesOf(run);
  REQUIRE(messages.size() == 1);
  CHECK(TextOf(messages[0]) == DeltaText(w.Events(run)));
  CheckStream(w.Events(run));
}

TEST_CASE("a database that goes away in the middle costs time and nothing else") {
  RunWorld w(kSlow, milliseconds(3'000));
  auto replica = w.NewReplica();
  const pb::Run run = w.Ask(replica->runs(), "go");
  w.AwaitDeltas(run, 3);
  TestDatabase::Control("kill");
  TestDatabase::Control("start");
  const pb::Run done = w.Await(run);
  CHECK(done.status() == pb::RUN_STATUS_COMPLETED);
  const auto messages = w.MessagesOf(run);
  REQUIRE(messages.size() == 1);
  CHECK(TextOf(messages[0]) == DeltaText(w.Events(run)));
  CheckStream(w.Events(run));
}

TEST_CASE("two replicas share many runs, and each is executed once") {
  RunWorld w(kEcho, milliseconds(5'000));
  auto a = w.NewReplica();
  auto b = w.NewReplica();
  std::vector<pb::Run> runs;
  for (int i = 0; i < 24; ++i) {
    runs.push_back(w.Ask(i % 2 == 0 ? a->runs() : b->runs(), absl::StrCat("question ", i)));
  }
  for (int i = 0; i < 24; ++i) {
    const pb::Run done = w.Await(runs[static_cast<size_t>(i)]);
    CHECK(done.status() == pb::RUN_STATUS_COMPLETED);
    const auto messages = w.MessagesOf(done);
    REQUIRE(messages.size() == 1);
    CHECK(TextOf(messages[0]) == absl::StrCat("question ", i));
  }
  CHECK(w.db().Value("SELECT max(fence) FROM runs") == "1");
}

TEST_CASE("a lease is taken once, and a late writer finds its fence gone") {
  RunWorld w(kEcho);
  conclave::store::RunSignals signals;
  conclave::store::Runs runs(w.db().database(), signals);
  const pb::Run run = w.Ask(runs, "go");
  conclave::store::Leases a(w.db().database(), "a", milliseconds(60'000));
  conclave::store::Leases b(w.db().database(), "b", milliseconds(60'000));
  auto mine = a.Claim(10);
  REQUIRE(mine.ok());
  REQUIRE(mine->size() == 1);
  CHECK(b.Claim(10)->empty());
  REQUIRE(a.Release((*mine)[0]).ok());
  auto theirs = b.Claim(10);
  REQUIRE(theirs->size() == 1);
  CHECK((*theirs)[0].fence > (*mine)[0].fence);

  CHECK(a.Renew(*mine, true)->at(0).lost);
  CHECK_FALSE(b.Renew(*theirs, true)->at(0).lost);
  conclave::store::RunControl control;
  conclave::store::RunRecorder late(w.db().database(), signals, control, (*mine)[0], {});
  CHECK(conclave::base::ReasonOf(late.Begin()) == conclave::store::kLeaseLost);
  CHECK(w.Get(run).status() == pb::RUN_STATUS_QUEUED);
}

TEST_CASE("a thread deleted under a run ends the run without a word") {
  RunWorld w(kSlow);
  auto replica = w.NewReplica();
  const pb::Run run = w.Ask(replica->runs(), "go");
  w.AwaitDeltas(run, 2);
  pb::DeleteThreadRequest remove;
  remove.set_id(run.thread_id());
  CHECK(w.threads().Delete(remove).ok());
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (replica->jobs().num_running() > 0 && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(milliseconds(5));
  }
  CHECK(replica->jobs().num_running() == 0);
  CHECK(w.db().Value("SELECT count(*) FROM run_events") == "0");
}
