// Many streams at once against the real services: each complete, each its own, none slowed down by
// a reader that does not read.
#include <catch2/catch.hpp>
#include <thread>

#include "absl/strings/str_cat.h"
#include "conclave/v1/models.grpc.pb.h"
#include "support/generate_client.h"
#include "support/scripted_worker.h"

namespace conclave::tests {
namespace {

namespace pb = conclave::v1;

// What counts mode answers to "… word".
std::string Counts(const std::string& word, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) absl::StrAppend(&text, i == 0 ? "" : " ", word, ":", i);
  return text;
}

}  // namespace

TEST_CASE("64 concurrent streams all end, each with its own text") {
  const ScriptedWorker worker(R"({"slots": 24, "rules": [{"mode": "counts", "count": 60}]})");
  std::vector<Answer> answers(64);
  std::vector<std::thread> clients;
  for (size_t i = 0; i < answers.size(); ++i) {
    clients.emplace_back([&, i] {
      answers[i] = Ask(ConnectTo(worker.address()), UserSays(absl::StrCat("for stream-", i)));
    });
  }
  for (std::thread& client : clients) client.join();
  for (size_t i = 0; i < answers.size(); ++i) {
    INFO("stream " << i << ": " << answers[i].status.error_message());
    REQUIRE(answers[i].status.ok());
    REQUIRE_FALSE(answers[i].events.empty());
    CHECK(answers[i].events.front().has_accepted());
    CHECK(answers[i].events.back().has_finished());
    CHECK(answers[i].num_finished() == 1);
    CHECK(answers[i].text() == Counts(absl::StrCat("stream-", i), 60));
    int64_t seq = 0;
    for (const auto& event : answers[i].events) {
      if (event.has_delta()) CHECK(event.delta().seq() == seq++);
    }
  }
  CHECK(worker.WaitUntilIdle(std::chrono::seconds(5)));
}

TEST_CASE("a reader that does not read pauses its own sequence only") {
  const ScriptedWorker worker(
      R"({"context_length": 1000000, "rules": [{"mode": "counts", "count": 20000}]})");
  const auto channel = ConnectTo(worker.address());
  const auto stub = pb::Inference::NewStub(channel);
  grpc::ClientContext context;
  pb::GenerateRequest request = UserSays("slow");
  const auto slow = stub->Generate(&context, request);
  pb::GenerateEvent event;
  REQUIRE(slow->Read(&event));

  // The window fills and the sequence stands still, though nobody else runs.
  int64_t before = -1;
  int64_t now = 0;
  for (int i = 0; i < 500 && before != now; ++i) {
    before = now;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    now = worker.load().output_tokens_total;
  }
  REQUIRE(now == before);
  INFO("tokens in flight: " << now);
  CHECK(now < 20'000);
  CHECK(worker.load().running == 1);

  const Answer quick = Ask(ConnectTo(worker.address()), UserSays("quick"));
  REQUIRE(quick.status.ok());
  CHECK((quick.text() == Counts("quick", 20'000)));

  std::string text;
  while (slow->Read(&event)) {
    if (event.has_delta()) text += event.delta().text();
  }
  CHECK(slow->Finish().ok());
  CHECK((text == Counts("slow", 20'000)));
}

TEST_CASE("silence is filled with progress every second") {
  ScriptedWorkerOptions options;
  options.stream.heartbeat = std::chrono::milliseconds(50);
  const ScriptedWorker worker(R"({"rules": [{"steps": [{"text": "a"}, {"hang": true}]}]})",
                              options);
  const auto stub = pb::Inference::NewStub(ConnectTo(worker.address()));
  grpc::ClientContext context;
  const auto reader = stub->Generate(&context, UserSays("x"));
  int beats = 0;
  pb::GenerateEvent event;
  while (beats < 3 && reader->Read(&event)) {
    if (event.has_progress()) ++beats;
  }
  CHECK(beats == 3);
  CHECK(event.progress().phase() == pb::Progress::PHASE_DECODE);
  context.TryCancel();
  CHECK(reader->Finish().error_code() == grpc::StatusCode::CANCELLED);
  CHECK(worker.WaitUntilIdle(std::chrono::seconds(5)));
}

TEST_CASE("watch tells a change of the load within its period and repeats itself in silence") {
  const ScriptedWorker worker(R"({"rules": [{"steps": [{"text": "a"}, {"hang": true}]}]})");
  const auto channel = ConnectTo(worker.address());
  const auto stub = pb::Worker::NewStub(channel);
  grpc::ClientContext watch_context;
  const auto watch = stub->Watch(&watch_context, pb::WatchRequest());
  pb::WorkerState state;
  REQUIRE(watch->Read(&state));
  CHECK(state.seq() == 0);
  CHECK(state.serving());
  REQUIRE(state.models_size() == 1);
  CHECK(state.models(0).name() == "scripted");
  CHECK(state.models(0).state() == pb::ModelStatus::STATE_READY);
  CHECK(state.load().running() == 0);

  const auto inference = pb::Inference::NewStub(channel);
  grpc::ClientContext context;
  const auto reader = inference->Generate(&context, UserSays("x"));
  const auto start = std::chrono::steady_clock::now();
  while (state.load().running() == 0) REQUIRE(watch->Read(&state));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::milliseconds(900));
  const uint64_t seq = state.seq();
  const auto silence = std::chrono::steady_clock::now();
  REQUIRE(watch->Read(&state));
  CHECK(state.seq() == seq + 1);
  CHECK(std::chrono::steady_clock::now() - silence < std::chrono::seconds(5));
  context.TryCancel();
  reader->Finish();
  watch_context.TryCancel();
  watch->Finish();
}

TEST_CASE("draining ends the streams in order, tells watchers and refuses newcomers") {
  ScriptedWorker worker(R"({"token_ms": 20, "rules": [{"mode": "counts", "count": 10}]})");
  const auto channel = ConnectTo(worker.address());
  const auto models = pb::Worker::NewStub(channel);
  grpc::ClientContext watch_context;
  const auto watch = models->Watch(&watch_context, pb::WatchRequest());
  pb::WorkerState state;
  REQUIRE(watch->Read(&state));

  const auto stub = pb::Inference::NewStub(channel);
  grpc::ClientContext context;
  const auto reader = stub->Generate(&context, UserSays("w"));
  pb::GenerateEvent event;
  REQUIRE(reader->Read(&event));
  bool drained = false;
  std::thread drain([&] {
    drained = worker.worker().Drain(base::Clock::System().Now() + std::chrono::seconds(20));
  });
  while (!state.draining()) REQUIRE(watch->Read(&state));
  CHECK_FALSE(state.serving());
  const Answer refused = Ask(channel, UserSays("late"));
  CHECK(refused.status.error_code() == grpc::StatusCode::UNAVAILABLE);
  bool finished = false;
  while (reader->Read(&event)) finished = event.has_finished();
  CHECK(finished);
  CHECK(reader->Finish().ok());
  drain.join();
  CHECK(drained);
  watch_context.TryCancel();
}

}  // namespace conclave::tests
