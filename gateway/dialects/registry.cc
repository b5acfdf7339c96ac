#include "gateway/dialects/registry.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <functional>
#include <map>
#include <utility>

namespace conclave::gateway {
namespace {

using base::JsonValue;

constexpr size_t kMessagesMax = 256;
constexpr size_t kLicensesMax = 64;
constexpr std::chrono::milliseconds kDirectoryPause{10};
// A worker that says nothing for longer gets no work either (common/mesh/discovery.h).
constexpr std::chrono::milliseconds kModelsPatience{1'500};

absl::Status CheckRegistry(const Services& services) {
  if (services.store != nullptr) return absl::OkStatus();
  return base::Unimplemented(
      "this server runs without assistant-store, which keeps what is registered");
}

absl::Status ReadExample(JsonValue value, v1::ChatMessage* message) {
  RETURN_IF_ERROR(value.ExpectObject());
  ASSIGN_OR_RETURN(const std::string role, value.Get("role").AsString());
  if (role == "system") {
    message->set_role(v1::ROLE_SYSTEM);
  } else if (role == "user") {
    message->set_role(v1::ROLE_USER);
  } else if (role == "assistant") {
    message->set_role(v1::ROLE_ASSISTANT);
  } else {
    return value.Get("role").Error("expected system, user or assistant");
  }
  ASSIGN_OR_RETURN(std::string text, value.Get("content").AsString());
  message->add_content()->set_text(std::move(text));
  return absl::OkStatus();
}

absl::Status ReadLicense(JsonValue value, std::string* license) {
  if (value.missing()) return absl::OkStatus();
  if (!value.is_array()) {
    ASSIGN_OR_RETURN(*license, value.AsString());
    return absl::OkStatus();
  }
  if (value.size() > kLicensesMax) return value.Error("at most 64 licenses");
  for (size_t i = 0; i < value.size(); ++i) {
    ASSIGN_OR_RETURN(const std::string text, value.At(i).AsString());
    *license += (i > 0 ? "\n" : "") + text;
  }
  return absl::OkStatus();
}

bool SameAs(const WantedModel& wanted, const v1::ModelStatus& model) {
  return model.name() == wanted.name && ProviderIdOf(model) == wanted.provider_id &&
         ProviderModelIdOf(model) == wanted.provider_model_id;
}

v1::RegisterModelRequest RequestOf(const WantedModel& wanted) {
  v1::RegisterModelRequest request;
  v1::ModelRegistration* registration = request.mutable_registration();
  registration->set_name(wanted.name);
  registration->set_model_type(wanted.model_type);
  registration->mutable_metadata()->insert(wanted.metadata.begin(), wanted.metadata.end());
  if (wanted.provider_id == kInlineProvider) {
    registration->mutable_derived()->set_base(wanted.provider_model_id);
  } else {
    registration->set_provider_id(wanted.provider_id);
    registration->set_provider_model_id(wanted.provider_model_id);
    registration->set_config_json(wanted.config_json);
  }
  return request;
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

base::SteadyTime Deadline(const Services& services) {
  return std::chrono::steady_clock::now() + services.times.registering;
}

// What the store has done is in force; this gateway is to know it, too, before it says so: whoever
// is told "registered" may ask for the model at once. Gives up after a moment.
Task<void> AwaitDirectory(const Services& services, std::function<bool()> known) {
  boost::asio::steady_timer timer(co_await boost::asio::this_coro::executor);
  const base::SteadyTime until = std::chrono::steady_clock::now() + services.times.directory;
  while (!known() && std::chrono::steady_clock::now() < until) {
    timer.expires_after(kDirectoryPause);
    co_await timer.async_wait(boost::asio::as_tuple(boost::asio::use_awaitable));
  }
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
      std::move(request), std::chrono::steady_clock::now() + services.times.store);
  absl::StatusOr<v1::ListProvidersReply> reply = co_await AwaitReply(std::move(call), exchange.out);
  if (absl::IsUnimplemented(reply.status())) co_return OwnModelsOnly(services);
  co_return reply;
}

Task<std::vector<v1::ModelStatus>> ModelsNow(const Services& services, Exchange& exchange) {
  Call<v1::ListModelsReply> call =
      services.models->Ask(std::chrono::steady_clock::now() + kModelsPatience);
  const absl::StatusOr<v1::ListModelsReply> reply =
      co_await AwaitReply(std::move(call), exchange.out);
  if (!reply.ok()) co_return services.models->List();
  co_return std::vector<v1::ModelStatus>(reply->models().begin(), reply->models().end());
}

RouteOptions AdminRoute(bool any_content_type) {
  RouteOptions options;
  options.admin = true;
  options.any_content_type = any_content_type;
  return options;
}

Task<absl::StatusOr<v1::ModelRegistration>> RegisterModel(const Services& services,
                                                          Exchange& exchange,
                                                          v1::RegisterModelRequest request) {
  const absl::Status has_store = CheckRegistry(services);
  if (!has_store.ok()) co_return has_store;
  *request.mutable_meta() = MetaOf(exchange.request);
  exchange.record.model = request.registration().name();
  Call<v1::ModelRegistration> call =
      services.store->RegisterModel(std::move(request), Deadline(services));
  absl::StatusOr<v1::ModelRegistration> made = co_await AwaitReply(std::move(call), exchange.out);
  if (!made.ok()) co_return made;
  co_await AwaitDirectory(services, [&services, &made] {
    const absl::StatusOr<v1::ModelStatus> model = services.models->Find(made->name());
    return model.ok() && model->registration() == made->digest() &&
           model->state() != v1::ModelStatus::STATE_LOADING;
  });
  co_return made;
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
  const absl::StatusOr<v1::ModelRegistration> made =
      co_await RegisterModel(services, exchange, RequestOf(wanted));
  co_return made.status();
}

Task<absl::StatusOr<v1::DeleteReply>> UnregisterModel(const Services& services, Exchange& exchange,
                                                      std::string name) {
  const absl::Status has_store = CheckRegistry(services);
  if (!has_store.ok()) co_return has_store;
  const absl::StatusOr<v1::ModelStatus> served = services.models->Find(name);
  if (served.ok()) name = served->name();
  v1::UnregisterModelRequest request;
  *request.mutable_meta() = MetaOf(exchange.request);
  request.set_name(name);
  exchange.record.model = name;
  Call<v1::DeleteReply> call =
      services.store->UnregisterModel(std::move(request), Deadline(services));
  absl::StatusOr<v1::DeleteReply> reply = co_await AwaitReply(std::move(call), exchange.out);
  if (absl::IsNotFound(reply.status()) && served.ok() && served->registration().empty()) {
    co_return absl::PermissionDeniedError("the model `" + name +
                                          "` is served by its workers' own configuration");
  }
  if (!reply.ok()) co_return reply;
  co_await AwaitDirectory(services, [&services, &reply] {
    const std::vector<v1::ModelStatus> models = services.models->List();
    return std::none_of(models.begin(), models.end(), [&](const v1::ModelStatus& model) {
      return model.name() == reply->id() && !model.registration().empty();
    });
  });
  co_return reply;
}

absl::Status ReadDerived(JsonValue root, v1::DerivedModel* derived) {
  ASSIGN_OR_RETURN(std::optional<std::string> system, root.Get("system").OptionalString());
  if (system) derived->set_system(*std::move(system));
  ASSIGN_OR_RETURN(std::optional<std::string> text, root.Get("template").OptionalString());
  if (text) derived->set_template_(*std::move(text));
  const JsonValue parameters = root.Get("parameters");
  if (!parameters.missing()) {
    RETURN_IF_ERROR(parameters.ExpectObject());
    if (parameters.size() > 0) derived->set_parameters_json(parameters.ToJson());
  }
  const JsonValue messages = root.Get("messages");
  if (!messages.missing()) RETURN_IF_ERROR(messages.ExpectArray());
  if (messages.size() > kMessagesMax) return messages.Error("at most 256 messages");
  for (size_t i = 0; i < messages.size(); ++i) {
    RETURN_IF_ERROR(ReadExample(messages.At(i), derived->add_messages()));
  }
  return ReadLicense(root.Get("license"), derived->mutable_license());
}

void WriteLogEntry(base::JsonWriter& json, const v1::LogEntry& entry) {
  json.Field("level", entry.level());
  json.Field("msg", entry.msg());
  json.Key("fields");
  json.BeginObject();
  const std::map<std::string, std::string> sorted(entry.fields().begin(), entry.fields().end());
  for (const auto& [key, value] : sorted) json.RawField(key, value);
  json.EndObject();
}

}  // namespace conclave::gateway
