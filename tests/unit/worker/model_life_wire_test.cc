// Models that come and go, as callers of a worker see it: loaded by the call that needs them, kept
// as it says, gone for another one.
#include <unistd.h>

#include <catch2/catch.hpp>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <optional>
#include <thread>

#include "base/status.h"
#include "conclave/v1/models.grpc.pb.h"
#include "mesh/grpc_status.h"
#include "support/generate_client.h"
#include "support/wait_until.h"
#include "worker/worker.h"

namespace conclave::tests {
namespace {

namespace pb = conclave::v1;
namespace fs = std::filesystem;
using State = pb::ModelStatus::State;

// A worker that knows two models of 1,000 bytes each and has room for one. Loads wait while the
// door is closed.
class TwoModels final {
 public:
  TwoModels() {
    folder_ = (fs::temp_directory_path() / "conclave-wire-XXXXXX").string();
    REQUIRE(mkdtemp(folder_.data()) != nullptr);
    worker::WorkerOptions options;
    options.worker_id = "w";
    options.server.listen = "127.0.0.1:0";
    options.host.memory_budget = 1'500;
    options.host.preload = false;
    options.host.digests = false;
    options.host.open = [this](std::string_view kind, const backends::BackendSpec& spec) {
      std::unique_lock lock(mutex_);
      ++loads_;
      changed_.notify_all();
      REQUIRE(changed_.wait_for(lock, std::chrono::seconds(60), [this] { return open_; }));
      lock.unlock();
      return backends::OpenBackend(kind, spec);
    };
    worker_ = std::make_unique<worker::Worker>(options);
    REQUIRE(worker_->Start().ok());
    for (const char* name : {"a", "b"}) {
      const std::string path = folder_ + "/" + name;
      std::ofstream(path) << "{}" << std::string(998, ' ');
      REQUIRE(worker_->host()
                  .Load({.name = name,
                         .path = path,
                         .backend = "scripted",
                         .aliases = {},
                         .trusted = true})
                  .ok());
    }
    channel = ConnectTo("127.0.0.1:" + std::to_string(worker_->port()));
    models = pb::Worker::NewStub(channel);
    inference = pb::Inference::NewStub(channel);
  }
  ~TwoModels() {
    Open(true);
    worker_->Stop();
    fs::remove_all(folder_);
  }
  void Open(bool open) {
    const std::lock_guard lock(mutex_);
    open_ = open;
    changed_.notify_all();
  }
  void WaitForLoads(int count) {
    std::unique_lock lock(mutex_);
    REQUIRE(changed_.wait_for(lock, std::chrono::seconds(60), [&] { return loads_ >= count; }));
  }
  int loads() {
    const std::lock_guard lock(mutex_);
    return loads_;
  }

  std::map<std::string, pb::ModelStatus> List() const {
    grpc::ClientContext context;
    pb::ListModelsReply reply;
    REQUIRE(models->ListModels(&context, {}, &reply).ok());
    std::map<std::string, pb::ModelStatus> all;
    for (const pb::ModelStatus& model : reply.models()) all[model.name()] = model;
    return all;
  }
  State StateOf(const std::string& name) const { return List().at(name).state(); }
  Answer Chat(const std::string& model, std::optional<int64_t> keep_alive_ms = {}) const {
    pb::GenerateRequest request = UserSays("hello", model);
    if (keep_alive_ms) request.mutable_meta()->set_keep_alive_ms(*keep_alive_ms);
    return Ask(channel, request);
  }
  absl::StatusOr<pb::KeepModelReply> Keep(const std::string& name, int64_t keep_alive_ms) const {
    grpc::ClientContext context;
    pb::KeepModelRequest request;
    request.set_name(name);
    request.set_keep_alive_ms(keep_alive_ms);
    pb::KeepModelReply reply;
    const absl::Status status =
        mesh::FromGrpc(models->KeepModel(&context, request, &reply), &context);
    RETURN_IF_ERROR(status);
    return reply;
  }

  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<pb::Worker::Stub> models;
  std::unique_ptr<pb::Inference::Stub> inference;

