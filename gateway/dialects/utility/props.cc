// GET /props, GET /slots, as llama-server has them. Neither loads a model nor counts as a use of
// it.
#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gateway/dialects/generation.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/utility/props_codec.h"
#include "gateway/dialects/utility/routes.h"

namespace conclave::gateway::utility {
namespace {

std::string BuildOf(const Services& services) {
  return absl::StrCat("conclave-", CONCLAVE_VERSION, "-", services.commit);
}

// The names that a request may mean: the one it gives, the default, or all that generate.
std::vector<std::string> Meant(const Services& services, const Request& request) {
  std::string name = request.Query("model").value_or(services.default_model);
  if (!name.empty()) return {std::move(name)};
  std::vector<std::string> names;
  for (const v1::ModelStatus& model : services.models->List()) {
    if (Can(model, "completion")) names.push_back(model.name());
  }
  return names;
}

// Nothing where several may be meant. UNAVAILABLE with the progress while it is loaded; NOT_FOUND.
absl::StatusOr<std::optional<v1::ModelStatus>> ChooseShown(const Services& services,
                                                           const Request& request) {
  const std::vector<std::string> names = Meant(services, request);
  if (names.size() > 1) return std::nullopt;
  if (names.empty()) {
    return base::WithReason(base::NotFound("no model of this server generates text"),
                            "model_not_found");
  }
  return services.models->FindReady(names.front(), /*may_wait=*/false);
}

SlotCount CountSlots(const Services& services, const std::string& model) {
  SlotCount count;
  for (const v1::WorkerState& worker : services.models->Workers()) {
    const auto& models = worker.models();
    const bool serves = std::any_of(models.begin(), models.end(),
                                    [&](const auto& other) { return other.name() == model; });
    if (!serves || !worker.serving()) continue;
    count.total += worker.load().slots();
    count.busy += std::min(worker.load().running(), worker.load().slots());
  }
  return count;
}

Task<void> Props(const Services& services, Exchange& exchange) {
  const absl::StatusOr<std::optional<v1::ModelStatus>> chosen =
      ChooseShown(services, exchange.request);
  absl::Status status = chosen.status();
  if (status.ok() && !chosen->has_value()) {
    const auto num_models = static_cast<int>(services.models->List().size());
    co_await ReplyJson(exchange, EncodeRouterProps(num_models, BuildOf(services)));
    co_return;
  }
  if (status.ok()) {
    const std::string name = (*chosen)->name();
    const absl::StatusOr<v1::ModelStatus> model = co_await DescribeModel(services, exchange, name);
    status = model.status();
    if (status.ok()) {
      co_await ReplyJson(exchange,
                         EncodeProps(*model, CountSlots(services, name), BuildOf(services)));
      co_return;
    }
  }
  co_await ReplyError(exchange, status, openai::ErrorJson);
}

Task<void> Slots(const Services& services, Exchange& exchange) {
  const absl::StatusOr<std::optional<v1::ModelStatus>> chosen =
      ChooseShown(services, exchange.request);
  absl::Status status = chosen.status();
  if (status.ok() && !chosen->has_value()) {
    status = base::WithParam(
        base::InvalidArgument("model: required, because several models are served"), "model");
  }
  if (!status.ok()) {
    co_await ReplyError(exchange, status, openai::ErrorJson);
    co_return;
  }
  exchange.record.model = (*chosen)->name();
  const SlotCount slots = CountSlots(services, (*chosen)->name());
  if (exchange.request.Query("fail_on_no_slot") && slots.busy == slots.total) {
    status = base::WithReason(base::Unavailable("no slot available"), "no_slot");
    co_await ReplyError(exchange, status, openai::ErrorJson);
    co_return;
  }
  co_await ReplyJson(exchange, EncodeSlots(**chosen, slots));
}

Task<void> ChangeProps(Exchange& exchange) {
  return ReplyError(exchange, base::Unimplemented("the settings of this server are its operator's"),
                    openai::ErrorJson);
}

}  // namespace

void AddPropsRoutes(Router& router, const Services& services) {
  RouteOptions bodiless;
  bodiless.body_bytes_max = 0;
  router.Add(
      "GET", "/props", [&services](Exchange& e) { return Props(services, e); }, bodiless);
  router.Add("POST", "/props", [](Exchange& e) { return ChangeProps(e); });
  router.Add(
      "GET", "/slots", [&services](Exchange& e) { return Slots(services, e); }, bodiless);
}

}  // namespace conclave::gateway::utility
