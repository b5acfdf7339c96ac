// The embedding worker as a caller sees it.
#include <grpcpp/grpcpp.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <thread>

#include "embed/embed_worker.h"
#include "mesh/grpc_status.h"
#include "unit/embed/tiny_bert.h"

namespace conclave::embed {
namespace {

namespace pb = conclave::v1;

struct Running {
  Running()
      : worker(*OpenServedModel("tiny", {"alias"}, TinyBertFolder(), {.num_threads = 1}, {}),
               {.listen = "127.0.0.1:0"}, "embed-1") {
    REQUIRE(worker.Start().ok());
    channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(worker.port()),
                                  grpc::InsecureChannelCredentials());
  }
  EmbedWorker worker;
  std::shared_ptr<grpc::Channel> channel;
};

struct Reply {
  absl::Status status;
  std::vector<pb::EmbedBatch> batches;
  std::vector<std::vector<float>> vectors() const {
    std::vector<std::vector<float>> all;
    for (const auto& batch : batches) {
      CHECK(batch.first_index() == static_cast<int32_t>(all.size()));
      for (const auto& vector : batch.vectors()) {
        all.emplace_back(vector.values().begin(), vector.values().end());
      }
    }
    return all;
  }
};

Reply Embed(const Running& running, const pb::EmbedRequest& request) {
  const auto stub = pb::Embedding::NewStub(running.channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  const auto reader = stub->Embed(&context, request);
  Reply reply;
  pb::EmbedBatch batch;
  while (reader->Read(&batch)) reply.batches.push_back(batch);
  reply.status = mesh::FromGrpc(reader->Finish(), &context);
  return reply;
}

pb::EmbedRequest Texts(const std::vector<std::string>& texts) {
  pb::EmbedRequest request;
  request.set_model("tiny");
  for (const std::string& text : texts) request.add_inputs()->set_text(text);
  return request;
}

double Length(const std::vector<float>& vector) {
  double squares = 0;
  for (const float x : vector) squares += static_cast<double>(x) * static_cast<double>(x);
  return std::sqrt(squares);
}

}  // namespace

TEST_CASE("two hundred texts come back in order, normalised, with usage on the last message") {
  const Running running;
  std::vector<std::string> texts;
  for (int i = 0; i < 200; ++i) texts.push_back("hello " + std::to_string(i));
  const Reply reply = Embed(running, Texts(texts));
  REQUIRE(reply.status.ok());
  const auto vectors = reply.vectors();
  REQUIRE(vectors.size() == 200);
  CHECK(reply.batches.size() > 1);
  CHECK(reply.batches.back().usage().prompt_tokens() > 600);
  CHECK(reply.batches.front().usage().prompt_tokens() == 0);
  for (const auto& vector : vectors) CHECK(Length(vector) == Approx(1).epsilon(1e-5));
  CHECK(Embed(running, Texts({texts[137]})).vectors()[0] == vectors[137]);
}

TEST_CASE("dimensions, normalisation and ids are honoured") {
  const Running running;
  pb::EmbedRequest request = Texts({"the cat sat"});
  request.set_normalize(false);
  const auto raw = Embed(running, request).vectors()[0];
  CHECK(Length(raw) != Approx(1).epsilon(1e-3));
  request.set_normalize(true);
  request.set_dimensions(8);
  const auto cut = Embed(running, request).vectors()[0];
  REQUIRE(cut.size() == 8);
  CHECK(Length(cut) == Approx(1).epsilon(1e-5));
  CHECK(cut[0] / cut[1] == Approx(raw[0] / raw[1]).epsilon(1e-4));

  pb::EmbedRequest ids;
  ids.set_model("alias");
  const auto encoded = OpenTinyBert()->tokenizer().Encode("the cat sat", {});
  ids.add_inputs()->mutable_token_ids()->mutable_ids()->Add(encoded.begin(), encoded.end());
  CHECK(Embed(running, ids).vectors()[0] == Embed(running, Texts({"the cat sat"})).vectors()[0]);
}

TEST_CASE("what cannot be embedded is refused by name") {
  const Running running;
  pb::EmbedRequest unknown = Texts({"x"});
  unknown.set_model("other");
  const absl::Status missing = Embed(running, unknown).status;
  CHECK(missing.code() == absl::StatusCode::kNotFound);
  CHECK(base::ReasonOf(missing) == "model_not_found");
  CHECK(base::ParamOf(Embed(running, Texts({})).status) == "input");
  pb::EmbedRequest wide = Texts({"x"});
  wide.set_dimensions(33);
  CHECK(base::ParamOf(Embed(running, wide).status) == "dimensions");
  CHECK(base::ParamOf(Embed(running, Texts(std::vector<std::string>(2'049, "x"))).status) ==
        "input");
  pb::EmbedRequest longer = Texts({"x", std::string(100, 'a') + std::string(100, '!')});
  longer.set_truncate(pb::EmbedRequest::TRUNCATE_NONE);
  CHECK(base::ParamOf(Embed(running, longer).status) == "input[1]");
}

TEST_CASE("the worker tells what it serves, and that it drains") {
  Running running;
  const auto stub = pb::Worker::NewStub(running.channel);
  pb::ListModelsReply list;
  {
    grpc::ClientContext context;
    pb::ListModelsRequest request;
    request.set_with_details(true);
    REQUIRE(stub->ListModels(&context, request, &list).ok());
  }
  REQUIRE(list.models_size() == 1);
  CHECK(list.models(0).capabilities(0) == "embedding");
  CHECK(list.models(0).details().embedding_length() == 32);
  CHECK(list.models(0).context_length() == 40);
  grpc::ClientContext watch_context;
  const auto watch = stub->Watch(&watch_context, pb::WatchRequest());
  pb::WorkerState state;
  REQUIRE(watch->Read(&state));
  CHECK(state.serving());
  CHECK(running.worker.Drain(base::Clock::System().Now() + std::chrono::seconds(5)));
  while (!state.draining()) REQUIRE(watch->Read(&state));
  CHECK(Embed(running, Texts({"x"})).status.code() == absl::StatusCode::kUnavailable);
  watch_context.TryCancel();
}

}  // namespace conclave::embed
