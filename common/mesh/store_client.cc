#include "mesh/store_client.h"

#include <grpcpp/impl/channel_interface.h>
#include <grpcpp/support/client_callback.h>

#include <mutex>
#include <optional>

#include "conclave/v1/assistants.grpc.pb.h"
#include "conclave/v1/registrations.grpc.pb.h"
#include "conclave/v1/runs.grpc.pb.h"
#include "conclave/v1/threads.grpc.pb.h"
#include "mesh/unary_call.h"

namespace conclave::mesh {

namespace pb = conclave::v1;

struct StoreClient::Impl {
  explicit Impl(std::shared_ptr<grpc::ChannelInterface> c)
      : channel(std::move(c)),
        assistants(pb::Assistants::NewStub(channel)),
        threads(pb::Threads::NewStub(channel)),
        runs(pb::Runs::NewStub(channel)),
        registry(pb::ModelRegistry::NewStub(channel)) {}

  // Which stub an RPC belongs to.
  auto* AsyncOf(pb::Assistants*) { return assistants->async(); }
  auto* AsyncOf(pb::Threads*) { return threads->async(); }
  auto* AsyncOf(pb::Runs*) { return runs->async(); }
  auto* AsyncOf(pb::ModelRegistry*) { return registry->async(); }

  const std::shared_ptr<grpc::ChannelInterface> channel;
  const std::unique_ptr<pb::Assistants::Stub> assistants;
  const std::unique_ptr<pb::Threads::Stub> threads;
  const std::unique_ptr<pb::Runs::Stub> runs;
  const std::unique_ptr<pb::ModelRegistry::Stub> registry;
};

namespace {

// One StreamRun. The hold and the locking are those of generate_session.h, with a single attempt.
class RunStreamCall final : public grpc::ClientReadReactor<pb::RunEvent>,
                            public RunStream,
                            public std::enable_shared_from_this<RunStreamCall> {
 public:
  RunStreamCall(pb::StreamRunRequest request, std::shared_ptr<RunObserver> observer)
      : request_(std::move(request)), observer_(std::move(observer)) {}

  void Start(pb::Runs::Stub* stub, base::SteadyTime deadline, std::shared_ptr<void> keep) {
    self_ = shared_from_this();
    keep_ = std::move(keep);
    context_.set_deadline(AsSystemTime(deadline));
    stub->async()->StreamRun(&context_, &request_, this);
    AddHold();
    StartCall();
  }

  void ReadNext() override {
    bool read = false;
    {
      const std::lock_guard lock(mutex_);
      if (wants_) return;
      wants_ = true;
      if (!delivering_) read = AskForRead();
    }
    if (read) StartRead(&event_);
  }

  void Cancel() override {
    bool release = false;
    {
      const std::lock_guard lock(mutex_);
      cancelled_ = true;
      if (!reading_) release = !std::exchange(released_, true);
    }
    context_.TryCancel();
    if (release) RemoveHold();
  }

 private:
  bool AskForRead() {  // with the lock
    if (!wants_ || reading_ || released_) return false;
    reading_ = true;
    return true;
  }

  void OnReadDone(bool ok) override {
    {
      std::unique_lock lock(mutex_);
      reading_ = false;
      if (!ok || cancelled_) {
        const bool release = !std::exchange(released_, true);
        lock.unlock();
        if (release) RemoveHold();
        return;
      }
      wants_ = false;
      delivering_ = true;
    }
    observer_->OnEvent(event_);
    bool read = false;
    std::optional<absl::Status> done;
    {
      const std::lock_guard lock(mutex_);
      delivering_ = false;
      done = std::move(pending_done_);
      if (!done) read = AskForRead();
    }
    if (read) StartRead(&event_);
    if (done) Tell(*done);
  }

  void OnDone(const grpc::Status& status) override {
    const std::shared_ptr<RunStreamCall> self = std::move(self_);
    const absl::Status end =
        cancelled_ ? absl::CancelledError("cancelled") : FromGrpc(status, &context_);
    {
      const std::lock_guard lock(mutex_);
      released_ = true;
      if (delivering_) {
        pending_done_ = end;
        late_self_ = self;
        return;
      }
    }
    Tell(end);
  }

  void Tell(const absl::Status& status) {
    const std::shared_ptr<RunStreamCall> late = std::move(late_self_);
    const std::shared_ptr<RunObserver> observer = std::move(observer_);
    observer->OnDone(status);
  }

  const pb::StreamRunRequest request_;
  std::shared_ptr<RunObserver> observer_;
  std::shared_ptr<void> keep_;  // the stubs
  grpc::ClientContext context_;
  pb::RunEvent event_;
  std::mutex mutex_;
  bool wants_ = false;
  bool reading_ = false;
  bool delivering_ = false;
  bool released_ = false;
  bool cancelled_ = false;
  std::optional<absl::Status> pending_done_;
  std::shared_ptr<RunStreamCall> self_;       // from Start to OnDone
  std::shared_ptr<RunStreamCall> late_self_;  // from an OnDone during OnEvent to its end
};

}  // namespace

absl::StatusOr<std::unique_ptr<StoreClient>> StoreClient::Open(const std::string& address,
                                                               const ClientTls& tls) {
  ASSIGN_OR_RETURN(std::shared_ptr<grpc::ChannelInterface> channel, OpenChannel(address, tls));
  return std::unique_ptr<StoreClient>(new StoreClient(std::make_shared<Impl>(std::move(channel))));
}

StoreClient::StoreClient(std::shared_ptr<Impl> impl) : impl_(std::move(impl)) {}
StoreClient::~StoreClient() = default;

// The callback keeps the stubs, so that a call outlives its client.
#define CONCLAVE_STORE_CALL(Service, Name, Request, Reply)                                       \
  std::shared_ptr<CallHandle> StoreClient::Name(pb::Request request, const CallOptions& options, \
                                                ReplyCallback<pb::Reply> done) {                 \
    return UnaryCall<pb::Request, pb::Reply>::Start(                                             \
        [&](grpc::ClientContext* context, const pb::Request* req, pb::Reply* reply,              \
            std::function<void(grpc::Status)> end) {                                             \
          impl_->AsyncOf(static_cast<pb::Service*>(nullptr))                                     \
              ->Name(context, req, reply, [keep = impl_, end](grpc::Status s) { end(s); });      \
        },                                                                                       \
        std::move(request), options, std::move(done));                                           \
  }

CONCLAVE_STORE_CALL(Assistants, CreateAssistant, CreateAssistantRequest, Assistant)
CONCLAVE_STORE_CALL(Assistants, GetAssistant, GetAssistantRequest, Assistant)
CONCLAVE_STORE_CALL(Assistants, ListAssistants, ListAssistantsRequest, ListAssistantsReply)
CONCLAVE_STORE_CALL(Assistants, ModifyAssistant, ModifyAssistantRequest, Assistant)
CONCLAVE_STORE_CALL(Assistants, DeleteAssistant, DeleteAssistantRequest, DeleteReply)

CONCLAVE_STORE_CALL(Threads, CreateThread, CreateThreadRequest, Thread)
CONCLAVE_STORE_CALL(Threads, GetThread, GetThreadRequest, Thread)
CONCLAVE_STORE_CALL(Threads, ListThreads, ListThreadsRequest, ListThreadsReply)
CONCLAVE_STORE_CALL(Threads, ModifyThread, ModifyThreadRequest, Thread)
CONCLAVE_STORE_CALL(Threads, DeleteThread, DeleteThreadRequest, DeleteReply)
CONCLAVE_STORE_CALL(Threads, CreateMessage, CreateMessageRequest, Message)
CONCLAVE_STORE_CALL(Threads, GetMessage, GetMessageRequest, Message)
CONCLAVE_STORE_CALL(Threads, ListMessages, ListMessagesRequest, ListMessagesReply)
CONCLAVE_STORE_CALL(Threads, ModifyMessage, ModifyMessageRequest, Message)
CONCLAVE_STORE_CALL(Threads, DeleteMessage, DeleteMessageRequest, DeleteReply)

CONCLAVE_STORE_CALL(Runs, CreateRun, CreateRunRequest, Run)
CONCLAVE_STORE_CALL(Runs, CreateThreadAndRun, CreateThreadAndRunRequest, Run)
CONCLAVE_STORE_CALL(Runs, GetRun, GetRunRequest, Run)
CONCLAVE_STORE_CALL(Runs, ListRuns, ListRunsRequest, ListRunsReply)
CONCLAVE_STORE_CALL(Runs, ModifyRun, ModifyRunRequest, Run)
CONCLAVE_STORE_CALL(Runs, CancelRun, CancelRunRequest, Run)
CONCLAVE_STORE_CALL(Runs, SubmitToolOutputs, SubmitToolOutputsRequest, Run)
CONCLAVE_STORE_CALL(Runs, ListRunSteps, ListRunStepsRequest, ListRunStepsReply)
CONCLAVE_STORE_CALL(Runs, GetRunStep, GetRunStepRequest, RunStep)

CONCLAVE_STORE_CALL(ModelRegistry, RegisterModel, RegisterModelRequest, ModelRegistration)
CONCLAVE_STORE_CALL(ModelRegistry, GetRegistration, GetRegistrationRequest, ModelRegistration)
CONCLAVE_STORE_CALL(ModelRegistry, ListRegistrations, ListRegistrationsRequest,
                    ListRegistrationsReply)
CONCLAVE_STORE_CALL(ModelRegistry, UnregisterModel, UnregisterModelRequest, DeleteReply)
#undef CONCLAVE_STORE_CALL

std::shared_ptr<RunStream> StoreClient::StreamRun(pb::StreamRunRequest request,
                                                  const CallOptions& options,
                                                  std::shared_ptr<RunObserver> observer) {
  auto call = std::make_shared<RunStreamCall>(std::move(request), std::move(observer));
  call->Start(impl_->runs.get(), options.deadline, impl_);
  return call;
}

bool StoreClient::Connected() {
  return impl_->channel->GetState(/*try_to_connect=*/true) == GRPC_CHANNEL_READY;
}

}  // namespace conclave::mesh
