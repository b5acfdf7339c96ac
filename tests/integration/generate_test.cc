// Generate over real gRPC, against workers that die, fall silent, restart and refuse.
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <condition_variable>
#include <future>
#include <mutex>
#include <random>

#include "base/clock.h"
#include "mesh/blocking_generate.h"
#include "mesh/inference_client.h"
#include "support/fake_worker.h"
#include "support/wait_until.h"

namespace conclave::mesh {
namespace {

namespace pb = conclave::v1;
using std::chrono::milliseconds;
using std::chrono::seconds;
using support::FakeWorker;
using support::Script;
using support::WaitUntil;

base::SteadyTime In(milliseconds time) { return std::chrono::steady_clock::now() + time; }

// Keeps what was delivered; asks for the next event by itself unless told not to.
class Recorder final : public GenerateObserver {
 public:
  explicit Recorder(bool read_on = true) : read_on_(read_on) {}

  void Attach(std::shared_ptr<GenerateCall> call) {
    {
      const std::lock_guard lock(mutex_);
      call_ = call;
    }
    if (read_on_) call->ReadNext();
  }
  void OnEvent(pb::GenerateEvent& event) override {
    std::shared_ptr<GenerateCall> call;
    {
      const std::lock_guard lock(mutex_);
      if (done_count_ > 0) ++late_events_;
      events_.push_back(std::move(event));
      call = call_;
    }
    changed_.notify_all();
    if (read_on_ && call != nullptr) call->ReadNext();
  }
  void OnDone(const absl::Status& status) override {
    const std::lock_guard lock(mutex_);
    status_ = status;
    ++done_count_;
    call_ = nullptr;
    changed_.notify_all();
  }

  absl::Status WaitDone(milliseconds timeout = seconds(20)) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, timeout, [&] { return done_count_ > 0; })) {
      return absl::InternalError("the test waited too long");
    }
    CHECK(done_count_ == 1);
    CHECK(late_events_ == 0);
    return status_;
  }
  bool WaitEvents(size_t count, milliseconds timeout = seconds(20)) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, timeout, [&] { return events_.size() >= count; });
  }
  size_t num_events() {
    const std::lock_guard lock(mutex_);
    return events_.size();
  }
  std::vector<int32_t> Tokens(int index = 0) {
    const std::lock_guard lock(mutex_);
    std::vector<int32_t> tokens;
    for (const pb::GenerateEvent& event : events_) {
      if (event.delta().index() != index) continue;
      tokens.insert(tokens.end(), event.delta().token_ids().begin(),
                    event.delta().token_ids().end());
    }
    return tokens;
  }
  int Count(pb::GenerateEvent::EventCase kind) {
    const std::lock_guard lock(mutex_);
    return static_cast<int>(std::count_if(events_.begin(), events_.end(), [&](const auto& event) {
      return event.event_case() == kind;
    }));
  }

 private:
  const bool read_on_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::shared_ptr<GenerateCall> call_;
  std::vector<pb::GenerateEvent> events_;
  absl::Status status_;
  int done_count_ = 0;
  int late_events_ = 0;
};

// Some workers, all heard of, and a client over them.
struct Mesh {
  explicit Mesh(int num_workers, InferenceClientOptions options = {}) {
    std::vector<std::string> targets;
    for (int i = 0; i < num_workers; ++i) {
      workers.push_back(std::make_unique<FakeWorker>("w" + std::to_string(i)));
      targets.push_back(workers.back()->address());
    }
    discovery = *Discovery::Start({.targets = targets});
    REQUIRE(WaitUsable(num_workers));
    client = std::make_unique<InferenceClient>(discovery.get(), options, &metrics);
  }
  bool WaitUsable(int count) {
    return discovery->WaitFor([&](const Fleet& fleet) { return fleet.num_usable() == count; },
                              seconds(10));
  }
  void SetScripts(const Script& script) {
    for (auto& worker : workers) worker->SetScript(script);
  }
  std::shared_ptr<GenerateCall> Start(const std::shared_ptr<Recorder>& recorder,
                                      milliseconds time = seconds(20), uint64_t seed = 5, int n = 1,
                                      const std::string& model = "fake") {
    pb::GenerateRequest request;
    request.set_model(model);
    request.set_text("once upon a time");
    request.mutable_sampling()->set_seed(seed);
    request.set_n(n);
    auto call = client->Generate(request, {.deadline = In(time)}, recorder);
    recorder->Attach(call);
    return call;
  }
  double Migrations(const std::string& result) {
    return metrics.AddCounter("conclave_migrations_total", "", {{"result", result}}).value();
  }

