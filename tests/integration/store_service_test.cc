// conclave-store as its callers see it: gRPC in front, PostgreSQL and a scripted worker behind.
#include <catch2/catch.hpp>

#include <condition_variable>
#include <future>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "mesh/store_client.h"
#include "store/run_change.h"
#include "store/store.h"
#include "support/scripted_worker.h"
#include "support/test_database.h"

namespace pb = conclave::v1;
using namespace conclave::tests;
using conclave::mesh::CallHandle;
using conclave::mesh::CallOptions;
using conclave::mesh::StoreClient;
using std::chrono::milliseconds;

namespace {

// A run's events as they arrive.
class Listener final : public conclave::mesh::RunObserver {
 public:
  static std::shared_ptr<Listener> Open(StoreClient& client, const pb::Run& run, int64_t after) {
    auto listener = std::make_shared<Listener>();
    pb::StreamRunRequest request;
    request.set_thread_id(run.thread_id());
    request.set_run_id(run.id());
    request.set_after_seq(after);
    auto stream = client.StreamRun(
        request, {.deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60)},
        listener);
    {
      const std::lock_guard lock(listener->mutex_);
      listener->stream_ = stream;
    }
    stream->ReadNext();
    return listener;
  }

  void OnEvent(pb::RunEvent& event) override {
    std::shared_ptr<conclave::mesh::RunStream> stream;
    {
      const std::lock_guard lock(mutex_);
      events_.push_back(event);
      stream = stream_;
    }
    changed_.notify_all();
    stream->ReadNext();
  }
  void OnDone(const absl::Status& status) override {
    {
      const std::lock_guard lock(mutex_);
      status_ = status;
    }
    changed_.notify_all();
  }

