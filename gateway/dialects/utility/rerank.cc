// POST /rerank and its four other paths: Jina's, Cohere's and vLLM's {"documents"}, answered by an
// object; text-embeddings-inference's {"texts"}, answered by a bare array.
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "gateway/dialects/generation.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/rerank_call.h"
#include "gateway/dialects/utility/routes.h"

namespace conclave::gateway::utility {
namespace {

using base::JsonValue;
using base::JsonWriter;

constexpr size_t kBodyBytesMax = 16u << 20;

struct RerankBody {
  v1::RerankRequest request;
  std::string asked_model;  // as the request named it; else the chosen one
  int64_t top_n = 0;        // 0 = all
  bool with_text = false;
  bool bare = false;  // the answer is TEI's array
};

absl::Status ReadDocuments(JsonValue documents, bool may_be_objects, v1::RerankRequest* out) {
  RETURN_IF_ERROR(documents.ExpectArray());
  if (documents.size() == 0) return documents.Error("must not be empty");
  if (documents.size() > kRankedMax) {
    return documents.Error(absl::StrCat("at most ", kRankedMax));
  }
  for (size_t i = 0; i < documents.size(); ++i) {
    JsonValue text = documents.At(i);
    if (may_be_objects && text.is_object()) text = text.Get("text");
    ASSIGN_OR_RETURN(std::string document, text.AsString());
    out->add_documents(std::move(document));
  }
  return absl::OkStatus();
}

absl::Status ReadTei(JsonValue root, RerankBody* out) {
  out->bare = true;
  RETURN_IF_ERROR(ReadDocuments(root.Get("texts"), false, &out->request));
  ASSIGN_OR_RETURN(const std::optional<bool> truncate, root.Get("truncate").OptionalBool());
  const JsonValue side = root.Get("truncation_direction");
  ASSIGN_OR_RETURN(const std::string direction, [&]() -> absl::StatusOr<std::string> {
    ASSIGN_OR_RETURN(const std::optional<std::string> given, side.OptionalString());
    return given.value_or("right");
  }());
  const bool left = direction == "left" || direction == "Left";
  if (!left && direction != "right" && direction != "Right") {
    return side.Error("expected left or right");
  }
  out->request.set_truncate(!truncate.value_or(false) ? v1::EmbedRequest::TRUNCATE_NONE
                            : left                    ? v1::EmbedRequest::TRUNCATE_START
                                                      : v1::EmbedRequest::TRUNCATE_END);
  ASSIGN_OR_RETURN(const std::optional<bool> raw, root.Get("raw_scores").OptionalBool());
  out->request.set_raw_scores(raw.value_or(false));
  ASSIGN_OR_RETURN(const std::optional<bool> text, root.Get("return_text").OptionalBool());
  out->with_text = text.value_or(false);
  return absl::OkStatus();
}

absl::Status ReadJina(JsonValue root, RerankBody* out) {
  RETURN_IF_ERROR(ReadDocuments(root.Get("documents"), true, &out->request));
  ASSIGN_OR_RETURN(const std::optional<int64_t> top_n,
                   root.Get("top_n").OptionalInt(0, std::numeric_limits<int32_t>::max()));
  out->top_n = top_n.value_or(0);
  ASSIGN_OR_RETURN(const std::optional<bool> documents,
                   root.Get("return_documents").OptionalBool());
  out->with_text = documents.value_or(false);
  return absl::OkStatus();
}

absl::StatusOr<RerankBody> Decode(const Services& services, const Request& http) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(http.body));
  const JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  RerankBody decoded;
  ASSIGN_OR_RETURN(*decoded.request.mutable_query(), root.Get("query").AsString());
  if (decoded.request.query().empty()) return root.Get("query").Error("must not be empty");
  RETURN_IF_ERROR(root.Get("texts").missing() ? ReadJina(root, &decoded) : ReadTei(root, &decoded));
  ASSIGN_OR_RETURN(std::optional<std::string> model, root.Get("model").OptionalString());
  decoded.asked_model = model.value_or(std::string());
  ASSIGN_OR_RETURN(std::string name, ChooseModel(services, http, decoded.asked_model, "rerank"));
  if (decoded.asked_model.empty()) decoded.asked_model = name;
  decoded.request.set_model(std::move(name));
  return decoded;
}

std::string EncodeTei(const RerankBody& body, const v1::RerankReply& reply) {
  JsonWriter json;
  json.BeginArray();
  for (const int i : Ranking(reply, 0)) {
    json.BeginObject();
    json.Field("index", i);
    json.Field("score", static_cast<double>(reply.scores(i).score()));
    if (body.with_text) json.Field("text", body.request.documents(i));
    json.EndObject();
  }
  json.EndArray();
  return json.Take();
}

std::string EncodeJina(const std::string& id, const RerankBody& body,
                       const v1::RerankReply& reply) {
  JsonWriter json;
  json.BeginObject();
  json.Field("id", id);
  json.Field("object", "list");
  json.Field("model", body.asked_model);
  json.Key("results");
  json.BeginArray();
  for (const int i : Ranking(reply, body.top_n)) {
    json.BeginObject();
    json.Field("index", i);
    json.Field("relevance_score", static_cast<double>(reply.scores(i).score()));
    if (body.with_text) {
      json.Key("document");
      json.BeginObject();
      json.Field("text", body.request.documents(i));
      json.EndObject();
    }
    json.EndObject();
  }
  json.EndArray();
  json.Key("usage");
  json.BeginObject();
  json.Field("prompt_tokens", reply.usage().prompt_tokens());
  json.Field("total_tokens", reply.usage().prompt_tokens());
  json.EndObject();
  json.EndObject();
  return json.Take();
}

Task<void> Rerank(const Services& services, Exchange& exchange) {
  absl::StatusOr<RerankBody> body = Decode(services, exchange.request);
  if (!body.ok()) {
    co_await ReplyError(exchange, body.status(), openai::ErrorJson);
    co_return;
  }
  const absl::StatusOr<v1::RerankReply> reply =
      co_await RankDocuments(services, exchange, body->request);
  if (!reply.ok()) {
    co_await ReplyError(exchange, reply.status(), openai::ErrorJson);
    co_return;
  }
  co_await ReplyJson(exchange, body->bare ? EncodeTei(*body, *reply)
                                          : EncodeJina(services.new_id("rerank-"), *body, *reply));
}

}  // namespace

void AddRerankRoutes(Router& router, const Services& services) {
  RouteOptions options;
  options.body_bytes_max = kBodyBytesMax;
  for (const std::string_view path :
       {"/rerank", "/reranking", "/v1/rerank", "/v1/reranking", "/v2/rerank"}) {
    router.Add(
        "POST", path, [&services](Exchange& e) { return Rerank(services, e); }, options);
  }
}

}  // namespace conclave::gateway::utility
