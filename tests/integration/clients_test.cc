// Discovery and the other clients over real gRPC.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <future>

#include "mesh/embedding_client.h"
#include "mesh/inference_client.h"
#include "mesh/models_client.h"
#include "mesh/store_client.h"
#include "support/fake_store.h"
#include "support/fake_worker.h"
#include "support/wait_until.h"

namespace conclave::mesh {
namespace {

namespace pb = conclave::v1;
using std::chrono::milliseconds;
using std::chrono::seconds;
using support::FakeStore;
using support::FakeWorker;

CallOptions Soon() { return {.deadline = std::chrono::steady_clock::now() + seconds(20)}; }

std::function<bool(const Fleet&)> Usable(int count) {
  return [count](const Fleet& fleet) { return fleet.num_usable() == count; };
}

// Starts a call with a callback and waits for it.
template <typename Reply, typename StartFn>
absl::StatusOr<Reply> Await(const StartFn& start) {
  auto promise = std::make_shared<std::promise<absl::StatusOr<Reply>>>();
  auto future = promise->get_future();
  start([promise](absl::StatusOr<Reply> reply) { promise->set_value(std::move(reply)); });
  if (future.wait_for(seconds(20)) != std::future_status::ready) {
    return absl::InternalError("the callback never came");
  }
  return future.get();
}

}  // namespace

TEST_CASE("discovery follows workers that come, drain, go and return") {
  auto worker = std::make_unique<FakeWorker>("w0");
  const int port = worker->port();
  base::Metrics metrics;
  auto discovery =
      *Discovery::Start({.targets = {worker->address(), "127.0.0.1:1"}, .metrics = &metrics});
  const base::Gauge fresh =
      metrics.AddGauge("conclave_workers", "", {{"kind", "inference"}, {"health", "fresh"}});
  std::atomic<int> changes{0};
  auto subscription = discovery->Subscribe([&](const Fleet&) { ++changes; });
  REQUIRE(discovery->WaitFor(Usable(1), seconds(10)));
  CHECK(discovery->fleet()->workers.size() == 2);
  CHECK(fresh.value() == 1);
  const uint64_t epoch = discovery->fleet()->FindWorker("w0")->epoch;
  REQUIRE(discovery->fleet()->FindWorker("w0")->FindModel("fake") != nullptr);

  worker->SetDraining(true);
  REQUIRE(discovery->WaitFor(Usable(0), seconds(10)));
  CHECK(discovery->fleet()->FindWorker("w0")->draining);

  worker = nullptr;
  const auto stopped = std::chrono::steady_clock::now();
  REQUIRE(discovery->WaitFor(
      [](const Fleet& fleet) { return fleet.FindWorker("w0")->health == WorkerHealth::kDead; },
      seconds(10)));
  CHECK(std::chrono::steady_clock::now() - stopped < seconds(5));
  CHECK(fresh.value() == 0);

  worker = std::make_unique<FakeWorker>("w0", port);
  const auto started = std::chrono::steady_clock::now();
  REQUIRE(discovery->WaitFor(Usable(1), seconds(10)));
  CHECK(std::chrono::steady_clock::now() - started < seconds(8));
  CHECK(discovery->fleet()->FindWorker("w0")->epoch != epoch);
  CHECK(support::WaitUntil([&] { return changes >= 4; }));
  subscription = nullptr;
}

TEST_CASE("a worker that stops reporting is suspect, then dead, though its connection stands") {
  FakeWorker worker("w0");
  auto discovery = *Discovery::Start({.targets = {worker.address()},
                                      .suspect_after = milliseconds(200),
                                      .dead_after = milliseconds(600)});
  REQUIRE(discovery->WaitFor(Usable(1), seconds(10)));
  worker.MuteWatch(true);
  const auto health = [&](WorkerHealth wanted) {
    return discovery->WaitFor(
        [&](const Fleet& fleet) { return fleet.workers[0]->health == wanted; }, seconds(10));
  };
  CHECK(health(WorkerHealth::kSuspect));
  CHECK(health(WorkerHealth::kDead));
  worker.MuteWatch(false);
  CHECK(health(WorkerHealth::kFresh));
}

TEST_CASE("one worker behind two addresses is one worker") {
  FakeWorker worker("w0", 0, "0.0.0.0");
  const std::string port = std::to_string(worker.port());
  auto discovery = *Discovery::Start({.targets = {"127.0.0.1:" + port, "127.0.0.2:" + port}});
  CHECK(discovery->WaitFor(
      [](const Fleet& fleet) { return fleet.workers.size() == 1 && fleet.num_usable() == 1; },
      seconds(10)));
}

TEST_CASE("wrong targets are refused at the start") {
  CHECK(absl::IsInvalidArgument(Discovery::Start({.targets = {"nowhere"}}).status()));
  CHECK(absl::IsInvalidArgument(
      Discovery::Start({.targets = {"127.0.0.1:1"}, .tls = {.ca_file = "/nonexistent.pem"}})
          .status()));
}

TEST_CASE("embedding collects all vectors in order") {
  FakeWorker worker("e0");
  auto discovery = *Discovery::Start({.targets = {worker.address()}});
  REQUIRE(discovery->WaitFor(Usable(1), seconds(10)));
  EmbeddingClient client(discovery.get());
  pb::EmbedRequest request;
  request.set_model("fake");
  for (int i = 0; i < 5; ++i) request.add_inputs()->set_text("text");
  const auto result = client.EmbedAndWait(request, Soon());
  REQUIRE(result.ok());
  REQUIRE(result->vectors.size() == 5);
  for (int i = 0; i < 5; ++i) {
    CHECK(result->vectors[static_cast<size_t>(i)].values(0) == static_cast<float>(i));
  }
  CHECK(result->usage.prompt_tokens() == 5);

  worker.SetEmbedMissing(1);
  CHECK(absl::IsInternal(client.EmbedAndWait(request, Soon()).status()));
  request.set_model("unknown");
  CHECK(absl::IsNotFound(client.EmbedAndWait(request, Soon()).status()));
}

TEST_CASE("embedding is retried on another worker") {
  FakeWorker bad("e0"), good("e1");
  bad.SetScript({.refusal = base::Unavailable("no")});
  auto discovery = *Discovery::Start({.targets = {bad.address(), good.address()}});
  REQUIRE(discovery->WaitFor(Usable(2), seconds(10)));
  EmbeddingClient client(discovery.get());
  pb::EmbedRequest request;
  request.set_model("fake");
  request.add_inputs()->set_text("text");
  for (int i = 0; i < 6; ++i) CHECK(client.EmbedAndWait(request, Soon()).ok());
  bad.SetScript({.refusal = base::InvalidArgument("empty")});
  good.SetScript({.refusal = base::InvalidArgument("empty")});
  CHECK(absl::IsInvalidArgument(client.EmbedAndWait(request, Soon()).status()));
}

TEST_CASE("tokenize and the model calls reach a worker") {
  FakeWorker worker("w0");
  auto discovery = *Discovery::Start({.targets = {worker.address()}});
  REQUIRE(discovery->WaitFor(Usable(1), seconds(10)));
  InferenceClient client(discovery.get(), {});
  pb::TokenizeRequest tokenize;
  tokenize.set_model("fake");
  tokenize.set_text("ab");
  const auto tokens = Await<pb::TokenizeReply>(
      [&](auto done) { client.Tokenize(tokenize, Soon(), std::move(done)); });
  REQUIRE(tokens.ok());
  CHECK(tokens->token_ids_size() == 2);
  const auto unimplemented = Await<pb::DetokenizeReply>([&](auto done) {
    pb::DetokenizeRequest request;
    request.set_model("fake");
    client.Detokenize(request, Soon(), std::move(done));
  });
  CHECK(absl::IsUnimplemented(unimplemented.status()));

  ModelsClient models(discovery.get());
  const auto list = Await<pb::ListModelsReply>([&](auto done) {
    models.ListModels({.worker_id = "w0", .model = ""}, {}, Soon(), std::move(done));
  });
  REQUIRE(list.ok());
  CHECK(list->models(0).name() == "fake");
  const auto nobody = Await<pb::ListModelsReply>([&](auto done) {
    models.ListModels({.worker_id = "", .model = "other"}, {}, Soon(), std::move(done));
  });
  CHECK(absl::IsNotFound(nobody.status()));
  std::vector<int> states;
  const auto loaded = Await<pb::ModelStatus>([&](auto done) {
    pb::LoadModelRequest request;
    request.set_name("new");
    models.LoadModel(
        {}, request, Soon(), [&](const pb::ModelStatus& s) { states.push_back(s.state()); },
        std::move(done));
  });
  REQUIRE(loaded.ok());
  CHECK(loaded->state() == pb::ModelStatus::STATE_READY);
  CHECK(states == std::vector<int>{pb::ModelStatus::STATE_LOADING, pb::ModelStatus::STATE_READY});
}

namespace {

class RunRecorder final : public RunObserver {
 public:
  explicit RunRecorder(int stop_after) : stop_after_(stop_after) {}
  void OnEvent(pb::RunEvent& event) override {
    seqs.push_back(event.seq());
    if (static_cast<int>(seqs.size()) == stop_after_) {
      stopped.set_value();
    } else {
      stream->ReadNext();
    }
  }
  void OnDone(const absl::Status& status) override { done.set_value(status); }

