#include "gateway/dialects/registration_call.h"

#include <algorithm>
#include <chrono>
#include <utility>

namespace conclave::gateway {
namespace {

using std::chrono::steady_clock;

// A worker may have to load a file first.
constexpr std::chrono::seconds kRegisterTime{120};

absl::Status CheckStore(const Services& services) {
  if (services.store != nullptr) return absl::OkStatus();
  return base::Unimplemented(
      "this server runs without assistant-store, which keeps what is registered");
}

bool SameAs(const WantedModel& wanted, const v1::ModelStatus& model) {
  return model.name() == wanted.name && ProviderIdOf(model) == wanted.provider_id &&
         ProviderModelIdOf(model) == wanted.provider_model_id;
}

v1::ModelRegistration RegistrationOf(const WantedModel& wanted) {
  v1::ModelRegistration registration;
  registration.set_name(wanted.name);
  registration.set_model_type(wanted.model_type);
  registration.mutable_metadata()->insert(wanted.metadata.begin(), wanted.metadata.end());
  if (wanted.provider_id == kInlineProvider) {
    registration.mutable_derived()->set_base(wanted.provider_model_id);
  } else {
    registration.set_provider_id(wanted.provider_id);
    registration.set_provider_model_id(wanted.provider_model_id);
    registration.set_config_json(wanted.config_json);
  }
  return registration;
}

// What workers have that know of no providers.
v1::ListProvidersReply OwnModelsOnly(const Services& services) {
  v1::ListProvidersReply reply;
  v1::Provider* provider = reply.add_providers();
  provider->set_provider_id(std::string(kInlineProvider));
  provider->set_provider_type(std::string(kInlineProviderType));
  provider->set_health(v1::Provider::HEALTH_OK);
  for (const v1::ModelStatus& model : services.models->List()) provider->add_models(model.name());
  return reply;
}

}  // namespace

std::string ProviderIdOf(const v1::ModelStatus& model) {
  const std::string& id = model.details().provider_id();
  return id.empty() ? std::string(kInlineProvider) : id;
}

std::string ProviderModelIdOf(const v1::ModelStatus& model) {
  const std::string& id = model.details().provider_model_id();
  return id.empty() ? model.name() : id;
}

Task<absl::StatusOr<v1::ListProvidersReply>> AskProviders(const Services& services,
                                                          Exchange& exchange, std::string id) {
  v1::ListProvidersRequest request;
  request.set_provider_id(id);
  Call<v1::ListProvidersReply> call = services.workers->ListProviders(
      std::move(request), steady_clock::now() + services.times.store);
  absl::StatusOr<v1::ListProvidersReply> reply = co_await AwaitReply(std::move(call), exchange.out);
  if (absl::IsUnimplemented(reply.status())) co_return OwnModelsOnly(services);
  co_return reply;
}

Task<absl::Status> RegisterModelOf(const Services& services, Exchange& exchange,
                                   WantedModel wanted) {
  if (wanted.provider_id.empty()) wanted.provider_id = std::string(kInlineProvider);
  if (wanted.provider_model_id.empty()) wanted.provider_model_id = wanted.name;
  exchange.record.model = wanted.name;
  const absl::StatusOr<v1::ModelStatus> served = services.models->Find(wanted.name);
  if (served.ok() && SameAs(wanted, *served)) co_return absl::OkStatus();
  if (wanted.provider_id != kInlineProvider) {
    const absl::StatusOr<v1::ListProvidersReply> providers =
        co_await AskProviders(services, exchange, "");
    if (!providers.ok()) co_return providers.status();
    const auto& all = providers->providers();
    const bool known = std::any_of(all.begin(), all.end(), [&](const v1::Provider& provider) {
      return provider.provider_id() == wanted.provider_id;
    });
    if (!known) co_return base::InvalidArgument("Provider `" + wanted.provider_id + "` not found");
  }
  const absl::Status has_store = CheckStore(services);
  if (!has_store.ok()) co_return has_store;
  v1::RegisterModelRequest request;
  *request.mutable_meta() = MetaOf(exchange.request);
  *request.mutable_registration() = RegistrationOf(wanted);
  Call<v1::ModelRegistration> call =
      services.store->RegisterModel(std::move(request), steady_clock::now() + kRegisterTime);
  const absl::StatusOr<v1::ModelRegistration> reply =
      co_await AwaitReply(std::move(call), exchange.out);
  co_return reply.status();
}

Task<absl::Status> RemoveModel(const Services& services, Exchange& exchange, std::string name) {
  const absl::Status has_store = CheckStore(services);
  if (!has_store.ok()) co_return has_store;
  const absl::StatusOr<v1::ModelStatus> served = services.models->Find(name);
  if (served.ok()) name = served->name();
  exchange.record.model = name;
  v1::UnregisterModelRequest request;
  *request.mutable_meta() = MetaOf(exchange.request);
  request.set_name(name);
  Call<v1::DeleteReply> call =
      services.store->UnregisterModel(std::move(request), steady_clock::now() + kRegisterTime);
  const absl::StatusOr<v1::DeleteReply> reply = co_await AwaitReply(std::move(call), exchange.out);
  if (absl::IsNotFound(reply.status()) && served.ok()) {
    co_return absl::PermissionDeniedError("the model `" + name +
                                          "` is served by its workers' own configuration");
  }
  co_return reply.status();
}

}  // namespace conclave::gateway
