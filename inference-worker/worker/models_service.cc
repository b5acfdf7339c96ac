#include "worker/models_service.h"

#include <algorithm>
#include <set>

#include "base/status.h"
#include "mesh/grpc_status.h"
#include "worker/blocking_writer.h"
#include "worker/convert.h"
#include "worker/derived_convert.h"
#include "worker/plan_request.h"
#include "worker/use_options.h"

namespace conclave::worker {
namespace {

namespace pb = conclave::v1;
using std::chrono::milliseconds;

constexpr int kSlowThreads = 4;
constexpr size_t kSlowQueueMax = 16;
constexpr milliseconds kLoadReport{500};
constexpr milliseconds kLetGoWait{10'000};

pb::ModelStatus::State StateOf(HostedModel::State state) {
  switch (state) {
    case HostedModel::State::kUnloaded:
      return pb::ModelStatus::STATE_UNLOADED;
    case HostedModel::State::kLoading:
      return pb::ModelStatus::STATE_LOADING;
    case HostedModel::State::kReady:
      return pb::ModelStatus::STATE_READY;
    case HostedModel::State::kFailed:
      return pb::ModelStatus::STATE_FAILED;
    case HostedModel::State::kUnloading:
      return pb::ModelStatus::STATE_UNLOADING;
  }
  return pb::ModelStatus::STATE_UNSPECIFIED;
}

void Describe(const HostedModel& model, bool with_details, pb::ModelStatus* to) {
  const HostedModel::Status status = model.status();
  to->set_name(model.name);
  for (const std::string& alias : model.aliases) to->add_aliases(alias);
  to->set_revision(status.revision);
  to->set_state(StateOf(status.state));
  if (!status.error.ok()) to->set_error(status.error.ToString());
  to->set_progress(status.progress);
  to->set_created_unix(model.file.modified_unix);
  to->set_registration(model.registration);
  const ModelLife life = model.life();
  to->set_pinned(life.pinned);
  const bool ready = status.state == HostedModel::State::kReady;
  if (ready && life.expires_unix_ms > 0) to->set_expires_unix_ms(life.expires_unix_ms);
  const auto known = model.details();
  if (known == nullptr) return;
  const backends::ModelDetails& details = *known;
  if (status.state == HostedModel::State::kLoading) {
    to->set_loaded_bytes(
        static_cast<int64_t>(status.progress * static_cast<double>(details.size_bytes)));
  }
  to->set_context_length(details.context_length);
  for (const std::string& capability : details.capabilities) to->add_capabilities(capability);
  ToProto(details, with_details, to->mutable_details());
  to->mutable_details()->set_digest(status.digest);
  to->mutable_details()->set_backend(model.backend_kind);
  to->mutable_details()->set_provider_id(model.provider_id);
  to->mutable_details()->set_provider_model_id(model.provider_model_id);
  if (model.derived)
    ToProto(*model.derived, with_details, to->mutable_details()->mutable_derived());
}

using LoadStream = BlockingWriter<pb::LoadModelProgress>;

// Reports until the model is ready or failed, or the caller has gone (loading goes on).
absl::Status FollowLoad(ModelHost& host, const LoadSpec& spec, LoadStream& stream) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const HostedModel> model, host.StartLoading(spec));
  uint64_t seen = 0;
  while (true) {
    const HostedModel::Status status = model->status();
    if (status.state == HostedModel::State::kFailed) return status.error;
    pb::LoadModelProgress progress;
    Describe(*model, status.state == HostedModel::State::kReady, progress.mutable_model());
    if (!stream.Write(progress)) return absl::CancelledError("the caller has gone");
    if (status.state != HostedModel::State::kLoading) return absl::OkStatus();
    seen = host.WaitForChange(seen, kLoadReport);
  }
}

// The worker's own engine as a provider: what it serves are the models made from files.
void DescribeInline(const ModelHost& host, pb::Provider* to) {
  to->set_provider_id(std::string(kInlineProviderId));
  to->set_provider_type(std::string(kInlineProviderType));
  to->set_health(pb::Provider::HEALTH_OK);
  std::set<std::string> names;
  for (const auto& model : host.List()) {
    if (model->provider_id.empty()) names.insert(model->name);
  }
  to->mutable_models()->Assign(names.begin(), names.end());
}

void DescribeProvider(const backends::Provider& from, pb::Provider* to) {
  const backends::ProviderStatus status = from.status();
  to->set_provider_id(from.id());
  to->set_provider_type(std::string(from.type()));
  if (status.health) {
    to->set_health(status.health->ok() ? pb::Provider::HEALTH_OK : pb::Provider::HEALTH_ERROR);
    to->set_health_message(std::string(status.health->message()));
  }
  to->mutable_models()->Assign(status.models.begin(), status.models.end());
  to->set_open_ended(status.open_ended);
}

void WriteEntry(const backends::ModelLog::Entry& from, pb::LogEntry* to) {
  to->set_ts_unix_ms(from.unix_ms);
  to->set_level(std::string(backends::LevelName(from.level)));
  to->set_msg(from.message);
  for (const auto& [key, json] : from.fields) (*to->mutable_fields())[key] = json;
}

grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context, const absl::Status& status) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(mesh::ToGrpc(status, context));
  return reactor;
}

