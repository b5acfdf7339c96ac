#include "support/fake_worker.h"

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <thread>

#include "conclave/v1/embedding.grpc.pb.h"
#include "conclave/v1/inference.grpc.pb.h"
#include "conclave/v1/models.grpc.pb.h"
#include "mesh/grpc_status.h"
#include "mesh/server.h"

namespace conclave::support {
namespace {

namespace pb = conclave::v1;

// State shared by the services of one fake worker.
struct Shared {
  FakeWorker* worker = nullptr;
  base::Gate* gate = nullptr;
  std::string worker_id;
  uint64_t epoch = 0;
  std::mutex mutex;
  Script script;
  bool draining = false;
  bool mute = false;
  int embed_missing = 0;
  int model_state = pb::ModelStatus::STATE_READY;
  std::string revision = "r1";
};

class GenerateReactor final : public grpc::ServerWriteReactor<pb::GenerateEvent> {
 public:
  GenerateReactor(Shared* shared, grpc::CallbackServerContext* context,
                  const pb::GenerateRequest* request)
      : shared_(shared), pass_(shared->gate->Enter()) {
    ++shared_->worker->generates;
    ++shared_->worker->active;
    {
      const std::lock_guard lock(shared_->mutex);
      script_ = shared_->script;
      event_.mutable_accepted()->set_model_revision(shared_->revision);
    }
    if (!pass_ || !script_.refusal.ok()) {
      Finish(mesh::ToGrpc(pass_ ? script_.refusal : mesh::DrainingError(), context));
      return;
    }
    seed_ = request->has_resume()            ? request->resume().seed()
            : request->sampling().has_seed() ? request->sampling().seed()
                                             : 1;
    const pb::ResumeState& resume = request->resume();
    next_ = resume.next_seq();
    for (int i = 0; i < std::max(request->n(), 1); ++i) {
      const bool several = i < resume.answers_size();
      if (several && resume.answers(i).finished()) continue;
      left_.push_back({i, several ? resume.answers(i).emitted_token_ids_size() : next_});
    }
    turn_ = std::hash<std::string>()(shared_->worker_id) % left_.size();
    pb::Accepted& accepted = *event_.mutable_accepted();
    accepted.set_worker_id(shared_->worker_id);
    accepted.set_epoch(shared_->epoch);
    accepted.set_seed(seed_);
    StartWrite(&event_);
  }

 private:
  void OnWriteDone(bool ok) override {
    if (!ok) return End(grpc::Status::CANCELLED);
    if (event_.has_delta()) ++shared_->worker->writes;
    if (event_.has_failed()) return End(grpc::Status::OK);
    Next();
  }
  void OnCancel() override {
    ++shared_->worker->cancels;
    End(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    --shared_->worker->active;
    delete this;
  }

  void Next() {
    event_.Clear();
    if (left_.empty()) return End(grpc::Status::OK);
    if (next_ == script_.silent_at) return;
    if (next_ == script_.die_at) {
      return End(grpc::Status(grpc::StatusCode::UNAVAILABLE, "scripted death"));
    }
    if (next_ == script_.fail_at) {
      *event_.mutable_failed()->mutable_error() = mesh::ToDetail(script_.failure);
    } else {
      Say();
    }
    StartWrite(&event_);
  }
  // The answers take turns; who begins is the worker's own affair.
  void Say() {
    const auto answer = left_.begin() + static_cast<ptrdiff_t>(turn_++ % left_.size());
    if (answer->position >= script_.tokens) {
      event_.mutable_finished()->set_index(answer->index);
      event_.mutable_finished()->set_reason(pb::Finished::REASON_STOP);
      left_.erase(answer);
      return;
    }
    pb::Delta& delta = *event_.mutable_delta();
    delta.set_index(answer->index);
    delta.set_seq(next_++);
    const int32_t token = FakeWorker::Token(seed_, answer->position++, answer->index);
    delta.add_token_ids(token);
    delta.set_text(" t" + std::to_string(token));
  }
  void End(const grpc::Status& status) {
    if (!ended_.exchange(true)) Finish(status);
  }

  struct Answer {
    int index = 0;
    int64_t position = 0;
  };

  Shared* const shared_;
  const std::optional<base::Gate::Pass> pass_;
  Script script_;
  uint64_t seed_ = 0;
  int64_t next_ = 0;
  std::vector<Answer> left_;  // that have not finished
  size_t turn_ = 0;
  pb::GenerateEvent event_;
  std::atomic<bool> ended_{false};
};

class InferenceService final : public pb::Inference::CallbackService {
 public:
  explicit InferenceService(Shared* shared) : shared_(shared) {}
  grpc::ServerWriteReactor<pb::GenerateEvent>* Generate(grpc::CallbackServerContext* context,
                                                        const pb::GenerateRequest* r) override {
    return new GenerateReactor(shared_, context, r);
  }
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const pb::TokenizeRequest* request,
                                     pb::TokenizeReply* reply) override {
    for (const char c : request->text()) reply->add_token_ids(c);
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const std::lock_guard lock(shared_->mutex);
    reactor->Finish(mesh::ToGrpc(shared_->script.refusal, context));
    return reactor;
  }

