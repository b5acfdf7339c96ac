// Chat completion, completion, batches of both, embeddings and reranking, on every wire.
#include <string>
#include <utility>
#include <vector>

#include "gateway/dialects/embedding_call.h"
#include "gateway/dialects/llama_stack/answer.h"
#include "gateway/dialects/llama_stack/errors.h"
#include "gateway/dialects/llama_stack/request.h"
#include "gateway/dialects/llama_stack/routes.h"
#include "gateway/dialects/llama_stack/stream.h"
#include "gateway/dialects/rerank_call.h"
#include "gateway/dialects/utility/routes.h"

namespace conclave::gateway::llama_stack {
namespace {

using base::JsonWriter;

bool Cumulative(const Exchange& exchange) {
  return exchange.request.profile == CompatProfile::kLsSeed;
}

// What the first server said of models, for clients that look for its words.
absl::Status SeedWords(const Services& services, const absl::Status& status,
                       const std::string& name) {
  if (absl::IsNotFound(status)) return base::InvalidArgument("`" + name + "` not registered");
  if (!absl::IsInvalidArgument(status) || base::ParamOf(status) != "model") return status;
  const std::optional<v1::ModelStatus> served = DefaultModel(services, "completion");
  return base::InvalidArgument("Model mismatch: " + name +
                               " != " + (served ? served->name() : "none"));
}

// The model must be there and able before the answer begins.
absl::Status CheckWanted(const Services& services, const Exchange& exchange,
                         v1::GenerateRequest* request) {
  const absl::Status able =
      CheckModel(services, exchange.request, request->chat(), request->mutable_model());
  if (exchange.request.profile != CompatProfile::kLsSeed) return able;
  return SeedWords(services, able, request->model());
}

template <typename Stream, typename Encode>
Task<void> Answer(const Wire& wire, const Services& services, Exchange& exchange,
                  absl::StatusOr<InferenceRequest> request, Encode encode) {
  absl::Status status = request.status();
  if (status.ok()) status = CheckWanted(services, exchange, &request->generate);
  if (!status.ok()) {
    co_await ReplyError(exchange, status, ErrorJson);
    co_return;
  }
  if (request->stream) {
    Stream encoder(wire, Cumulative(exchange));
    co_await StreamGeneration(services, exchange, std::move(request->generate), encoder, ErrorJson);
    co_return;
  }
  const auto whole = [&](const Completion& completion) { return encode(wire, completion); };
  co_await ReplyGeneration(services, exchange, std::move(request->generate), whole, ErrorJson);
}

Task<void> Chat(const Wire& wire, const Services& services, Exchange& exchange) {
  return Answer<ChatStream>(wire, services, exchange,
                            DecodeChat(wire, exchange.request.body, services.default_system_prompt),
                            EncodeChat);
}

Task<void> Complete(const Wire& wire, const Services& services, Exchange& exchange) {
  return Answer<CompletionStream>(wire, services, exchange,
                                  DecodeCompletion(wire, exchange.request.body), EncodeCompletion);
}

template <typename Encode>
Task<void> AnswerBatch(const Wire& wire, const Services& services, Exchange& exchange,
                       absl::StatusOr<std::vector<v1::GenerateRequest>> requests, Encode encode) {
  absl::Status status = requests.status();
  // Model and tools are the same for all entries.
  if (status.ok()) status = CheckWanted(services, exchange, &requests->front());
  if (!status.ok()) {
    co_await ReplyError(exchange, status, ErrorJson);
    co_return;
  }
  const auto whole = [&](const Completion& completion) { return encode(wire, completion); };
  co_await ReplyGenerations(services, exchange, *std::move(requests), whole, ErrorJson);
}

Task<void> ChatBatch(const Wire& wire, const Services& services, Exchange& exchange) {
  return AnswerBatch(wire, services, exchange,
                     DecodeChatBatch(wire, exchange.request.body, services.default_system_prompt),
                     EncodeChatBatch);
}

Task<void> CompletionBatch(const Wire& wire, const Services& services, Exchange& exchange) {
  return AnswerBatch(wire, services, exchange, DecodeCompletionBatch(wire, exchange.request.body),
                     EncodeCompletionBatch);
}

Task<void> Embed(const Wire& wire, const Services& services, Exchange& exchange) {
  absl::StatusOr<v1::EmbedRequest> request = DecodeEmbeddings(wire, exchange.request.body);
  if (!request.ok()) {
    co_await ReplyError(exchange, request.status(), ErrorJson);
    co_return;
  }
  const absl::StatusOr<Embeddings> embeddings =
      co_await EmbedInputs(services, exchange, *std::move(request));
  if (!embeddings.ok()) {
    co_await ReplyError(exchange, embeddings.status(), ErrorJson);
    co_return;
  }
  JsonWriter json;
  json.BeginObject();
  json.Key("embeddings");
  json.BeginArray();
  for (const v1::EmbeddingVector& vector : embeddings->vectors) {
    json.Raw(EncodeFloats({vector.values().data(), static_cast<size_t>(vector.values_size())}));
  }
  json.EndArray();
  json.EndObject();
  co_await ReplyJson(exchange, json.Take());
}

std::string EncodeRanking(const v1::RerankReply& reply, int64_t results_max) {
  JsonWriter json;
  json.BeginObject();
  json.Key("data");
  json.BeginArray();
  for (const int i : Ranking(reply, results_max)) {
    json.BeginObject();
    json.Field("index", i);
    json.Field("relevance_score", static_cast<double>(reply.scores(i).score()));
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  return json.Take();
}

// The same on every wire that has it.
Task<void> Rank(const Wire&, const Services& services, Exchange& exchange) {
  absl::StatusOr<RankingRequest> request = DecodeRanking(exchange.request.body);
  absl::Status status = request.status();
  if (status.ok()) {
    const absl::StatusOr<std::string> model =
        utility::ChooseModel(services, exchange.request, request->rerank.model(), "rerank");
    status = model.status();
    if (status.ok()) request->rerank.set_model(*model);
  }
  if (!status.ok()) {
    co_await ReplyError(exchange, status, ErrorJson);
    co_return;
  }
  const absl::StatusOr<v1::RerankReply> reply =
      co_await RankDocuments(services, exchange, std::move(request->rerank));
  if (!reply.ok()) {
    co_await ReplyError(exchange, reply.status(), ErrorJson);
    co_return;
  }
  co_await ReplyJson(exchange, EncodeRanking(*reply, request->results_max));
}

using Action = Task<void> (*)(const Wire& wire, const Services& services, Exchange& exchange);

struct Row {
  std::string_view path;
  const Wire* wire;
  Action action;
};

// Where the wires of 2024 and 2025 would share a path once its prefix is put on or taken off, each
// keeps the one that its clients call.
constexpr Row kRows[] = {
    {"/inference/chat_completion", &kWire2024, Chat},
    {"/v1/inference/chat_completion", &kWire2024, Chat},
    {"/inference/completion", &kWire2024, Complete},
    {"/inference/embeddings", &kWire2024, Embed},
    {"/batch_inference/chat_completion", &kWire2024, ChatBatch},
    {"/v1/batch_inference/chat_completion", &kWire2024, ChatBatch},
    {"/batch_inference/completion", &kWire2024, CompletionBatch},
    {"/v1/batch_inference/completion", &kWire2024, CompletionBatch},
    {"/alpha/inference/chat-completion", &kWireAlpha, Chat},
    {"/alpha/inference/completion", &kWireAlpha, Complete},
    {"/alpha/inference/embeddings", &kWireAlpha, Embed},
    {"/alpha/batch-inference/chat-completion", &kWireAlpha, ChatBatch},
    {"/alpha/batch-inference/completion", &kWireAlpha, CompletionBatch},
    {"/v1/inference/chat-completion", &kWire2025, Chat},
    {"/inference/chat-completion", &kWire2025, Chat},
    {"/v1/inference/completion", &kWire2025, Complete},
    {"/v1/inference/embeddings", &kWire2025, Embed},
    {"/v1/inference/rerank", &kWire2025, Rank},
    {"/inference/rerank", &kWire2025, Rank},
    {"/v1alpha/inference/rerank", &kWire2025, Rank},
    {"/v1/inference/batch-chat-completion", &kWire2025, ChatBatch},
    {"/inference/batch-chat-completion", &kWire2025, ChatBatch},
    {"/v1/inference/batch-completion", &kWire2025, CompletionBatch},
    {"/inference/batch-completion", &kWire2025, CompletionBatch},
};

}  // namespace

void AddInferenceRoutes(Router& router, const Services& services) {
  for (const Row& row : kRows) {
    router.Add("POST", row.path, [&services, &row](Exchange& exchange) {
      return row.action(*row.wire, services, exchange);
    });
  }
}

}  // namespace conclave::gateway::llama_stack
