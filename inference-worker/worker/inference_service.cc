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

}  // namespace

InferenceService::InferenceService(ModelHost* host, WorkerMetrics* metrics, base::Gate* gate,
                                   WorkerIdentity identity, const StreamOptions& options)
    : host_(host), gate_(gate), pool_(kPrepareThreads, kPrepareQueueMax) {
  shared_.host = host;
  shared_.metrics = metrics;
  shared_.pool = &pool_;
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
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  auto pass = std::make_shared<std::optional<base::Gate::Pass>>(gate_->Enter());
  if (!pass->has_value()) {
    reactor->Finish(mesh::ToGrpc(mesh::DrainingError(), context));
    return reactor;
  }
  host_->Use(model, UseOptionsOf(meta, *context),
             [this, context, reactor, pass, work = std::move(work)](auto got) {
               const auto lease = std::make_shared<absl::StatusOr<ModelLease>>(std::move(got));
               const bool posted = pool_.Post([context, reactor, pass, lease, work] {
                 const absl::Status status =
                     lease->ok() ? work((*lease)->backend()) : lease->status();
                 reactor->Finish(mesh::ToGrpc(status, context));
               });
               if (!posted) reactor->Finish(mesh::ToGrpc(Busy(), context));
             });
  return reactor;
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