 private:
  Shared* const shared_;
};

// Two vectors per message, each holding the input's index.
class EmbedReactor final : public grpc::ServerWriteReactor<pb::EmbedBatch> {
 public:
  EmbedReactor(Shared* shared, grpc::CallbackServerContext* context, const pb::EmbedRequest* r)
      : shared_(shared) {
    const std::lock_guard lock(shared_->mutex);
    total_ = r->inputs_size() - shared_->embed_missing;
    if (!shared_->script.refusal.ok()) {
      Finish(mesh::ToGrpc(shared_->script.refusal, context));
    } else {
      Next();
    }
  }

 private:
  void OnWriteDone(bool ok) override {
    if (ok) return Next();
    Finish(grpc::Status::CANCELLED);
  }
  void OnDone() override { delete this; }
  void Next() {
    if (sent_ >= total_) return Finish(grpc::Status::OK);
    batch_.Clear();
    batch_.set_first_index(sent_);
    for (int i = 0; i < 2 && sent_ < total_; ++i, ++sent_) {
      batch_.add_vectors()->add_values(static_cast<float>(sent_));
    }
    if (sent_ == total_) batch_.mutable_usage()->set_prompt_tokens(total_);
    StartWrite(&batch_);
  }

  Shared* const shared_;
  int total_ = 0;
  int sent_ = 0;
  pb::EmbedBatch batch_;
};

class EmbeddingService final : public pb::Embedding::CallbackService {
 public:
  explicit EmbeddingService(Shared* shared) : shared_(shared) {}
  grpc::ServerWriteReactor<pb::EmbedBatch>* Embed(grpc::CallbackServerContext* context,
                                                  const pb::EmbedRequest* r) override {
    return new EmbedReactor(shared_, context, r);
  }

 private:
  Shared* const shared_;
};

class WatchReactor;

// Tells its state to every watcher each 50 ms, from one thread.
class WorkerService final : public pb::Worker::CallbackService {
 public:
  explicit WorkerService(Shared* shared) : shared_(shared), teller_([this] { Tell(); }) {}
  ~WorkerService() override { StopTelling(); }

  // Ends the streams, so that the server can stop.
  void StopTelling();

  grpc::ServerWriteReactor<pb::WorkerState>* Watch(grpc::CallbackServerContext*,
                                                   const pb::WatchRequest*) override;
  grpc::ServerWriteReactor<pb::LoadModelProgress>* LoadModel(
      grpc::CallbackServerContext*, const pb::LoadModelRequest* request) override;
  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const pb::ListModelsRequest*,
                                       pb::ListModelsReply* reply) override {
    const pb::WorkerState state = State();
    *reply->mutable_models() = state.models();
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
  void Forget(WatchReactor* reactor);

 private:
  pb::WorkerState State() const;
  void Tell();

  Shared* const shared_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::set<WatchReactor*> watchers_;
  bool stopping_ = false;
  std::thread teller_;
};

class WatchReactor final : public grpc::ServerWriteReactor<pb::WorkerState> {
 public:
  explicit WatchReactor(WorkerService* service) : service_(service) {}

  void Send(const pb::WorkerState& state) {
    {
      const std::lock_guard lock(mutex_);
      if (writing_ || finished_) return;
      writing_ = true;
      state_ = state;
    }
    StartWrite(&state_);
  }
  void End() {
    {
      const std::lock_guard lock(mutex_);
      if (std::exchange(finished_, true)) return;
    }
    Finish(grpc::Status::OK);
  }

 private:
  void OnWriteDone(bool ok) override {
    {
      const std::lock_guard lock(mutex_);
      writing_ = false;
    }
    if (!ok) End();
  }
  void OnCancel() override { End(); }
  void OnDone() override {
    service_->Forget(this);
    delete this;
  }