  void AwaitEvents(size_t count) {
    std::unique_lock lock(mutex_);
    REQUIRE(changed_.wait_for(lock, std::chrono::seconds(20),
                              [&] { return events_.size() >= count || status_; }));
  }
  absl::Status AwaitEnd() {
    std::unique_lock lock(mutex_);
    REQUIRE(changed_.wait_for(lock, std::chrono::seconds(30), [&] { return status_.has_value(); }));
    return *status_;
  }
  std::vector<pb::RunEvent> events() {
    const std::lock_guard lock(mutex_);
    return events_;
  }
  void Leave() {
    const std::lock_guard lock(mutex_);
    stream_->Cancel();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<conclave::mesh::RunStream> stream_;
  std::vector<pb::RunEvent> events_;
  std::optional<absl::Status> status_;
};

struct Service {
  explicit Service(std::string_view script = "{}", milliseconds lease = milliseconds(15'000))
      : worker(script) {
    options.database = db.conninfo();
    options.server.listen = "127.0.0.1:0";
    options.inference_workers = {worker.address()};
    options.executor_threads = 4;
    options.lease = lease;
    options.flush_every = milliseconds(5);
    Start();
    pb::CreateAssistantRequest request;
    request.mutable_assistant()->set_model("scripted");
    assistant = Call<pb::Assistant>(&StoreClient::CreateAssistant, request)->id();
  }

  void Start() {
    auto opened = conclave::store::Store::Open(options, std::chrono::seconds(5));
    REQUIRE(opened.ok());
    store = *std::move(opened);
    REQUIRE(store->Start().ok());
    auto connected = StoreClient::Open(absl::StrCat("127.0.0.1:", store->port()), {});
    REQUIRE(connected.ok());
    client = *std::move(connected);
  }

  template <typename Reply, typename Request, typename Method>
  absl::StatusOr<Reply> Call(Method method, const Request& request) {
    auto promise = std::make_shared<std::promise<absl::StatusOr<Reply>>>();
    auto future = promise->get_future();
    (client.get()->*method)(
        request, {.deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20)},
        [promise](absl::StatusOr<Reply> reply) { promise->set_value(std::move(reply)); });
    return future.get();
  }

  pb::Run Ask(const std::string& text) {
    pb::CreateThreadAndRunRequest request;
    request.mutable_run()->set_assistant_id(assistant);
    pb::Message* m = request.mutable_thread()->add_messages();
    m->set_role(pb::Message::ROLE_USER);
    m->add_content()->mutable_text()->set_value(text);
    auto run = Call<pb::Run>(&StoreClient::CreateThreadAndRun, request);
    INFO(run.status().ToString());
    REQUIRE(run.ok());
    return *run;
  }

  TestDatabase db;
  ScriptedWorker worker;
  conclave::store::StoreOptions options;
  std::unique_ptr<conclave::store::Store> store;
  std::unique_ptr<StoreClient> client;
  std::string assistant;
};

std::vector<std::string> Serialized(const std::vector<pb::RunEvent>& events) {
  std::vector<std::string> texts;
  for (const auto& event : events) texts.push_back(event.SerializeAsString());
  return texts;
}

}  // namespace

TEST_CASE("errors reach the caller with code, reason and field") {
  Service s;
  pb::CreateAssistantRequest request;
  auto refused = s.Call<pb::Assistant>(&StoreClient::CreateAssistant, request);
  CHECK(refused.status().code() == absl::StatusCode::kInvalidArgument);
  CHECK(conclave::base::ParamOf(refused.status()) == "model");
  CHECK(conclave::base::ReasonOf(refused.status()) == "missing_required_parameter");
  pb::GetThreadRequest get;
  get.set_id("thread_none");
  auto missing = s.Call<pb::Thread>(&StoreClient::GetThread, get);
  CHECK(missing.status().code() == absl::StatusCode::kNotFound);
}

TEST_CASE("listeners of a run hear the same, whenever they come") {
  Service s(R"({"token_ms": 2, "rules": [{"mode": "dice", "count": 100}]})");
  const pb::Run run = s.Ask("go");
  auto live = Listener::Open(*s.client, run, run.event_seq());
  live->AwaitEvents(10);
  auto late = Listener::Open(*s.client, run, 0);
  auto partial = Listener::Open(*s.client, run, 5);
  CHECK(live->AwaitEnd().ok());
  CHECK(late->AwaitEnd().ok());
  CHECK(partial->AwaitEnd().ok());
  auto after = Listener::Open(*s.client, run, 0);
  CHECK(after->AwaitEnd().ok());
  const auto all = live->events();
  CHECK(all.front().event() == "thread.created");
  CHECK(all.back().event() == "thread.run.completed");
  CHECK(Serialized(late->events()) == Serialized(all));
  CHECK(Serialized(after->events()) == Serialized(all));
  CHECK(Serialized(partial->events()) == Serialized({all.begin() + 5, all.end()}));
  // The run rests and everything was heard: a listener from the end ends at once.
  auto end = Listener::Open(*s.client, run, all.back().seq());
  CHECK(end->AwaitEnd().ok());
  CHECK(end->events().empty());
}

TEST_CASE("a listener of nothing is told so") {
  Service s;
  pb::Run run;
  run.set_id("run_none");
  run.set_thread_id("thread_none");
  CHECK(Listener::Open(*s.client, run, 0)->AwaitEnd().code() == absl::StatusCode::kNotFound);
  const pb::Run real = s.Ask("go");
  CHECK(Listener::Open(*s.client, real, -1)->AwaitEnd().code() ==
        absl::StatusCode::kInvalidArgument);
  CHECK(Listener::Open(*s.client, real, 1'000'000)->AwaitEnd().code() ==
        absl::StatusCode::kInvalidArgument);
}

TEST_CASE("a listener that leaves does not disturb the run") {
  Service s(R"({"token_ms": 2, "rules": [{"mode": "dice", "count": 100}]})");
  const pb::Run run = s.Ask("go");
  auto leaving = Listener::Open(*s.client, run, 0);
  leaving->AwaitEvents(9);
  leaving->Leave();
  CHECK(leaving->AwaitEnd().code() == absl::StatusCode::kCancelled);
  auto staying = Listener::Open(*s.client, run, leaving->events().back().seq());
  CHECK(staying->AwaitEnd().ok());
  CHECK(staying->events().back().event() == "thread.run.completed");
}

TEST_CASE("a listener outlives a restart of PostgreSQL") {
  Service s(R"({"token_ms": 4, "rules": [{"mode": "dice", "count": 200}]})");
  const pb::Run run = s.Ask("go");
  auto listener = Listener::Open(*s.client, run, 0);
  listener->AwaitEvents(10);
  TestDatabase::Control("kill");
  TestDatabase::Control("start");
  CHECK(listener->AwaitEnd().ok());
  const auto events = listener->events();
  CHECK(events.back().event() == "thread.run.completed");
  for (size_t i = 0; i < events.size(); ++i) CHECK(events[i].seq() == static_cast<int64_t>(i) + 1);
}

TEST_CASE("a drained store gives its runs back, and its successor completes them") {
  Service s(R"({"token_ms": 3, "rules": [{"mode": "dice", "count": 200}]})", milliseconds(60'000));
  const pb::Run run = s.Ask("go");
  auto before = Listener::Open(*s.client, run, 0);
  before->AwaitEvents(10);
  s.store->SetNotReady();
  CHECK_FALSE(s.store->NotReadyReason().empty());
  s.store->Drain(std::chrono::steady_clock::now() + std::chrono::seconds(5));
  s.store->Stop();
  before->AwaitEnd().IgnoreError();
  s.Start();
  const auto heard = before->events();
  auto rest = Listener::Open(*s.client, run, heard.back().seq());
  CHECK(rest->AwaitEnd().ok());
  CHECK(rest->events().back().event() == "thread.run.completed");
  CHECK(rest->events().front().seq() == heard.back().seq() + 1);
}

TEST_CASE("metrics say what the store does") {
  Service s;
  const pb::Run run = s.Ask("go");
  CHECK(Listener::Open(*s.client, run, 0)->AwaitEnd().ok());
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  std::string text;
  while (text.find("conclave_runs{status=\"completed\"} 1") == std::string::npos &&
         std::chrono::steady_clock::now() < deadline) {
    text = s.store->metrics().Text();
  }
  CHECK(text.find("conclave_runs{status=\"completed\"} 1") != std::string::npos);
  CHECK(text.find("conclave_store_tx_seconds_count{op=\"create_thread_and_run\"} 1") !=
        std::string::npos);
  CHECK(text.find("conclave_lease_lost_total 0") != std::string::npos);
}
