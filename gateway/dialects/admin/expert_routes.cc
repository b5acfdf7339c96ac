// Where the experts of a model lie that is larger than its GPU, and how often each is chosen.
#include <chrono>
#include <string>
#include <utility>

#include "base/json.h"
#include "gateway/dialects/admin/routes.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/registry.h"

namespace conclave::gateway::admin {
namespace {

using base::JsonWriter;

void WriteLayer(JsonWriter& json, const v1::ExpertPlacement::Layer& layer) {
  json.BeginObject();
  json.Field("layer", layer.layer());
  json.Key("device_experts");
  json.BeginArray();
  for (const int32_t expert : layer.device_experts()) json.Int(expert);
  json.EndArray();
  json.Key("hotness");
  json.BeginArray();
  for (const float hot : layer.hotness()) json.Double(static_cast<double>(hot));
  json.EndArray();
  json.EndObject();
}

std::string EncodeExperts(const v1::GetExpertsReply& reply) {
  JsonWriter json;
  json.BeginObject();
  json.Field("object", "list");
  json.Key("data");
  json.BeginArray();
  for (const v1::ExpertPlacement& one : reply.placements()) {
    json.BeginObject();
    json.Field("worker", one.worker_id());
    json.Field("device", one.device());
    json.Field("plan", one.plan());
    json.Field("moves", one.moves());
    json.Field("selections", one.selections());
    json.Field("device_selections", one.device_selections());
    json.Field("device_share", one.device_share());
    json.Field("exchanges", one.exchanges());
    json.Field("moved_bytes", one.moved_bytes());
    json.Field("refused", one.refused());
    json.Key("layers");
    json.BeginArray();
    for (const auto& layer : one.layers()) WriteLayer(json, layer);
    json.EndArray();
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  return json.Take();
}

Task<void> Experts(const Services& services, Exchange& exchange) {
  v1::GetExpertsRequest request;
  request.set_name(std::string(exchange.request.Param("model")));
  Call<v1::GetExpertsReply> call = services.workers->GetExperts(
      std::move(request), std::chrono::steady_clock::now() + services.times.store);
  const absl::StatusOr<v1::GetExpertsReply> reply =
      co_await AwaitReply(std::move(call), exchange.out);
  if (!reply.ok()) {
    co_await ReplyError(exchange, reply.status(), openai::ErrorJson);
    co_return;
  }
  co_await ReplyJson(exchange, EncodeExperts(*reply));
}

}  // namespace

void AddExpertRoutes(Router& router, const Services& services) {
  router.Add(
      "GET", "/admin/models/{model}/experts",
      [&services](Exchange& exchange) { return Experts(services, exchange); }, AdminRoute());
}

}  // namespace conclave::gateway::admin
