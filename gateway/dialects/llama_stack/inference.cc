// Chat completion, completion, embeddings, and batches of the first two, on every wire.
#include <string>
#include <utility>

#include "gateway/dialects/embedding_call.h"
#include "gateway/dialects/llama_stack/answer.h"
#include "gateway/dialects/llama_stack/errors.h"
#include "gateway/dialects/llama_stack/request.h"
#include "gateway/dialects/llama_stack/routes.h"
#include "gateway/dialects/llama_stack/stream.h"

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
    {"/alpha/inference/chat-completion", &kWireAlpha, Chat},
    {"/alpha/inference/completion", &kWireAlpha, Complete},
    {"/alpha/inference/embeddings", &kWireAlpha, Embed},
    {"/v1/inference/chat-completion", &kWire2025, Chat},
    {"/inference/chat-completion", &kWire2025, Chat},
    {"/v1/inference/completion", &kWire2025, Complete},
    {"/v1/inference/embeddings", &kWire2025, Embed},
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
