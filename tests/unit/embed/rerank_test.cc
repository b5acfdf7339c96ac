// Reranking as a caller sees it.
#include <grpcpp/grpcpp.h>

#include <catch2/catch.hpp>
#include <cmath>

#include "embed/embed_worker.h"
#include "mesh/grpc_status.h"
#include "unit/embed/synth_encoder.h"
#include "unit/embed/tiny_bert.h"

namespace conclave::embed {
namespace {

namespace pb = conclave::v1;

std::unique_ptr<ServedModel> Reranker() {
  const ScratchFolder folder;
  WriteGguf({.pooling_type = 4}, folder.path() + "/ranker.gguf");
  return *OpenServedModel("ranker", {}, folder.path() + "/ranker.gguf", {.num_threads = 1}, {});
}

struct Running {
  explicit Running(std::unique_ptr<ServedModel> model)
      : worker(std::move(model), {.listen = "127.0.0.1:0"}, "embed-1") {
    REQUIRE(worker.Start().ok());
    channel = grpc::CreateChannel("127.0.0.1:" + std::to_string(worker.port()),
                                  grpc::InsecureChannelCredentials());
  }
  EmbedWorker worker;
  std::shared_ptr<grpc::Channel> channel;
};

absl::Status Rerank(const Running& running, const pb::RerankRequest& request,
                    pb::RerankReply* reply) {
  const auto stub = pb::Embedding::NewStub(running.channel);
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
  const grpc::Status status = stub->Rerank(&context, request, reply);
  return mesh::FromGrpc(status, &context);
}

pb::RerankRequest Ask(const std::string& query, const std::vector<std::string>& documents) {
  pb::RerankRequest request;
  request.set_model("ranker");
  request.set_query(query);
  for (const std::string& document : documents) request.add_documents(document);
  return request;
}

std::string Words(int count, const std::string& word = "b") {
  std::string text;
  for (int i = 0; i < count; ++i) text += word + " ";
  return text;
}

}  // namespace

TEST_CASE("documents are scored in order, each as it would be alone") {
  const Running running(Reranker());
  std::vector<std::string> documents;
  for (int i = 0; i < 40; ++i) documents.push_back(Words(1 + i % 7, i % 2 == 0 ? "e" : "k"));
  pb::RerankRequest request = Ask("a b", documents);
  request.set_raw_scores(true);
  pb::RerankReply reply;
  REQUIRE(Rerank(running, request, &reply).ok());
  REQUIRE(reply.scores_size() == 40);
  int tokens = 0;
  for (int i = 0; i < 40; ++i) {
    CHECK(reply.scores(i).tokens() == 2 + 3 + 1 + i % 7);
    tokens += reply.scores(i).tokens();
  }
  CHECK(reply.usage().prompt_tokens() == tokens);
  CHECK(reply.scores(0).score() != reply.scores(1).score());
  pb::RerankRequest one = Ask("a b", {documents[17]});
  one.set_raw_scores(true);
  pb::RerankReply alone;
  REQUIRE(Rerank(running, one, &alone).ok());
  CHECK(alone.scores(0).score() == reply.scores(17).score());
  // The other way round is another question.
  pb::RerankRequest turned = Ask(documents[17], {"a b"});
  turned.set_raw_scores(true);
  REQUIRE(Rerank(running, turned, &alone).ok());
  CHECK(alone.scores(0).score() != reply.scores(17).score());
}

TEST_CASE("a score lies between 0 and 1 unless the head's own is wanted") {
  const Running running(Reranker());
  pb::RerankRequest request = Ask("a", {"b c d"});
  pb::RerankReply scaled, raw;
  REQUIRE(Rerank(running, request, &scaled).ok());
  request.set_raw_scores(true);
  REQUIRE(Rerank(running, request, &raw).ok());
  CHECK(scaled.scores(0).score() ==
        Approx(1 / (1 + std::exp(-static_cast<double>(raw.scores(0).score())))));
}

TEST_CASE("a document that is too long is cut as asked, its query never") {
  const Running running(Reranker());
  // 64 positions, less 3 special tokens and a query of one: 60 are the document's.
  pb::RerankRequest request = Ask("a", {Words(60), Words(61), Words(60) + "k"});
  pb::RerankReply reply;
  REQUIRE(Rerank(running, request, &reply).ok());
  CHECK_FALSE(reply.scores(0).truncated());
  CHECK(reply.scores(1).truncated());
  CHECK(reply.scores(1).tokens() == 64);
  CHECK(reply.scores(0).score() == reply.scores(1).score());
  CHECK(reply.scores(0).score() == reply.scores(2).score());
  request.set_truncate(pb::EmbedRequest::TRUNCATE_START);
  REQUIRE(Rerank(running, request, &reply).ok());
  CHECK(reply.scores(0).score() == reply.scores(1).score());
  CHECK(reply.scores(0).score() != reply.scores(2).score());
  request.set_truncate(pb::EmbedRequest::TRUNCATE_NONE);
  CHECK(base::ParamOf(Rerank(running, request, &reply)) == "documents[1]");
}

TEST_CASE("what cannot be ranked is refused by name") {
  const Running running(Reranker());
  pb::RerankReply reply;
  pb::RerankRequest other = Ask("a", {"b"});
  other.set_model("other");
  CHECK(Rerank(running, other, &reply).code() == absl::StatusCode::kNotFound);
  CHECK(base::ParamOf(Rerank(running, Ask("a", {}), &reply)) == "documents");
  const std::vector<std::string> many(1'025, "b");
  CHECK(base::ParamOf(Rerank(running, Ask("a", many), &reply)) == "documents");
  CHECK(base::ParamOf(Rerank(running, Ask(Words(61), {"b"}), &reply)) == "query");
  CHECK(Rerank(running, Ask(Words(60), {"b"}), &reply).ok());
  const std::string huge((1 << 20) + 1, 'b');
  CHECK(base::ParamOf(Rerank(running, Ask(huge, {"b"}), &reply)) == "query");
  CHECK(base::ParamOf(Rerank(running, Ask("a", {"b", huge}), &reply)) == "documents[1]");
}

TEST_CASE("a reranker embeds nothing, an embedding model ranks nothing, and both say so") {
  const Running ranker(Reranker());
  const auto stub = pb::Embedding::NewStub(ranker.channel);
  pb::EmbedRequest embed;
  embed.set_model("ranker");
  embed.add_inputs()->set_text("a");
  grpc::ClientContext context;
  const auto reader = stub->Embed(&context, embed);
  pb::EmbedBatch batch;
  CHECK_FALSE(reader->Read(&batch));
  const absl::Status refused = mesh::FromGrpc(reader->Finish(), &context);
  CHECK(refused.code() == absl::StatusCode::kInvalidArgument);
  CHECK(base::ParamOf(refused) == "model");
  CHECK(refused.ToString().find("reranker") != std::string::npos);

  pb::ListModelsReply list;
  grpc::ClientContext list_context;
  REQUIRE(pb::Worker::NewStub(ranker.channel)
              ->ListModels(&list_context, pb::ListModelsRequest(), &list)
              .ok());
  CHECK(list.models(0).capabilities(0) == "rerank");
  CHECK(list.models(0).details().format() == "gguf");

  const Running embedder(*OpenServedModel("ranker", {}, TinyBertFolder(), {.num_threads = 1}, {}));
  pb::RerankReply reply;
  const absl::Status no_head = Rerank(embedder, Ask("a", {"b"}), &reply);
  CHECK(no_head.code() == absl::StatusCode::kInvalidArgument);
  CHECK(base::ParamOf(no_head) == "model");
  CHECK(no_head.ToString().find("head") != std::string::npos);
}

TEST_CASE("a draining worker takes no documents") {
  Running running(Reranker());
  CHECK(running.worker.Drain(base::Clock::System().Now() + std::chrono::seconds(5)));
  pb::RerankReply reply;
  CHECK(Rerank(running, Ask("a", {"b"}), &reply).code() == absl::StatusCode::kUnavailable);
}

}  // namespace conclave::embed
