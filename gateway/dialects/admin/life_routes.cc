// Models loaded and unloaded by hand, and what they would take.
#include <chrono>
#include <utility>

#include "base/json.h"
#include "gateway/dialects/admin/plan_codec.h"
#include "gateway/dialects/admin/registration_codec.h"
#include "gateway/dialects/admin/routes.h"
#include "gateway/dialects/ollama/options.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/registry.h"

namespace conclave::gateway::admin {
namespace {

using openai::ErrorJson;

struct Verb {
  bool unload = false;
  bool waits = true;  // for the model to be loaded, or to have failed
};

absl::StatusOr<v1::KeepModelRequest> DecodeKeep(const Services& services, std::string_view body,
                                                Verb verb) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(body));
  const base::JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  ASSIGN_OR_RETURN(const std::string name, root.Get("model").AsString());
  ASSIGN_OR_RETURN(const v1::ModelStatus model, services.models->Find(name));
  v1::KeepModelRequest keep;
  keep.set_name(model.name());
  keep.set_load_wait_ms(verb.waits ? services.times.registering.count() : 0);
  if (verb.unload) {
    keep.set_keep_alive_ms(0);
    return keep;
  }
  ASSIGN_OR_RETURN(const std::optional<int64_t> keep_alive,
                   ollama::ReadKeepAlive(root.Get("keep_alive")));
  if (keep_alive == 0)
    return root.Get("keep_alive").Error("to unload there is /admin/models/unload");
  if (keep_alive) keep.set_keep_alive_ms(*keep_alive);
  return keep;
}

// What began, where nobody waits for its end.
v1::KeepModelReply Begun(const std::string& name) {
  v1::KeepModelReply reply;
  reply.mutable_model()->set_name(name);
  reply.mutable_model()->set_state(v1::ModelStatus::STATE_LOADING);
  return reply;
}

Task<void> Keep(const Services& services, Exchange& exchange, Verb verb) {
  absl::StatusOr<v1::KeepModelRequest> keep = DecodeKeep(services, exchange.request.body, verb);
  if (!keep.ok()) {
    co_await ReplyError(exchange, keep.status(), ErrorJson);
    co_return;
  }
  exchange.record.model = keep->name();
  Call<v1::KeepModelReply> call = services.workers->KeepModel(
      *std::move(keep), std::chrono::steady_clock::now() + services.times.registering);
  absl::StatusOr<v1::KeepModelReply> reply = co_await AwaitReply(std::move(call), exchange.out);
  if (!verb.waits && base::ReasonOf(reply.status()) == "model_loading") {
    reply = Begun(exchange.record.model);
  }
  if (!reply.ok()) {
    co_await ReplyError(exchange, reply.status(), ErrorJson);
    co_return;
  }
  base::JsonWriter json;
  json.BeginObject();
  json.Field("success", true);
  json.Field("model", reply->model().name());
  json.Field("state", StateWord(reply->model().state()));
  if (verb.unload) json.Field("in_use", reply->in_use());
  json.EndObject();
  co_await ReplyJson(exchange, json.Take());
}

Task<void> Plan(const Services& services, Exchange& exchange) {
  absl::StatusOr<v1::PlanModelRequest> request = DecodePlanRequest(exchange.request.body);
  if (!request.ok()) {
    co_await ReplyError(exchange, request.status(), ErrorJson);
    co_return;
  }
  Call<ModelPlans> call = services.workers->PlanModel(
      *std::move(request), std::chrono::steady_clock::now() + services.times.store);
  const absl::StatusOr<ModelPlans> plans = co_await AwaitReply(std::move(call), exchange.out);
  absl::StatusOr<std::string> body = plans.ok() ? EncodePlans(*plans) : plans.status();
  if (!body.ok()) {
    co_await ReplyError(exchange, body.status(), ErrorJson);
    co_return;
  }
  co_await ReplyJson(exchange, *std::move(body));
}

}  // namespace

void AddLifeRoutes(Router& router, const Services& services) {
  const auto keep = [&](std::string_view path, Verb verb) {
    router.Add(
        "POST", path,
        [&services, verb](Exchange& exchange) { return Keep(services, exchange, verb); },
        AdminRoute());
  };
  keep("/admin/models/load", {});
  keep("/admin/models/unload", {.unload = true});
  // llama-server's: its clients look at the list of models until the model is there.
  keep("/models/load", {.waits = false});
  keep("/models/unload", {.unload = true});
  router.Add(
      "POST", "/admin/plan", [&services](Exchange& exchange) { return Plan(services, exchange); },
      AdminRoute());
}

}  // namespace conclave::gateway::admin