absl::Status Busy() {
  return base::WithRetryAfter(base::ResourceExhausted("other models are being loaded"),
                              std::chrono::seconds(5));
}

}  // namespace

ModelsService::ModelsService(ModelHost* host, WorkerIdentity identity)
    : host_(host),
      identity_(std::move(identity)),
      hub_([this](pb::WorkerState* state) { FillState(state); }),
      slow_(kSlowThreads, kSlowQueueMax) {}

ModelsService::~ModelsService() = default;

void ModelsService::SetState(bool serving, bool draining) {
  serving_ = serving;
  draining_ = draining;
}

void ModelsService::FillState(pb::WorkerState* state) const {
  state->set_worker_id(identity_.worker_id);
  state->set_epoch(identity_.epoch);
  state->set_serving(serving_);
  state->set_draining(draining_);
  const ModelHost::Memory memory = host_->memory();
  state->set_memory_budget_bytes(memory.budget);
  state->set_memory_used_bytes(memory.used);
  for (const auto& model : host_->List()) {
    Describe(*model, false, state->add_models());
    if (const auto backend = model->backend()) ToProto(backend->load(), state->mutable_load());
  }
}

grpc::ServerWriteReactor<pb::WorkerState>* ModelsService::Watch(
    grpc::CallbackServerContext* context, const pb::WatchRequest*) {
  return hub_.Watch(context);
}

grpc::ServerUnaryReactor* ModelsService::ListModels(grpc::CallbackServerContext* context,
                                                    const pb::ListModelsRequest* request,
                                                    pb::ListModelsReply* reply) {
  for (const auto& model : host_->List()) {
    Describe(*model, request->with_details(), reply->add_models());
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<pb::LoadModelProgress>* ModelsService::LoadModel(
    grpc::CallbackServerContext* context, const pb::LoadModelRequest* request) {
  LoadSpec spec;
  spec.name = request->name();
  spec.path = request->path();
  spec.backend = request->backend();
  spec.aliases.assign(request->aliases().begin(), request->aliases().end());
  spec.provider_id = request->provider_id();
  spec.provider_model_id = request->provider_model_id();
  spec.config_json = request->config_json();
  spec.registration = request->registration();
  auto stream = std::make_shared<LoadStream>();
  stream->Start();
  if (request->has_derived()) {
    absl::StatusOr<DerivedSpec> derived = FromProto(request->derived());
    if (!derived.ok()) {
      stream->Finish(mesh::ToGrpc(derived.status(), context));
      return stream.get();
    }
    spec.derived = *std::move(derived);
  }
  const bool posted = slow_.Post([this, stream, context, spec = std::move(spec)] {
    const absl::Status status = FollowLoad(*host_, spec, *stream);
    stream->Finish(mesh::ToGrpc(status, context));
  });
  if (!posted) stream->Finish(mesh::ToGrpc(Busy(), context));
  return stream.get();
}

grpc::ServerUnaryReactor* ModelsService::UnloadModel(grpc::CallbackServerContext* context,
                                                     const pb::UnloadModelRequest* request,
                                                     pb::UnloadModelReply*) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const bool posted = slow_.Post([this, context, reactor, name = request->name(),
                                  registered_only = request->registered_only()] {
    reactor->Finish(mesh::ToGrpc(host_->Unload(name, registered_only), context));
  });
  if (!posted) reactor->Finish(mesh::ToGrpc(Busy(), context));
  return reactor;
}

grpc::ServerUnaryReactor* ModelsService::KeepModel(grpc::CallbackServerContext* context,
                                                   const pb::KeepModelRequest* request,
                                                   pb::KeepModelReply* reply) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const std::string name = request->name();
  if (request->has_keep_alive_ms() && request->keep_alive_ms() == 0) {
    const bool posted = slow_.Post([this, context, reactor, name, reply] {
      const absl::StatusOr<bool> in_use = host_->LetGo(name, kLetGoWait);
      if (in_use.ok()) reply->set_in_use(*in_use);
      reactor->Finish(mesh::ToGrpc(Redescribe(in_use.status(), name, reply), context));
    });
    if (!posted) reactor->Finish(mesh::ToGrpc(Busy(), context));
    return reactor;
  }
  const UseOptions options = UseOptionsFor(
      request->has_load_wait_ms() ? std::optional(request->load_wait_ms()) : std::nullopt,
      request->has_keep_alive_ms() ? std::optional(request->keep_alive_ms()) : std::nullopt,
      *context);
  host_->Use(name, options,
             [this, context, reactor, name, reply](absl::StatusOr<ModelLease> lease) {
               const absl::Status status = lease.status();
               lease = absl::CancelledError();  // given back: who is answered may let the model go
               reactor->Finish(mesh::ToGrpc(Redescribe(status, name, reply), context));
             });
  return reactor;
}