  WorkerService* const service_;
  std::mutex mutex_;
  bool writing_ = false;
  bool finished_ = false;
  pb::WorkerState state_;
};

grpc::ServerWriteReactor<pb::WorkerState>* WorkerService::Watch(grpc::CallbackServerContext*,
                                                                const pb::WatchRequest*) {
  auto* reactor = new WatchReactor(this);
  reactor->Send(State());
  const std::lock_guard lock(mutex_);
  watchers_.insert(reactor);
  if (stopping_) reactor->End();
  return reactor;
}

grpc::ServerWriteReactor<pb::LoadModelProgress>* WorkerService::LoadModel(
    grpc::CallbackServerContext*, const pb::LoadModelRequest* request) {
  // LOADING, then READY, then the end.
  class Reactor final : public grpc::ServerWriteReactor<pb::LoadModelProgress> {
   public:
    explicit Reactor(const std::string& name) {
      progress_.mutable_model()->set_name(name);
      progress_.mutable_model()->set_state(pb::ModelStatus::STATE_LOADING);
      StartWrite(&progress_);
    }
    void OnWriteDone(bool ok) override {
      if (!ok || progress_.model().state() == pb::ModelStatus::STATE_READY) {
        return Finish(grpc::Status::OK);
      }
      progress_.mutable_model()->set_state(pb::ModelStatus::STATE_READY);
      StartWrite(&progress_);
    }
    void OnDone() override { delete this; }

   private:
    pb::LoadModelProgress progress_;
  };
  return new Reactor(request->name());
}

void WorkerService::Forget(WatchReactor* reactor) {
  const std::lock_guard lock(mutex_);
  watchers_.erase(reactor);
}

pb::WorkerState WorkerService::State() const {
  const std::lock_guard lock(shared_->mutex);
  pb::WorkerState state;
  state.set_worker_id(shared_->worker_id);
  state.set_epoch(shared_->epoch);
  state.set_serving(!shared_->draining);
  state.set_draining(shared_->draining);
  pb::ModelStatus& model = *state.add_models();
  model.set_name("fake");
  model.set_revision(shared_->revision);
  model.set_state(static_cast<pb::ModelStatus::State>(shared_->model_state));
  state.mutable_load()->set_slots(8);
  return state;
}

void WorkerService::Tell() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    bool mute = false;
    {
      const std::lock_guard shared_lock(shared_->mutex);
      mute = shared_->mute;
    }
    if (!mute) {
      const pb::WorkerState state = State();
      for (WatchReactor* watcher : watchers_) watcher->Send(state);
    }
    wake_.wait_for(lock, std::chrono::milliseconds(50));
  }
}

void WorkerService::StopTelling() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (WatchReactor* watcher : watchers_) watcher->End();
  }
  wake_.notify_all();
  if (teller_.joinable()) teller_.join();
}

}  // namespace

struct FakeWorker::Impl {
  explicit Impl(const std::string& listen)
      : server({.listen = listen}), inference(&shared), embedding(&shared), worker(&shared) {}
  Shared shared;
  mesh::Server server;
  InferenceService inference;
  EmbeddingService embedding;
  WorkerService worker;
};

FakeWorker::FakeWorker(std::string worker_id, int port, const std::string& host)
    : impl_(std::make_unique<Impl>(host + ":" + std::to_string(port))) {
  impl_->shared.worker = this;
  impl_->shared.gate = &impl_->server.gate();
  impl_->shared.worker_id = std::move(worker_id);
  impl_->shared.epoch = std::random_device()();
  impl_->server.AddService(&impl_->inference);
  impl_->server.AddService(&impl_->embedding);
  impl_->server.AddService(&impl_->worker);
  const absl::Status status = impl_->server.Start();
  if (!status.ok()) throw std::runtime_error(std::string(status.message()));
  impl_->server.SetReady(true);
}

FakeWorker::~FakeWorker() {
  impl_->worker.StopTelling();
  impl_->server.Stop();
}

int FakeWorker::port() const { return impl_->server.port(); }
std::string FakeWorker::address() const { return "127.0.0.1:" + std::to_string(port()); }

void FakeWorker::SetScript(const Script& script) {
  const std::lock_guard lock(impl_->shared.mutex);
  impl_->shared.script = script;
}
void FakeWorker::SetDraining(bool draining) {
  const std::lock_guard lock(impl_->shared.mutex);
  impl_->shared.draining = draining;
}
void FakeWorker::SetModelState(int state) {
  const std::lock_guard lock(impl_->shared.mutex);
  impl_->shared.model_state = state;
}
void FakeWorker::SetRevision(const std::string& revision) {
  const std::lock_guard lock(impl_->shared.mutex);
  impl_->shared.revision = revision;
}
void FakeWorker::MuteWatch(bool mute) {
  const std::lock_guard lock(impl_->shared.mutex);
  impl_->shared.mute = mute;
}
void FakeWorker::SetEmbedMissing(int count) {
  const std::lock_guard lock(impl_->shared.mutex);
  impl_->shared.embed_missing = count;
}

int32_t FakeWorker::Token(uint64_t seed, int64_t position, int index) {
  const uint64_t own = seed + static_cast<uint64_t>(index) * 1'000'003;
  const uint64_t mixed = (own + 1) * 0x9E3779B97F4A7C15ull + static_cast<uint64_t>(position) * 31;
  return static_cast<int32_t>((mixed >> 16) % 30'000);
}

bool FakeWorker::Drain(std::chrono::milliseconds timeout) {
  SetDraining(true);
  return impl_->server.Drain(std::chrono::steady_clock::now() + timeout);
}

}  // namespace conclave::support