  const int stop_after_;
  std::vector<int64_t> seqs;
  std::shared_ptr<RunStream> stream;
  std::promise<void> stopped;
  std::promise<absl::Status> done;
};

}  // namespace

TEST_CASE("the store's calls come back with their replies and errors") {
  FakeStore store(0);
  auto client = *StoreClient::Open(store.address(), {});
  pb::GetAssistantRequest get;
  get.set_id("asst_1");
  const auto found =
      Await<pb::Assistant>([&](auto done) { client->GetAssistant(get, Soon(), std::move(done)); });
  REQUIRE(found.ok());
  CHECK(found->id() == "asst_1");
  CHECK(client->Connected());
  get.set_id("asst_2");
  const auto lost =
      Await<pb::Assistant>([&](auto done) { client->GetAssistant(get, Soon(), std::move(done)); });
  CHECK(absl::IsNotFound(lost.status()));
  CHECK(base::ReasonOf(lost.status()) == "no_such_assistant");
  pb::CreateRunRequest run;
  run.set_thread_id("thread_1");
  const auto made =
      Await<pb::Run>([&](auto done) { client->CreateRun(run, Soon(), std::move(done)); });
  REQUIRE(made.ok());
  CHECK(made->id() == "run_1");
}

TEST_CASE("a replica that is not ready gets no calls, and none of them fails") {
  FakeStore one(0);
  FakeStore two(0);
  auto client = *StoreClient::Open("ipv4:" + one.address() + "," + two.address(), {});
  const auto ask = [&] {
    pb::GetAssistantRequest get;
    get.set_id("asst_1");
    const auto found = Await<pb::Assistant>(
        [&](auto done) { client->GetAssistant(get, Soon(), std::move(done)); });
    REQUIRE(found.ok());
  };
  const auto asked_anew = [&](const FakeStore& store) {
    const int before = store.assistants;
    for (int i = 0; i < 10; ++i) ask();
    return store.assistants > before;
  };
  REQUIRE(support::WaitUntil([&] { return asked_anew(one) && asked_anew(two); }));
  one.SetReady(false);
  REQUIRE(support::WaitUntil([&] { return !asked_anew(one); }));
  CHECK(asked_anew(two));
  one.SetReady(true);
  CHECK(support::WaitUntil([&] { return asked_anew(one); }));
}

TEST_CASE("a store that is away is unavailable at once") {
  auto client = *StoreClient::Open("127.0.0.1:1", {});
  const auto reply =
      Await<pb::Assistant>([&](auto done) { client->GetAssistant({}, Soon(), std::move(done)); });
  CHECK(absl::IsUnavailable(reply.status()));
  CHECK_FALSE(client->Connected());
}

TEST_CASE("a run's events come as asked for, to the end") {
  FakeStore store(30);
  auto client = *StoreClient::Open(store.address(), {});
  pb::StreamRunRequest request;
  request.set_after_seq(10);
  auto recorder = std::make_shared<RunRecorder>(-1);
  recorder->stream = client->StreamRun(request, Soon(), recorder);
  client = nullptr;  // the stream goes on
  recorder->stream->ReadNext();
  auto done = recorder->done.get_future();
  REQUIRE(done.wait_for(seconds(20)) == std::future_status::ready);
  CHECK(done.get().ok());
  CHECK(recorder->seqs.size() == 20);
  CHECK(recorder->seqs.front() == 11);
  CHECK(recorder->seqs.back() == 30);
  recorder->stream = nullptr;
}

TEST_CASE("a run's listener may leave in the middle") {
  FakeStore store(1'000'000);
  auto client = *StoreClient::Open(store.address(), {});
  auto recorder = std::make_shared<RunRecorder>(5);
  recorder->stream = client->StreamRun({}, Soon(), recorder);
  recorder->stream->ReadNext();
  REQUIRE(recorder->stopped.get_future().wait_for(seconds(20)) == std::future_status::ready);
  recorder->stream->Cancel();
  auto done = recorder->done.get_future();
  REQUIRE(done.wait_for(seconds(20)) == std::future_status::ready);
  CHECK(absl::IsCancelled(done.get()));
  CHECK(support::WaitUntil([&] { return store.streams == 0; }));
  CHECK(recorder->seqs.size() == 5);
  recorder->stream = nullptr;
}

TEST_CASE("calls go through TLS with certificates on both sides, and not without") {
  namespace fs = std::filesystem;
  char pattern[] = "/tmp/conclave_tls_XXXXXX";
  const fs::path dir = mkdtemp(pattern);
  const auto openssl = [&](const std::string& args) {
    return std::system(("cd " + dir.string() + " && openssl " + args + " 2>/dev/null").c_str());
  };
  REQUIRE(openssl("req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 "
                  "-subj /CN=conclave -addext subjectAltName=DNS:conclave,IP:127.0.0.1") == 0);
  const std::string cert = dir / "cert.pem", key = dir / "key.pem";
  FakeStore store(0, {.listen = "127.0.0.1:0",
                      .tls_cert_file = cert,
                      .tls_key_file = key,
                      .tls_client_ca_file = cert});
  const auto ask = [&](const ClientTls& tls) {
    auto client = *StoreClient::Open(store.address(), tls);
    pb::GetAssistantRequest request;
    request.set_id("asst_1");
    return Await<pb::Assistant>(
        [&](auto done) { client->GetAssistant(request, Soon(), std::move(done)); });
  };
  CHECK(ask({.ca_file = cert, .cert_file = cert, .key_file = key}).ok());
  CHECK(absl::IsUnavailable(ask({.ca_file = cert}).status()));
  CHECK(absl::IsUnavailable(ask({}).status()));
  fs::remove_all(dir);
}

}  // namespace conclave::mesh
