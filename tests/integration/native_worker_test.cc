// The real engine behind the real services, with a tiny model of random weights: many at once, many
// hanging up, and nobody hears of it.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <random>
#include <thread>

#include "absl/strings/str_cat.h"
#include "conclave/v1/models.grpc.pb.h"
#include "support/generate_client.h"
#include "support/scripted_worker.h"
#include "unit/backends/native_fixture.h"

namespace conclave::tests {
namespace {

namespace pb = conclave::v1;

struct Native {
  Native() : worker("{}") {
    const absl::Status loaded = worker.worker().host().Load(
        {.name = "tiny", .path = file.path(), .backend = "", .aliases = {}, .trusted = true});
    INFO(loaded.ToString());
    REQUIRE(loaded.ok());
  }
  backends::TinyModelFile file;
  ScriptedWorker worker;
};

// A drawn answer of its own: its text tells its stream from every other.
pb::GenerateRequest Drawn(uint64_t which, int32_t max_tokens) {
  pb::GenerateRequest request = UserSays(absl::StrCat("stream ", which), "tiny");
  request.mutable_sampling()->set_temperature(1);
  request.mutable_sampling()->set_seed(which);
  request.mutable_stop()->set_max_tokens(max_tokens);
  request.mutable_stop()->set_ignore_eos(true);
  return request;
}

// The value of a gauge of model "tiny"; -1 when there is none.
double GaugeOf(const std::string& text, const std::string& name) {
  const std::string head = "\n" + name + "{model_name=\"tiny\"} ";
  const size_t at = text.find(head);
  return at == std::string::npos ? -1 : std::strtod(text.c_str() + at + head.size(), nullptr);
}

}  // namespace

TEST_CASE("64 concurrent streams say what each says alone") {
  const Native native;
  constexpr size_t kStreams = 64;
  std::vector<std::string> alone(kStreams);
  const auto channel = ConnectTo(native.worker.address());
  for (size_t i = 0; i < kStreams; ++i) {
    const Answer answer = Ask(channel, Drawn(i, 24));
    REQUIRE(answer.status.ok());
    alone[i] = answer.text();
  }
  std::vector<Answer> together(kStreams);
  std::vector<std::thread> clients;
  for (size_t i = 0; i < kStreams; ++i) {
    clients.emplace_back(
        [&, i] { together[i] = Ask(ConnectTo(native.worker.address()), Drawn(i, 24)); });
  }
  for (std::thread& client : clients) client.join();
  for (size_t i = 0; i < kStreams; ++i) {
    INFO("stream " << i);
    REQUIRE(together[i].status.ok());
    REQUIRE(together[i].num_finished() == 1);
    CHECK(together[i].events.back().finished().reason() == pb::Finished::REASON_LENGTH);
    CHECK(together[i].text() == alone[i]);
  }
}

TEST_CASE("200 hang-ups free every slot and block, and other streams do not change by a bit") {
  Native native;
  const auto channel = ConnectTo(native.worker.address());
  std::vector<std::string> undisturbed(4);
  for (size_t i = 0; i < undisturbed.size(); ++i) {
    undisturbed[i] = Ask(channel, Drawn(1'000 + i, 120)).text();
  }
  std::vector<std::string> disturbed(undisturbed.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < disturbed.size(); ++i) {
    threads.emplace_back([&, i] {
      disturbed[i] = Ask(ConnectTo(native.worker.address()), Drawn(1'000 + i, 120)).text();
    });
  }
  for (unsigned c = 0; c < 8; ++c) {
    threads.emplace_back([&, c] {
      std::mt19937 random(c);
      const auto own = ConnectTo(native.worker.address());
      const auto stub = pb::Inference::NewStub(own);
      for (int i = 0; i < 25; ++i) {
        grpc::ClientContext context;
        const auto reader = stub->Generate(&context, Drawn(random(), 200));
        pb::GenerateEvent event;
        const int reads = static_cast<int>(random() % 40) - 10;
        for (int k = 0; k < reads && reader->Read(&event); ++k) {
        }
        context.TryCancel();
        reader->Finish();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(disturbed == undisturbed);
  REQUIRE(native.worker.WaitUntilIdle(std::chrono::seconds(20), "tiny"));
  const std::string metrics = native.worker.worker().metrics().Text();
  CHECK(GaugeOf(metrics, "vllm:num_requests_running") == 0);
  CHECK(GaugeOf(metrics, "vllm:num_requests_waiting") == 0);
  CHECK(GaugeOf(metrics, "vllm:kv_cache_usage_perc") == 0);
  CHECK(GaugeOf(metrics, "conclave_kv_blocks_used") == 0);
}

TEST_CASE("a model whose file is cut short under it is told as failed, and the worker lives") {
  Native native;
  const auto channel = ConnectTo(native.worker.address());
  REQUIRE(Ask(channel, Drawn(1, 5)).status.ok());
  std::filesystem::resize_file(native.file.path(), 100);
  // A request that runs into it fails; afterwards the model is out of service.
  Answer answer;
  for (int i = 0; i < 100 && answer.status.error_code() != grpc::StatusCode::FAILED_PRECONDITION;
       ++i) {
    answer = Ask(channel, Drawn(2, 20));
  }
  CHECK(answer.status.error_code() == grpc::StatusCode::FAILED_PRECONDITION);
  CHECK(native.worker.worker().host().List().at(1)->status().state ==
        worker::HostedModel::State::kFailed);
  CHECK(Ask(channel, UserSays("still here")).text() == "still here");
}

TEST_CASE("a model is loaded and unloaded under load without a broken stream") {
  Native native;
  const auto channel = ConnectTo(native.worker.address());
  const auto models = pb::Worker::NewStub(channel);
  Answer answer;
  std::thread client([&] { answer = Ask(ConnectTo(native.worker.address()), Drawn(1, 150)); });
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (native.worker.load("tiny").output_tokens_total == 0 &&
         std::chrono::steady_clock::now() < deadline) {
    std::this_thread::yield();
  }
  grpc::ClientContext context;
  pb::UnloadModelRequest request;
  request.set_name("tiny");
  pb::UnloadModelReply reply;
  CHECK(models->UnloadModel(&context, request, &reply).ok());
  client.join();
  CHECK(answer.status.ok());
  CHECK(answer.num_finished() == 1);
  CHECK(Ask(channel, Drawn(2, 5)).status.error_code() == grpc::StatusCode::NOT_FOUND);
}

}  // namespace conclave::tests
