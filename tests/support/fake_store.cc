#include "support/fake_store.h"

#include <grpcpp/grpcpp.h>

#include <stdexcept>

#include "conclave/v1/assistants.grpc.pb.h"
#include "conclave/v1/runs.grpc.pb.h"
#include "conclave/v1/threads.grpc.pb.h"
#include "mesh/grpc_status.h"

namespace conclave::support {
namespace {

namespace pb = conclave::v1;

class AssistantsService final : public pb::Assistants::CallbackService {
 public:
  explicit AssistantsService(std::atomic<int>* calls) : calls_(calls) {}
  grpc::ServerUnaryReactor* GetAssistant(grpc::CallbackServerContext* context,
                                         const pb::GetAssistantRequest* request,
                                         pb::Assistant* reply) override {
    ++*calls_;
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reply->set_id(request->id());
    const absl::Status status =
        request->id() == "asst_1"
            ? absl::OkStatus()
            : base::WithReason(base::NotFound("no assistant " + request->id()),
                               "no_such_assistant");
    reactor->Finish(mesh::ToGrpc(status, context));
    return reactor;
  }

 private:
  std::atomic<int>* const calls_;
};

class ThreadsService final : public pb::Threads::CallbackService {
 public:
  grpc::ServerUnaryReactor* CreateThread(grpc::CallbackServerContext* context,
                                         const pb::CreateThreadRequest* request,
                                         pb::Thread* reply) override {
    *reply = request->thread();
    reply->set_id("thread_1");
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

class RunReactor final : public grpc::ServerWriteReactor<pb::RunEvent> {
 public:
  RunReactor(std::atomic<int>* streams, int64_t next, int events)
      : streams_(streams), next_(next), last_(events) {
    ++*streams_;
    Next();
  }

 private:
  void OnWriteDone(bool ok) override {
    if (ok) return Next();
    Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    --*streams_;
    delete this;
  }
  void Next() {
    if (next_ > last_) return Finish(grpc::Status::OK);
    event_.set_seq(next_++);
    event_.set_event("thread.message.delta");
    StartWrite(&event_);
  }

  std::atomic<int>* const streams_;
  int64_t next_;
  const int64_t last_;
  pb::RunEvent event_;
};

class RunsService final : public pb::Runs::CallbackService {
 public:
  RunsService(std::atomic<int>* streams, int events) : streams_(streams), events_(events) {}
  grpc::ServerUnaryReactor* CreateRun(grpc::CallbackServerContext* context,
                                      const pb::CreateRunRequest* request,
                                      pb::Run* reply) override {
    reply->set_id("run_1");
    reply->set_thread_id(request->thread_id());
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  grpc::ServerWriteReactor<pb::RunEvent>* StreamRun(grpc::CallbackServerContext*,
                                                    const pb::StreamRunRequest* r) override {
    return new RunReactor(streams_, r->after_seq() + 1, events_);
  }

 private:
  std::atomic<int>* const streams_;
  const int events_;
};

}  // namespace

struct FakeStore::Impl {
  Impl(FakeStore* store, int events, mesh::ServerOptions options)
      : assistants(&store->assistants), runs(&store->streams, events), server(std::move(options)) {}
  AssistantsService assistants;
  ThreadsService threads;
  RunsService runs;
  mesh::Server server;
};

FakeStore::FakeStore(int events, mesh::ServerOptions options)
    : impl_(std::make_unique<Impl>(this, events, std::move(options))) {
  impl_->server.AddService(&impl_->assistants);
  impl_->server.AddService(&impl_->threads);
  impl_->server.AddService(&impl_->runs);
  const absl::Status status = impl_->server.Start();
  if (!status.ok()) throw std::runtime_error(std::string(status.message()));
  impl_->server.SetReady(true);
}

void FakeStore::SetReady(bool ready) { impl_->server.SetReady(ready); }

FakeStore::~FakeStore() { impl_->server.Stop(); }

std::string FakeStore::address() const {
  return "127.0.0.1:" + std::to_string(impl_->server.port());
}

}  // namespace conclave::support