absl::Status ModelsService::Redescribe(const absl::Status& status, const std::string& name,
                                       pb::KeepModelReply* reply) const {
  RETURN_IF_ERROR(status);
  ASSIGN_OR_RETURN(const std::shared_ptr<const HostedModel> model, host_->Find(name));
  Describe(*model, false, reply->mutable_model());
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* ModelsService::PlanModel(grpc::CallbackServerContext* context,
                                                   const pb::PlanModelRequest* request,
                                                   pb::PlanModelReply* reply) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const bool posted = slow_.Post([this, context, reactor, request, reply] {
    reply->set_worker_id(identity_.worker_id);
    reactor->Finish(mesh::ToGrpc(PlanFor(*host_, *request, reply->mutable_plan()), context));
  });
  if (!posted) reactor->Finish(mesh::ToGrpc(Busy(), context));
  return reactor;
}

grpc::ServerUnaryReactor* ModelsService::GetExperts(grpc::CallbackServerContext* context,
                                                    const pb::GetExpertsRequest* request,
                                                    pb::GetExpertsReply* reply) {
  const auto model = host_->Find(request->name());
  if (!model.ok()) return Answer(context, model.status());
  const auto backend = (*model)->backend();
  if (backend == nullptr) {
    return Answer(context, base::WithReason(base::FailedPrecondition("the model is not in memory"),
                                            "model_not_loaded"));
  }
  pb::ExpertPlacement* const placement = reply->add_placements();
  placement->set_worker_id(identity_.worker_id);
  ToProto(backend->experts(), placement);
  return Answer(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* ModelsService::ListProviders(grpc::CallbackServerContext* context,
                                                       const pb::ListProvidersRequest* request,
                                                       pb::ListProvidersReply* reply) {
  const std::string& wanted = request->provider_id();
  if (wanted.empty() || wanted == kInlineProviderId) {
    DescribeInline(*host_, reply->add_providers());
  }
  for (const auto& provider : host_->providers().all()) {
    if (wanted.empty() || wanted == provider->id()) {
      DescribeProvider(*provider, reply->add_providers());
    }
  }
  std::sort(reply->mutable_providers()->begin(), reply->mutable_providers()->end(),
            [](const auto& a, const auto& b) { return a.provider_id() < b.provider_id(); });
  return Answer(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* ModelsService::GetModelLogs(grpc::CallbackServerContext* context,
                                                      const pb::GetModelLogsRequest* request,
                                                      pb::GetModelLogsReply* reply) {
  if (request->limit() < 0) {
    return Answer(context, base::InvalidArgument("limit: must not be negative"));
  }
  const auto model = host_->Find(request->name());
  if (!model.ok()) return Answer(context, model.status());
  for (const auto& entry : (*model)->log->Newest(static_cast<size_t>(request->limit()))) {
    WriteEntry(entry, reply->add_entries());
  }
  return Answer(context, absl::OkStatus());
}

grpc::ServerUnaryReactor* ModelsService::ClearModelLogs(grpc::CallbackServerContext* context,
                                                        const pb::ClearModelLogsRequest* request,
                                                        pb::ClearModelLogsReply* reply) {
  const auto model = host_->Find(request->name());
  if (model.ok()) reply->set_cleared((*model)->log->Clear());
  return Answer(context, model.status());
}

}  // namespace conclave::worker
