#include "worker/models_service.h"

#include <condition_variable>

#include "base/status.h"
#include "mesh/grpc_status.h"
#include "worker/convert.h"

namespace conclave::worker {
namespace {

namespace pb = conclave::v1;
using std::chrono::milliseconds;

constexpr int kSlowThreads = 4;
constexpr size_t kSlowQueueMax = 16;
constexpr milliseconds kLoadReport{500};

pb::ModelStatus::State StateOf(HostedModel::State state) {
  switch (state) {
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
  const auto backend = model.backend();
  if (backend == nullptr) return;
  const backends::ModelDetails& details = backend->details();
  to->set_context_length(details.context_length);
  for (const std::string& capability : details.capabilities) to->add_capabilities(capability);
  ToProto(details, with_details, to->mutable_details());
  to->mutable_details()->set_digest(status.digest);
  to->mutable_details()->set_backend(model.backend_kind);
}

// One LoadModel call. The thread that waits for the model writes; it blocks until each write is out
// or the caller has gone.
class LoadStream final : public grpc::ServerWriteReactor<pb::LoadModelProgress>,
                         public std::enable_shared_from_this<LoadStream> {
 public:
  void Start() { self_ = shared_from_this(); }

  // False once the caller has gone.
  bool Write(const pb::LoadModelProgress& progress) {
    std::unique_lock lock(mutex_);
    if (cancelled_) return false;
    current_ = progress;
    writing_ = true;
    lock.unlock();  // OnWriteDone may come on this very thread
    StartWrite(&current_);
    lock.lock();
    return written_.wait_for(lock, std::chrono::seconds(60), [&] { return !writing_; }) &&
           !cancelled_;
  }

 private:
  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok) cancelled_ = true;
    written_.notify_all();
  }
  void OnCancel() override {
    const std::lock_guard lock(mutex_);
    cancelled_ = true;
  }
  void OnDone() override { const std::shared_ptr<LoadStream> self = std::move(self_); }

  std::shared_ptr<LoadStream> self_;
  std::mutex mutex_;
  std::condition_variable written_;
  pb::LoadModelProgress current_;
  bool writing_ = false;
  bool cancelled_ = false;
};

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
  auto stream = std::make_shared<LoadStream>();
  stream->Start();
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
  const bool posted = slow_.Post([this, context, reactor, name = request->name()] {
    reactor->Finish(mesh::ToGrpc(host_->Unload(name), context));
  });
  if (!posted) reactor->Finish(mesh::ToGrpc(Busy(), context));
  return reactor;
}

}  // namespace conclave::worker