  base::Metrics metrics;
  std::vector<std::unique_ptr<FakeWorker>> workers;
  std::unique_ptr<Discovery> discovery;
  std::unique_ptr<InferenceClient> client;
};

std::vector<int32_t> Expected(int tokens, uint64_t seed = 5, int index = 0) {
  std::vector<int32_t> ids;
  for (int i = 0; i < tokens; ++i) ids.push_back(FakeWorker::Token(seed, i, index));
  return ids;
}

}  // namespace

TEST_CASE("a stream comes whole, in order, and ends once") {
  Mesh mesh(1);
  auto recorder = std::make_shared<Recorder>();
  mesh.Start(recorder);
  CHECK(recorder->WaitDone().ok());
  CHECK(recorder->Tokens() == Expected(20));
  CHECK(recorder->Count(pb::GenerateEvent::kAccepted) == 1);
  CHECK(recorder->Count(pb::GenerateEvent::kFinished) == 1);
}

TEST_CASE("requests of one key go to one worker of several, whatever they say") {
  Mesh mesh(3);
  mesh.SetScripts({.tokens = 1});
  const auto ask = [&](const std::string& key, int i) {
    pb::GenerateRequest request;
    request.set_model("fake");
    // No two prompts begin alike.
    request.set_text(std::to_string(i) + key + std::string(4'000, static_cast<char>('a' + i)));
    request.set_affinity_key(key);
    std::vector<int> before;
    for (const auto& worker : mesh.workers) before.push_back(worker->generates);
    auto recorder = std::make_shared<Recorder>();
    recorder->Attach(mesh.client->Generate(request, {.deadline = In(seconds(20))}, recorder));
    REQUIRE(recorder->WaitDone().ok());
    for (size_t w = 0; w < mesh.workers.size(); ++w) {
      if (mesh.workers[w]->generates != before[w]) return static_cast<int>(w);
    }
    return -1;
  };
  for (const char* key : {"one", "two", "three"}) {
    const int first = ask(key, 0);
    REQUIRE(first >= 0);
    for (int i = 1; i < 12; ++i) CHECK(ask(key, i) == first);
    // Another takes over where that one is away, and keeps the key then.
    if (key != std::string("three")) continue;
    mesh.workers[static_cast<size_t>(first)]->SetDraining(true);
    REQUIRE(mesh.WaitUsable(2));
    const int second = ask(key, 12);
    CHECK(second != first);
    for (int i = 13; i < 20; ++i) CHECK(ask(key, i) == second);
  }
}

TEST_CASE("nothing is delivered that was not asked for") {
  Mesh mesh(1);
  auto recorder = std::make_shared<Recorder>(false);
  auto call = mesh.Start(recorder);
  CHECK_FALSE(recorder->WaitEvents(1, milliseconds(100)));
  call->ReadNext();
  call->ReadNext();  // ignored: one is outstanding, or answered by the first event
  REQUIRE(recorder->WaitEvents(1));
  call->Cancel();
  CHECK(absl::IsCancelled(recorder->WaitDone()));
  CHECK(recorder->num_events() <= 2);
}

TEST_CASE("a reader that stops reading stops the worker within the window") {
  Mesh mesh(1);
  mesh.SetScripts({.tokens = 1'000'000});
  auto recorder = std::make_shared<Recorder>(false);
  auto call = mesh.Start(recorder);
  call->ReadNext();
  REQUIRE(recorder->WaitEvents(1));
  // The writer has come to rest when the count stays the same for a while.
  int64_t before = -1;
  REQUIRE(WaitUntil(
      [&] {
        const int64_t now = mesh.workers[0]->writes;
        return now > 0 && now == std::exchange(before, now);
      },
      seconds(20), milliseconds(300)));
  // 64 KB window and 16 KB of look-ahead, some 20 bytes a message with framing.
  CHECK(mesh.workers[0]->writes < 8'000);
  CHECK(recorder->num_events() == 1);
  call->Cancel();
  CHECK(absl::IsCancelled(recorder->WaitDone()));
}

TEST_CASE("cancelling reaches the worker") {
  Mesh mesh(1);
  mesh.SetScripts({.tokens = 100, .silent_at = 3});
  auto recorder = std::make_shared<Recorder>();
  auto call = mesh.Start(recorder);
  REQUIRE(recorder->WaitEvents(4));
  call->Cancel();
  call->Cancel();
  CHECK(absl::IsCancelled(recorder->WaitDone()));
  CHECK(WaitUntil([&] { return mesh.workers[0]->active == 0; }));
  CHECK(mesh.workers[0]->cancels == 1);
}

TEST_CASE("cancelling from inside an event and while waiting for a worker ends once") {
  Mesh mesh(1);
  class CancelInside final : public GenerateObserver {
   public:
    void OnEvent(pb::GenerateEvent&) override {
      ++events;
      call->Cancel();
      call->ReadNext();
    }
    void OnDone(const absl::Status& status) override { done.set_value(status); }
    std::shared_ptr<GenerateCall> call;
    std::atomic<int> events{0};
    std::promise<absl::Status> done;
  };
  auto inside = std::make_shared<CancelInside>();
  pb::GenerateRequest request;
  request.set_model("fake");
  inside->call = mesh.client->Generate(request, {.deadline = In(seconds(10))}, inside);
  inside->call->ReadNext();
  CHECK(absl::IsCancelled(inside->done.get_future().get()));
  CHECK(inside->events == 1);

  mesh.workers[0]->SetDraining(true);
  REQUIRE(mesh.WaitUsable(0));
  auto waiting = std::make_shared<Recorder>();
  mesh.Start(waiting)->Cancel();
  CHECK(absl::IsCancelled(waiting->WaitDone()));
}

TEST_CASE("a refusal for lack of time is retried elsewhere before anything was delivered") {
  Mesh mesh(2);
  mesh.workers[0]->SetScript({.refusal = base::Unavailable("busy elsewhere")});
  // Whoever is asked first, the answer is whole.
  for (int i = 0; i < 6; ++i) {
    auto recorder = std::make_shared<Recorder>();
    mesh.Start(recorder);
    CHECK(recorder->WaitDone().ok());
    CHECK(recorder->Tokens() == Expected(20));
  }
  CHECK(mesh.metrics.AddCounter("conclave_retries_total", "").value() ==
        mesh.workers[0]->generates);
}

TEST_CASE("an error of the request is not retried and keeps its details") {
  Mesh mesh(2);
  mesh.SetScripts(
      {.refusal = base::WithParam(
           base::WithReason(base::InvalidArgument("17 tokens too long"), "context_length_exceeded"),
           "messages")});
  auto recorder = std::make_shared<Recorder>();
  mesh.Start(recorder);
  const absl::Status status = recorder->WaitDone();
  CHECK(absl::IsInvalidArgument(status));
  CHECK(status.message() == "17 tokens too long");
  CHECK(base::ReasonOf(status) == "context_length_exceeded");
  CHECK(base::ParamOf(status) == "messages");
  CHECK(mesh.workers[0]->generates + mesh.workers[1]->generates == 1);
}

TEST_CASE("a failing worker is tried at most three times") {
  Mesh mesh(1);
  mesh.SetScripts({.refusal = base::Unavailable("no")});
  auto recorder = std::make_shared<Recorder>();
  mesh.Start(recorder);
  CHECK(absl::IsUnavailable(recorder->WaitDone()));
  CHECK(mesh.workers[0]->generates == 3);
}

TEST_CASE("a stream whose worker dies goes on elsewhere, token for token") {
  Mesh mesh(3);
  std::mt19937 random(7);
  for (int i = 0; i < 40; ++i) {
    const int tokens = 1 + static_cast<int>(random() % 60);
    const uint64_t seed = random();
    // Two of three die somewhere; the last one always gets through.
    mesh.workers[0]->SetScript({.tokens = tokens, .die_at = static_cast<int>(random() % 60)});
    mesh.workers[1]->SetScript({.tokens = tokens, .die_at = static_cast<int>(random() % 60)});
    mesh.workers[2]->SetScript({.tokens = tokens});
    auto recorder = std::make_shared<Recorder>();
    mesh.Start(recorder, seconds(20), seed);
    CHECK(recorder->WaitDone().ok());
    CHECK(recorder->Tokens() == Expected(tokens, seed));
    CHECK(recorder->Count(pb::GenerateEvent::kAccepted) == 1);
    CHECK(recorder->Count(pb::GenerateEvent::kFinished) == 1);
  }
  CHECK(mesh.Migrations("ok") > 0);
  CHECK(mesh.Migrations("failed") == 0);
}

TEST_CASE("a caller that resumes a stream of its own gets the rest, through further deaths") {
  Mesh mesh(2);
  mesh.workers[0]->SetScript({.tokens = 40, .die_at = 30});
  mesh.workers[1]->SetScript({.tokens = 40});
  for (int i = 0; i < 6; ++i) {
    pb::GenerateRequest request;
    request.set_model("fake");
    request.mutable_resume()->set_seed(5);
    request.mutable_resume()->set_next_seq(25);
    for (const int32_t id : Expected(25)) request.mutable_resume()->add_emitted_token_ids(id);
    auto recorder = std::make_shared<Recorder>();
    recorder->Attach(mesh.client->Generate(request, {.deadline = In(seconds(20))}, recorder));
    CHECK(recorder->WaitDone().ok());
    std::vector<int32_t> all = Expected(25);
    for (const int32_t id : recorder->Tokens()) all.push_back(id);
    CHECK(all == Expected(40));
  }
}

TEST_CASE("a stream survives the restart of the only worker") {
  Mesh mesh(1);
  mesh.SetScripts({.tokens = 30, .silent_at = 12});
  auto recorder = std::make_shared<Recorder>();
  mesh.Start(recorder);
  REQUIRE(recorder->WaitEvents(13));
  const int port = mesh.workers[0]->port();
  mesh.workers[0] = nullptr;
  mesh.workers[0] = std::make_unique<FakeWorker>("w0", port);
  mesh.SetScripts({.tokens = 30});
  CHECK(recorder->WaitDone().ok());
  CHECK(recorder->Tokens() == Expected(30));
  CHECK(mesh.Migrations("ok") == 1);
}

TEST_CASE("a worker that falls silent is left") {
  InferenceClientOptions options;
  options.silence_max = milliseconds(400);
  Mesh mesh(2, options);
  mesh.workers[0]->SetScript({.silent_at = 7});
  mesh.workers[1]->SetScript({.silent_at = 7});
  auto recorder = std::make_shared<Recorder>();
  mesh.Start(recorder);
  REQUIRE(recorder->WaitEvents(8));
  mesh.SetScripts({});
  CHECK(recorder->WaitDone().ok());
  CHECK(recorder->Tokens() == Expected(20));
}

TEST_CASE("a stream that is lost too often ends with the loss") {
  Mesh mesh(2);
  mesh.SetScripts({.die_at = 5});
  auto recorder = std::make_shared<Recorder>();
  mesh.Start(recorder);
  CHECK(absl::IsUnavailable(recorder->WaitDone()));
  CHECK(recorder->Tokens() == Expected(5));
  CHECK(mesh.workers[0]->generates + mesh.workers[1]->generates == 4);
  CHECK(mesh.Migrations("failed") == 1);
}

TEST_CASE("several answers whose worker dies go on elsewhere, each token for token") {
  Mesh mesh(3);
  std::mt19937 random(11);
  for (int i = 0; i < 40; ++i) {
    const int tokens = 1 + static_cast<int>(random() % 20);
    const int n = 2 + static_cast<int>(random() % 4);
    const uint64_t seed = random();
    // Somewhere: before anything, in the middle, or when some answers have finished.
    const auto somewhere = [&] {
      return static_cast<int>(random() % static_cast<uint64_t>(n * tokens + 1));
    };
    mesh.workers[0]->SetScript({.tokens = tokens, .die_at = somewhere()});
    mesh.workers[1]->SetScript({.tokens = tokens, .die_at = somewhere()});
    mesh.workers[2]->SetScript({.tokens = tokens});
    auto recorder = std::make_shared<Recorder>();
    mesh.Start(recorder, seconds(20), seed, n);
    CHECK(recorder->WaitDone().ok());
    for (int index = 0; index < n; ++index) {
      CHECK(recorder->Tokens(index) == Expected(tokens, seed, index));
    }
    CHECK(recorder->Count(pb::GenerateEvent::kAccepted) == 1);
    CHECK(recorder->Count(pb::GenerateEvent::kFinished) == n);
  }
  CHECK(mesh.Migrations("ok") > 0);
  CHECK(mesh.Migrations("failed") == 0);
}

TEST_CASE("a stream does not go on with other weights") {
  InferenceClientOptions options;
  options.worker_wait_max = milliseconds(300);
  Mesh mesh(2, options);
  mesh.workers[1]->SetRevision("r2");
  mesh.SetScripts({.die_at = 5});
  REQUIRE(mesh.discovery->WaitFor(
      [](const Fleet& fleet) {
        return fleet.FindWorker("w1")->FindModel("fake")->revision() == "r2";
      },
      seconds(10)));
  auto recorder = std::make_shared<Recorder>();
  mesh.Start(recorder);
  CHECK(absl::IsUnavailable(recorder->WaitDone()));
  CHECK((mesh.workers[0]->generates == 0 || mesh.workers[1]->generates == 0));
}

TEST_CASE("a worker that gives up mid-stream with an error of its own ends the stream") {
  Mesh mesh(2);
  mesh.SetScripts({.fail_at = 4, .failure = base::Internal("a kernel failed")});
  auto recorder = std::make_shared<Recorder>();
  mesh.Start(recorder);
  CHECK(recorder->WaitDone() == base::Internal("a kernel failed"));
  CHECK(recorder->Tokens() == Expected(4));
  CHECK(recorder->Count(pb::GenerateEvent::kFailed) == 0);
}

TEST_CASE("the deadline ends a stream, read or not") {
  Mesh mesh(1);
  mesh.SetScripts({.tokens = 100, .silent_at = 2});
  auto reading = std::make_shared<Recorder>();
  mesh.Start(reading, milliseconds(300));
  CHECK(absl::IsDeadlineExceeded(reading->WaitDone()));
  auto idle = std::make_shared<Recorder>(false);
  mesh.Start(idle, milliseconds(300));
  CHECK(absl::IsDeadlineExceeded(idle->WaitDone()));
}

TEST_CASE("what cannot be picked is told through the end") {
  Mesh mesh(1);
  auto unknown = std::make_shared<Recorder>();
  mesh.Start(unknown, seconds(20), 5, 1, "no-such-model");
  const absl::Status status = unknown->WaitDone();
  CHECK(absl::IsNotFound(status));
  CHECK(base::ReasonOf(status) == "model_not_found");
}

TEST_CASE("a request waits a moment for a model that is being loaded") {
  Mesh mesh(1);
  mesh.workers[0]->SetModelState(pb::ModelStatus::STATE_LOADING);
  REQUIRE(mesh.discovery->WaitFor(
      [](const Fleet& fleet) {
        return fleet.workers[0]->models[0].state() == pb::ModelStatus::STATE_LOADING;
      },
      seconds(10)));
  auto recorder = std::make_shared<Recorder>();
  mesh.Start(recorder);
  mesh.workers[0]->SetModelState(pb::ModelStatus::STATE_READY);
  CHECK(recorder->WaitDone().ok());
}

TEST_CASE("draining refuses the new and finishes the old") {
  Mesh mesh(1);
  mesh.SetScripts({.tokens = 20'000});
  auto old_one = std::make_shared<Recorder>(false);
  auto call = mesh.Start(old_one);
  call->ReadNext();
  REQUIRE(old_one->WaitEvents(1));
  CHECK_FALSE(mesh.workers[0]->Drain(milliseconds(50)));
  auto new_one = std::make_shared<Recorder>();
  mesh.Start(new_one);
  CHECK(absl::IsUnavailable(new_one->WaitDone()));
  // The old one is still being read to its end.
  for (size_t i = 1; i < 20'002; ++i) {
    call->ReadNext();
    REQUIRE(old_one->WaitEvents(i + 1));
  }
  CHECK(old_one->WaitDone().ok());
  CHECK(mesh.workers[0]->Drain(seconds(10)));
}

TEST_CASE("the blocking form gives the same events and its waits end") {
  Mesh mesh(1);
  mesh.SetScripts({.tokens = 10, .silent_at = 4});
  pb::GenerateRequest request;
  request.set_model("fake");
  request.mutable_sampling()->set_seed(5);
  BlockingGenerate stream(*mesh.client, request, {.deadline = In(seconds(20))});
  std::vector<int32_t> tokens;
  for (int i = 0; i < 5; ++i) {
    const auto event = stream.Next(seconds(10));
    REQUIRE(event.ok());
    REQUIRE(event->has_value());
    for (const int32_t id : (*event)->delta().token_ids()) tokens.push_back(id);
  }
  CHECK(tokens == Expected(4));
  CHECK(absl::IsDeadlineExceeded(stream.Next(milliseconds(20)).status()));
  stream.Cancel();
  const auto end = stream.Next(seconds(10));
  REQUIRE(end.ok());
  CHECK_FALSE(end->has_value());
  CHECK(absl::IsCancelled(stream.status()));
}

TEST_CASE("many streams at once, cancelled anyhow, leave nothing behind") {
  Mesh mesh(2);
  mesh.SetScripts({.tokens = 200});
  std::mt19937 random(3);
  std::vector<std::shared_ptr<Recorder>> recorders;
  std::vector<std::shared_ptr<GenerateCall>> calls;
  for (int i = 0; i < 200; ++i) {
    recorders.push_back(std::make_shared<Recorder>());
    calls.push_back(mesh.Start(recorders.back()));
    if (random() % 2 == 0) calls[random() % calls.size()]->Cancel();
  }
  for (const auto& recorder : recorders) {
    const absl::Status status = recorder->WaitDone();
    CHECK((status.ok() || absl::IsCancelled(status)));
    if (status.ok()) CHECK(recorder->Tokens() == Expected(200));
  }
  CHECK(WaitUntil([&] { return mesh.workers[0]->active + mesh.workers[1]->active == 0; }));
  const std::shared_ptr<const Fleet> fleet = mesh.discovery->fleet();
  for (const auto& worker : fleet->workers) CHECK(worker->outstanding->calls == 0);
  CHECK(WaitUntil([&] { return fleet->workers[0]->outstanding->unreported_tokens == 0; }));
}

TEST_CASE("a conversation goes back to the worker that has its beginning") {
  Mesh mesh(3);
  pb::GenerateRequest request;
  request.set_model("fake");
  const auto ask = [&](const std::string& prompt) {
    request.set_text(prompt);
    auto recorder = std::make_shared<Recorder>();
    recorder->Attach(mesh.client->Generate(request, {.deadline = In(seconds(20))}, recorder));
    REQUIRE(recorder->WaitDone().ok());
  };
  // Three conversations of six turns each, taking turns.
  for (int turn = 1; turn <= 6; ++turn) {
    for (const char who : {'a', 'b', 'c'}) {
      ask(std::string(static_cast<size_t>(2048 * turn), who));
    }
  }
  std::vector<int> counts;
  for (const auto& worker : mesh.workers) counts.push_back(worker->generates % 6);
  CHECK(counts == std::vector<int>{0, 0, 0});
}

TEST_CASE("a client that goes away ends its calls") {
  Mesh mesh(1);
  mesh.SetScripts({.tokens = 100, .silent_at = 3});
  auto recorder = std::make_shared<Recorder>();
  mesh.Start(recorder);
  REQUIRE(recorder->WaitEvents(4));
  mesh.client = nullptr;
  CHECK(absl::IsCancelled(recorder->WaitDone(milliseconds(0))));
}

}  // namespace conclave::mesh
