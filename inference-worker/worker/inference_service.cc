#include "worker/inference_service.h"

#include <condition_variable>

#include "base/status.h"
#include "mesh/grpc_status.h"
#include "mesh/server.h"
#include "worker/convert.h"
#include "worker/predict_call.h"
#include "worker/use_options.h"

namespace conclave::worker {
namespace {

namespace pb = conclave::v1;

constexpr int kPrepareThreads = 2;
constexpr size_t kPrepareQueueMax = 4'096;
constexpr std::chrono::milliseconds kBeatPeriod{200};

absl::Status Busy() {
  return base::WithRetryAfter(base::ResourceExhausted("too many requests are being prepared"),
                              std::chrono::seconds(1));
}

absl::Status DoTokenize(const pb::TokenizeRequest& request, const backends::Backend& backend,
                        pb::TokenizeReply* reply) {
  std::variant<backends::ChatPrompt, backends::TextPrompt> input;
  if (request.has_chat()) {
    pb::ChatPrompt copy = request.chat();
    ASSIGN_OR_RETURN(backends::ChatPrompt chat, FromProto(std::move(copy)));
    input = std::move(chat);
  } else {
    input = backends::TextPrompt{request.text()};
  }
  ASSIGN_OR_RETURN(backends::Tokenized tokenized,
                   backend.Tokenize(input, {.add_special = request.add_special(),
                                            .parse_special = request.parse_special()}));
  reply->mutable_token_ids()->Add(tokenized.ids.begin(), tokenized.ids.end());
  for (std::string& piece : tokenized.pieces) reply->add_pieces(std::move(piece));
  reply->set_prompt(std::move(tokenized.prompt));
  reply->set_context_length(backend.details().context_length);
  return absl::OkStatus();
}

absl::Status DoDetokenize(const pb::DetokenizeRequest& request, const backends::Backend& backend,
                          pb::DetokenizeReply* reply) {
  const std::vector<backends::TokenId> ids(request.token_ids().begin(), request.token_ids().end());
  ASSIGN_OR_RETURN(std::string text, backend.Detokenize(ids));
  reply->set_text(std::move(text));
  return absl::OkStatus();
}

// A call that needs a model in memory and a thread of the pool, and nothing of the model after
// that. gRPC holds one reference to OnDone, the host or the pool another until it has answered.
class ModelCall final : public grpc::ServerUnaryReactor,
                        public std::enable_shared_from_this<ModelCall> {
 public:
  using Work = std::function<absl::Status(backends::Backend&)>;
  ModelCall(ModelHost* host, base::TaskPool* pool, grpc::CallbackServerContext* context,
            std::optional<base::Gate::Pass> pass, Work work)
      : host_(host),
        pool_(pool),
        context_(context),
        pass_(std::move(pass)),
        work_(std::move(work)) {}

  // Keeps itself alive until OnDone.
  void Start() { self_ = shared_from_this(); }

  void Run(const pb::RequestMeta& meta, const std::string& model) {
    const uint64_t use = host_->Use(model, UseOptionsOf(meta, *context_),
                                    [self = shared_from_this()](absl::StatusOr<ModelLease> lease) {
                                      self->Take(std::move(lease));
                                    });
    bool cancelled = false;
    {
      const std::lock_guard lock(mutex_);
      use_ = use;
      cancelled = cancelled_;
    }
    if (cancelled) host_->CancelUse(use);
  }
  void Refuse(const absl::Status& status) { Finish(mesh::ToGrpc(status, context_)); }

 private:
  // On a thread that must not block.
  void Take(absl::StatusOr<ModelLease> got) {
    if (!got.ok()) return Refuse(got.status());
    const auto lease = std::make_shared<ModelLease>(*std::move(got));
    const bool posted = pool_->Post(
        [self = shared_from_this(), lease] { self->Refuse(self->work_(lease->backend())); });
    if (!posted) Refuse(Busy());
  }
  void OnCancel() override {
    uint64_t use = 0;
    {
      const std::lock_guard lock(mutex_);
      cancelled_ = true;
      use = use_;
    }
    if (use != 0) host_->CancelUse(use);  // it ends the call, unless the model is there by now
  }
  void OnDone() override {
    pass_.reset();
    const std::shared_ptr<ModelCall> self = std::move(self_);
  }

  ModelHost* const host_;
  base::TaskPool* const pool_;
  grpc::CallbackServerContext* const context_;
  std::optional<base::Gate::Pass> pass_;
  const Work work_;
  std::shared_ptr<ModelCall> self_;
  std::mutex mutex_;
  uint64_t use_ = 0;  // of the host, while waiting for the model
  bool cancelled_ = false;
};

}  // namespace

InferenceService::InferenceService(ModelHost* host, WorkerMetrics* metrics, base::Gate* gate,
                                   WorkerIdentity identity, const StreamOptions& options)
    : host_(host), gate_(gate), pool_(kPrepareThreads, kPrepareQueueMax) {
  shared_.host = host;
  shared_.metrics = metrics;
  shared_.pool = &pool_;
  shared_.writer = &writer_;
  shared_.identity = std::move(identity);
  shared_.options = options;
  beater_ = std::jthread([this](const std::stop_token& stop) { BeatLoop(stop); });
}

InferenceService::~InferenceService() = default;

grpc::ServerWriteReactor<pb::GenerateEvent>* InferenceService::Generate(
    grpc::CallbackServerContext* context, const pb::GenerateRequest* request) {
  std::optional<base::Gate::Pass> pass = gate_->Enter();
  const bool open = pass.has_value();
  auto stream = std::make_shared<GenerateStream>(&shared_, context, request, std::move(pass));
  stream->Start();
  if (!open) {
    stream->Refuse(mesh::DrainingError());
    return stream.get();
  }
  {
    const std::lock_guard lock(mutex_);
    live_.insert_or_assign(stream.get(), stream);
  }
  if (!pool_.Post([stream] { stream->Prepare(); })) stream->Refuse(Busy());
  return stream.get();
}

grpc::ServerUnaryReactor* InferenceService::Predict(grpc::CallbackServerContext* context,
                                                    const pb::PredictRequest* request,
                                                    pb::PredictReply* reply) {
  std::optional<base::Gate::Pass> pass = gate_->Enter();
  const bool open = pass.has_value();
  auto call = std::make_shared<PredictCall>(host_, context, request, reply, std::move(pass));
  call->Start();
  if (!open) {
    call->Refuse(mesh::DrainingError());
  } else if (!pool_.Post([call] { call->Run(); })) {
    call->Refuse(Busy());
  }
  return call.get();
}

grpc::ServerUnaryReactor* InferenceService::RunUnary(
    grpc::CallbackServerContext* context, const pb::RequestMeta& meta, const std::string& model,
    std::function<absl::Status(backends::Backend&)> work) {
  std::optional<base::Gate::Pass> pass = gate_->Enter();
  const bool open = pass.has_value();
  const auto call =
      std::make_shared<ModelCall>(host_, &pool_, context, std::move(pass), std::move(work));
  call->Start();
  if (open) {
    call->Run(meta, model);
  } else {
    call->Refuse(mesh::DrainingError());
  }
  return call.get();
}

grpc::ServerUnaryReactor* InferenceService::Tokenize(grpc::CallbackServerContext* context,
                                                     const pb::TokenizeRequest* request,
                                                     pb::TokenizeReply* reply) {
  return RunUnary(context, request->meta(), request->model(),
                  [request, reply](backends::Backend& backend) {
                    return DoTokenize(*request, backend, reply);
                  });
}

grpc::ServerUnaryReactor* InferenceService::Detokenize(grpc::CallbackServerContext* context,
                                                       const pb::DetokenizeRequest* request,
                                                       pb::DetokenizeReply* reply) {
  return RunUnary(context, request->meta(), request->model(),
                  [request, reply](backends::Backend& backend) {
                    return DoDetokenize(*request, backend, reply);
                  });
}

void InferenceService::BeatLoop(const std::stop_token& stop) {
  std::mutex wait_mutex;
  std::condition_variable_any wake;
  std::vector<std::shared_ptr<GenerateStream>> streams;
  while (!stop.stop_requested()) {
    {
      std::unique_lock lock(wait_mutex);
      wake.wait_for(lock, stop, kBeatPeriod, [] { return false; });
    }
    {
      const std::lock_guard lock(mutex_);
      for (auto it = live_.begin(); it != live_.end();) {
        auto stream = it->second.lock();
        it = stream == nullptr ? live_.erase(it) : std::next(it);
        if (stream != nullptr) streams.push_back(std::move(stream));
      }
    }
    const base::SteadyTime now = base::Clock::System().Now();
    for (const auto& stream : streams) stream->Beat(now);
    streams.clear();
  }
}

}  // namespace conclave::worker