 private:
  std::string folder_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool open_ = true;
  int loads_ = 0;
  std::unique_ptr<worker::Worker> worker_;
};

}  // namespace

TEST_CASE("a call has its model loaded, and the least recently used one goes for it") {
  TwoModels world;
  CHECK(world.StateOf("a") == pb::ModelStatus::STATE_UNLOADED);
  CHECK(world.StateOf("b") == pb::ModelStatus::STATE_UNLOADED);
  for (const auto& [asked, other] : {std::pair("a", "b"), std::pair("b", "a")}) {
    // In use (UNAVAILABLE) until the other one's call is cleared away.
    const std::string model = asked;
    REQUIRE(support::WaitUntil([&] { return !world.Chat(model).text().empty(); }));
    CHECK(world.StateOf(asked) == pb::ModelStatus::STATE_READY);
    CHECK(world.StateOf(other) == pb::ModelStatus::STATE_UNLOADED);
  }
  CHECK(world.loads() == 2);
  CHECK(world.Chat("b").status.ok());
  CHECK(world.loads() == 2);
}

TEST_CASE("a model stays as long as a call says, and goes when it is told to") {
  TwoModels world;
  REQUIRE(world.Chat("a").status.ok());
  CHECK_FALSE(world.List().at("a").has_expires_unix_ms());
  REQUIRE(world.Chat("a", 3'600'000).status.ok());
  CHECK(world.List().at("a").has_expires_unix_ms());
  REQUIRE(world.Chat("a", 0).status.ok());
  CHECK(support::WaitUntil([&] { return world.StateOf("a") == pb::ModelStatus::STATE_UNLOADED; }));

  const auto kept = world.Keep("b", -1);
  REQUIRE(kept.ok());
  CHECK(kept->model().state() == pb::ModelStatus::STATE_READY);
  const auto gone = world.Keep("b", 0);
  REQUIRE(gone.ok());
  CHECK_FALSE(gone->in_use());
  CHECK(gone->model().state() == pb::ModelStatus::STATE_UNLOADED);
  // Whoever has been answered sees it at once.
  CHECK(world.StateOf("b") == pb::ModelStatus::STATE_UNLOADED);
  CHECK(absl::IsNotFound(world.Keep("nobody", 0).status()));
}

TEST_CASE("a stream tells that its model is loading, and ends when its caller goes") {
  TwoModels world;
  world.Open(false);
  grpc::ClientContext context;
  const auto reader = world.inference->Generate(&context, UserSays("hello", "a"));
  world.WaitForLoads(1);
  pb::GenerateEvent event;
  REQUIRE(reader->Read(&event));
  CHECK(event.progress().phase() == pb::Progress::PHASE_LOADING);
  CHECK(world.StateOf("a") == pb::ModelStatus::STATE_LOADING);
  context.TryCancel();
  while (reader->Read(&event)) continue;
  CHECK(reader->Finish().error_code() == grpc::StatusCode::CANCELLED);
}

TEST_CASE(
    "a tokenize call that waits for its model ends with its caller, and the loading goes on") {
  TwoModels world;
  world.Open(false);
  pb::TokenizeRequest request;
  request.set_model("a");
  request.set_text("hello");
  grpc::ClientContext context;
  grpc::Status status;
  std::thread caller([&] {
    pb::TokenizeReply reply;
    status = world.inference->Tokenize(&context, request, &reply);
  });
  world.WaitForLoads(1);
  context.TryCancel();
  caller.join();  // while the door is closed
  CHECK(status.error_code() == grpc::StatusCode::CANCELLED);
  // The worker has let go of it, too: a model that nobody waits for goes when it is told to.
  world.Open(true);
  CHECK(support::WaitUntil([&] { return world.StateOf("a") == pb::ModelStatus::STATE_READY; }));
  const auto gone = world.Keep("a", 0);
  REQUIRE(gone.ok());
  CHECK_FALSE(gone->in_use());
  grpc::ClientContext again;
  pb::TokenizeReply reply;
  REQUIRE(world.inference->Tokenize(&again, request, &reply).ok());
  CHECK(reply.token_ids_size() > 0);
  CHECK(world.loads() == 2);
}

}  // namespace conclave::tests
