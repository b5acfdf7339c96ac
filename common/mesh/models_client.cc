#include "mesh/models_client.h"

#include <grpcpp/support/client_callback.h>

#include "mesh/task_thread.h"
#include "mesh/unary_call.h"
#include "mesh/worker_link.h"

namespace conclave::mesh {
namespace {

namespace pb = conclave::v1;

absl::StatusOr<std::shared_ptr<WorkerLink>> Find(const Fleet& fleet,
                                                 const ModelsClient::Target& target) {
  for (const auto& worker : fleet.workers) {
    if (!target.worker_id.empty() && worker->worker_id != target.worker_id) continue;
    if (target.worker_id.empty() && !worker->usable()) continue;
    if (!target.model.empty() && worker->FindModel(target.model) == nullptr) continue;
    return worker->link;
  }
  if (!target.model.empty() && fleet.num_usable() > 0) {
    return base::WithReason(base::NotFound("the model " + target.model + " does not exist"),
                            "model_not_found");
  }
  return base::WithReason(base::Unavailable("no worker is available"), "no_worker");
}

// LoadModel: every progress is told as it comes, the last one again as the result.
class LoadStream final : public grpc::ClientReadReactor<pb::LoadModelProgress>,
                         public CallHandle,
                         public std::enable_shared_from_this<LoadStream> {
 public:
  using ProgressFn = absl::AnyInvocable<void(const pb::ModelStatus&)>;
  LoadStream(std::shared_ptr<WorkerLink> link, pb::LoadModelRequest request, ProgressFn progress,
             ReplyCallback<pb::ModelStatus> done)
      : link_(std::move(link)),
        request_(std::move(request)),
        progress_(std::move(progress)),
        done_(std::move(done)) {}

  void Start(base::SteadyTime deadline) {
    self_ = shared_from_this();
    context_.set_deadline(AsSystemTime(deadline));
    link_->worker().async()->LoadModel(&context_, &request_, this);
    StartRead(&message_);
    StartCall();
  }
  void Cancel() override { context_.TryCancel(); }

 private:
  void OnReadDone(bool ok) override {
    if (!ok) return;
    last_ = std::move(*message_.mutable_model());
    if (progress_) progress_(last_);
    StartRead(&message_);
  }
  void OnDone(const grpc::Status& status) override {
    const std::shared_ptr<LoadStream> self = std::move(self_);
    ReplyCallback<pb::ModelStatus> done = std::move(done_);
    if (!status.ok()) {
      done(FromGrpc(status, &context_));
    } else if (last_.name().empty()) {
      done(base::Internal("the worker ended the load without a state"));
    } else {
      done(std::move(last_));
    }
  }

  const std::shared_ptr<WorkerLink> link_;
  const pb::LoadModelRequest request_;
  ProgressFn progress_;
  ReplyCallback<pb::ModelStatus> done_;
  grpc::ClientContext context_;
  pb::LoadModelProgress message_;
  pb::ModelStatus last_;
  std::shared_ptr<LoadStream> self_;
};

// A call that failed before it began.
class NoCall final : public CallHandle {
 public:
  void Cancel() override {}
};

}  // namespace

struct ModelsClient::Impl {
  explicit Impl(Discovery* d) : discovery(d), tasks("mesh-models") {}

  template <typename Reply>
  std::shared_ptr<CallHandle> Refuse(absl::Status status, ReplyCallback<Reply> done) {
    tasks.Post([status = std::move(status), done = std::move(done)]() mutable { done(status); });
    return std::make_shared<NoCall>();
  }

  // `stub` gives the stub's half for callbacks.
  template <typename Request, typename Reply, typename Method, typename StubOf>
  std::shared_ptr<CallHandle> Unary(const Target& target, Request request,
                                    const CallOptions& options, StubOf stub, Method method,
                                    ReplyCallback<Reply> done) {
    absl::StatusOr<std::shared_ptr<WorkerLink>> link = Find(*discovery->fleet(), target);
    if (!link.ok()) return Refuse<Reply>(link.status(), std::move(done));
    return UnaryCall<Request, Reply>::Start(
        [&](grpc::ClientContext* context, const Request* req, Reply* reply,
            std::function<void(grpc::Status)> end) {
          // The link must outlive the call.
          (stub(**link)->*method)(
              context, req, reply,
              [keep = *link, end = std::move(end)](const grpc::Status& status) { end(status); });
        },
        std::move(request), options, std::move(done));
  }

  Discovery* const discovery;
  TaskThread tasks;
};

ModelsClient::ModelsClient(Discovery* discovery) : impl_(std::make_unique<Impl>(discovery)) {}
ModelsClient::~ModelsClient() = default;

// The unary calls differ in nothing but their names and services.
#define CONCLAVE_MODELS_CALL(Service, stub, Name)                                                  \
  std::shared_ptr<CallHandle> ModelsClient::Name(const Target& target, pb::Name##Request request,  \
                                                 const CallOptions& options,                       \
                                                 ReplyCallback<pb::Name##Reply> done) {            \
    using Method =                                                                                 \
        void (pb::Service::Stub::async::*)(grpc::ClientContext*, const pb::Name##Request*,         \
                                           pb::Name##Reply*, std::function<void(grpc::Status)>);   \
    return impl_->Unary<pb::Name##Request, pb::Name##Reply, Method>(                               \
        target, std::move(request), options, [](WorkerLink& link) { return link.stub().async(); }, \
        &pb::Service::Stub::async::Name, std::move(done));                                         \
  }
CONCLAVE_MODELS_CALL(Worker, worker, ListModels)
CONCLAVE_MODELS_CALL(Worker, worker, UnloadModel)
CONCLAVE_MODELS_CALL(Worker, worker, KeepModel)
CONCLAVE_MODELS_CALL(Worker, worker, PlanModel)
CONCLAVE_MODELS_CALL(Worker, worker, GetExperts)
CONCLAVE_MODELS_CALL(Slots, slots, CountSlots)
CONCLAVE_MODELS_CALL(Worker, worker, ListProviders)
CONCLAVE_MODELS_CALL(Worker, worker, GetModelLogs)
CONCLAVE_MODELS_CALL(Worker, worker, ClearModelLogs)
#undef CONCLAVE_MODELS_CALL

std::shared_ptr<CallHandle> ModelsClient::LoadModel(
    const Target& target, pb::LoadModelRequest request, const CallOptions& options,
    absl::AnyInvocable<void(const pb::ModelStatus&)> progress,
    ReplyCallback<pb::ModelStatus> done) {
  absl::StatusOr<std::shared_ptr<WorkerLink>> link = Find(*impl_->discovery->fleet(), target);
  if (!link.ok()) return impl_->Refuse<pb::ModelStatus>(link.status(), std::move(done));
  auto stream = std::make_shared<LoadStream>(*std::move(link), std::move(request),
                                             std::move(progress), std::move(done));
  stream->Start(options.deadline);
  return stream;
}

}  // namespace conclave::mesh
