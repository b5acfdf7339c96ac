// GET /props, GET /slots, as llama-server has them. Neither loads a model nor counts as a use of
// it.
#include <chrono>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "gateway/dialects/generation.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/utility/props_codec.h"
#include "gateway/dialects/utility/routes.h"

namespace conclave::gateway::utility {
namespace {

constexpr std::chrono::seconds kLoadingRetry{2};

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

// Its state is what its worker says now, not what it last reported: who was told that the model is
// loaded sees it here.
absl::Status CheckState(const v1::ModelStatus& model) {
  if (model.state() == v1::ModelStatus::STATE_FAILED) {
    return base::WithReason(
        base::FailedPrecondition("the model `" + model.name() + "` could not be loaded"),
        "model_failed");
  }
  if (model.state() != v1::ModelStatus::STATE_LOADING) return absl::OkStatus();
  const int percent = static_cast<int>(model.progress() * 100);
  return base::WithRetryAfter(
      base::WithReason(base::Unavailable(absl::StrCat("the model `", model.name(), "` is loading (",
                                                      percent, " %)")),
                       "model_loading"),
      kLoadingRetry);
}

// Nothing where several may be meant. UNAVAILABLE with the progress while it is loaded; NOT_FOUND.
Task<absl::StatusOr<std::optional<v1::ModelStatus>>> ChooseShown(const Services& services,
                                                                 Exchange& exchange) {
  const std::vector<std::string> names = Meant(services, exchange.request);
  if (names.size() > 1) co_return std::nullopt;
  if (names.empty()) {
    co_return base::WithReason(base::NotFound("no model of this server generates text"),
                               "model_not_found");
  }
  const absl::StatusOr<v1::ModelStatus> known = services.models->Find(names.front());
  if (!known.ok()) co_return known.status();
  const absl::StatusOr<v1::ModelStatus> model =
      co_await DescribeModel(services, exchange, known->name());
  if (!model.ok()) co_return model.status();
  const absl::Status state = CheckState(*model);
  if (!state.ok()) co_return state;
  co_return *model;
}

Task<absl::StatusOr<v1::CountSlotsReply>> CountSlots(const Services& services, Exchange& exchange,
                                                     std::string model) {
  v1::CountSlotsRequest request;
  request.set_model(std::move(model));
  Call<v1::CountSlotsReply> call = services.workers->CountSlots(
      std::move(request), std::chrono::steady_clock::now() + services.times.store);
  co_return co_await AwaitReply(std::move(call), exchange.out);
}

Task<absl::StatusOr<std::string>> PropsOf(const Services& services, Exchange& exchange) {
  const absl::StatusOr<std::optional<v1::ModelStatus>> chosen =
      co_await ChooseShown(services, exchange);
  if (!chosen.ok()) co_return chosen.status();
  if (!chosen->has_value()) {
    const auto num_models = static_cast<int>(services.models->List().size());
    co_return EncodeRouterProps(num_models, BuildOf(services));
  }
  const v1::ModelStatus& model = **chosen;
  const absl::StatusOr<v1::CountSlotsReply> slots =
      co_await CountSlots(services, exchange, model.name());
  // A model of the embedding workers has none.
  if (!slots.ok() && !absl::IsNotFound(slots.status())) co_return slots.status();
  co_return EncodeProps(model, slots.value_or(v1::CountSlotsReply()), BuildOf(services));
}

Task<absl::StatusOr<std::string>> SlotsOf(const Services& services, Exchange& exchange) {
  const absl::StatusOr<std::optional<v1::ModelStatus>> chosen =
      co_await ChooseShown(services, exchange);
  if (!chosen.ok()) co_return chosen.status();
  if (!chosen->has_value()) {
    co_return base::WithParam(
        base::InvalidArgument("model: required, because several models are served"), "model");
  }
  const absl::StatusOr<v1::CountSlotsReply> slots =
      co_await CountSlots(services, exchange, (*chosen)->name());
  if (!slots.ok()) co_return slots.status();
  if (exchange.request.Query("fail_on_no_slot") && slots->busy() == slots->total()) {
    co_return base::WithReason(base::Unavailable("no slot available"), "no_slot");
  }
  co_return EncodeSlots(**chosen, *slots);
}

using Encode = Task<absl::StatusOr<std::string>> (*)(const Services&, Exchange&);

template <Encode encode>
Task<void> Show(const Services& services, Exchange& exchange) {
  absl::StatusOr<std::string> body = co_await encode(services, exchange);
  if (!body.ok()) {
    co_await ReplyError(exchange, body.status(), openai::ErrorJson);
    co_return;
  }
  co_await ReplyJson(exchange, *std::move(body));
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
      "GET", "/props", [&services](Exchange& e) { return Show<PropsOf>(services, e); }, bodiless);
  router.Add("POST", "/props", [](Exchange& e) { return ChangeProps(e); });
  router.Add(
      "GET", "/slots", [&services](Exchange& e) { return Show<SlotsOf>(services, e); }, bodiless);
}

}  // namespace conclave::gateway::utility
