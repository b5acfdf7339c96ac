// Everything a dialect may ask of the rest of the mesh, as interfaces: real clients in clients.h,
// scripted ones in tests. Calls come back as streams, a unary one as a stream of one.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"
#include "conclave/v1/assistants.pb.h"
#include "conclave/v1/embedding.pb.h"
#include "conclave/v1/inference.pb.h"
#include "conclave/v1/model_files.pb.h"
#include "conclave/v1/models.pb.h"
#include "conclave/v1/registrations.pb.h"
#include "conclave/v1/runs.pb.h"
#include "conclave/v1/slots.pb.h"
#include "conclave/v1/threads.pb.h"
#include "gateway/http/admission.h"
#include "gateway/http/front_metrics.h"
#include "gateway/http/response.h"
#include "gateway/upstream/event_stream.h"

namespace conclave::gateway {

template <typename Reply>
using Call = std::unique_ptr<EventStream<Reply>>;

class InferenceUpstream {
 public:
  virtual ~InferenceUpstream() = default;
  virtual Call<v1::GenerateEvent> Generate(v1::GenerateRequest request,
                                           base::SteadyTime deadline) = 0;
  virtual Call<v1::TokenizeReply> Tokenize(v1::TokenizeRequest request,
                                           base::SteadyTime deadline) = 0;
  virtual Call<v1::DetokenizeReply> Detokenize(v1::DetokenizeRequest request,
                                               base::SteadyTime deadline) = 0;
  // UNIMPLEMENTED: the model speaks Generate instead.
  virtual Call<v1::PredictReply> Predict(v1::PredictRequest request, base::SteadyTime deadline) = 0;
};

// One entry for each worker that was asked, by its id.
struct ModelPlans {
  struct One {
    std::string worker_id;
    absl::StatusOr<v1::MemoryPlan> plan;
  };
  std::vector<One> workers;
};

// What the inference workers know of themselves, gathered from all of them and told as one.
class WorkerAdmin {
 public:
  virtual ~WorkerAdmin() = default;
  // keep_alive_ms 0: on all workers that have the model, in_use where one of them uses it still.
  // Else on one, the same that a request for the model would go to. NOT_FOUND.
  virtual Call<v1::KeepModelReply> KeepModel(v1::KeepModelRequest request,
                                             base::SteadyTime deadline) = 0;
  // Asked of all workers; of those that have the model, when it is by name. NOT_FOUND when nobody
  // has; the workers' own refusals are in the reply.
  virtual Call<ModelPlans> PlanModel(v1::PlanModelRequest request, base::SteadyTime deadline) = 0;
  // One placement for each worker that has the model in memory. NOT_FOUND; FAILED_PRECONDITION:
  // none has.
  virtual Call<v1::GetExpertsReply> GetExperts(v1::GetExpertsRequest request,
                                               base::SteadyTime deadline) = 0;
  // Of all workers that have the model, together. NOT_FOUND.
  virtual Call<v1::CountSlotsReply> CountSlots(v1::CountSlotsRequest request,
                                               base::SteadyTime deadline) = 0;
  // One entry per provider_id, sorted: the models of all workers, healthy where one is. Workers
  // that do not answer are left out while one does.
  virtual Call<v1::ListProvidersReply> ListProviders(v1::ListProvidersRequest request,
                                                     base::SteadyTime deadline) = 0;
  // Of all workers that have the model, by time; each entry names its worker. NOT_FOUND.
  virtual Call<v1::GetModelLogsReply> GetModelLogs(v1::GetModelLogsRequest request,
                                                   base::SteadyTime deadline) = 0;
  // On all workers that have the model, the sum; an error when one of them did not.
  virtual Call<v1::ClearModelLogsReply> ClearModelLogs(v1::ClearModelLogsRequest request,
                                                       base::SteadyTime deadline) = 0;
};

// A model file on its way to one worker.
class BlobUpload {
 public:
  struct Sent {};
  virtual ~BlobUpload() = default;  // gives up unless closed

  // One at a time: the next after an event of `progress`, which tells nothing but that. Its end is
  // the worker's answer, which may come before all is sent.
  virtual void Send(std::string bytes) = 0;
  virtual void Close() = 0;
  virtual EventStream<Sent>& progress() = 0;
};

// Model files on the workers' disks, each asked by itself.
class ModelFiles {
 public:
  virtual ~ModelFiles() = default;
  // Those that may get work now.
  virtual std::vector<std::string> Workers() = 0;
  // FAILED_PRECONDITION (no_blob_folder): the worker takes no files.
  virtual Call<v1::HasBlobReply> HasBlob(const std::string& worker, v1::HasBlobRequest request,
                                         base::SteadyTime deadline) = 0;
  virtual absl::StatusOr<std::unique_ptr<BlobUpload>> PutBlob(const std::string& worker,
                                                              const std::string& digest,
                                                              base::SteadyTime deadline) = 0;
  virtual Call<v1::PullModelProgress> PullModel(const std::string& worker,
                                                v1::PullModelRequest request,
                                                base::SteadyTime deadline) = 0;
};

// The vectors of one request, in the order of its inputs.
struct Embeddings {
  std::vector<v1::EmbeddingVector> vectors;
  v1::Usage usage;
  v1::Timings timings;
};

class EmbeddingUpstream {
 public:
  virtual ~EmbeddingUpstream() = default;
  virtual Call<Embeddings> Embed(v1::EmbedRequest request, base::SteadyTime deadline) = 0;
  // Scores in the order of the documents.
  virtual Call<v1::RerankReply> Rerank(v1::RerankRequest request, base::SteadyTime deadline) = 0;
};

// X(Method, Request, Reply) for every unary call of the store.
#define CONCLAVE_GATEWAY_STORE_CALLS(X)                                  \
  X(CreateAssistant, CreateAssistantRequest, Assistant)                  \
  X(GetAssistant, GetAssistantRequest, Assistant)                        \
  X(ListAssistants, ListAssistantsRequest, ListAssistantsReply)          \
  X(ModifyAssistant, ModifyAssistantRequest, Assistant)                  \
  X(DeleteAssistant, DeleteAssistantRequest, DeleteReply)                \
  X(CreateThread, CreateThreadRequest, Thread)                           \
  X(GetThread, GetThreadRequest, Thread)                                 \
  X(ListThreads, ListThreadsRequest, ListThreadsReply)                   \
  X(ModifyThread, ModifyThreadRequest, Thread)                           \
  X(DeleteThread, DeleteThreadRequest, DeleteReply)                      \
  X(CreateMessage, CreateMessageRequest, Message)                        \
  X(GetMessage, GetMessageRequest, Message)                              \
  X(ListMessages, ListMessagesRequest, ListMessagesReply)                \
  X(ModifyMessage, ModifyMessageRequest, Message)                        \
  X(DeleteMessage, DeleteMessageRequest, DeleteReply)                    \
  X(CreateRun, CreateRunRequest, Run)                                    \
  X(CreateThreadAndRun, CreateThreadAndRunRequest, Run)                  \
  X(GetRun, GetRunRequest, Run)                                          \
  X(ListRuns, ListRunsRequest, ListRunsReply)                            \
  X(ModifyRun, ModifyRunRequest, Run)                                    \
  X(CancelRun, CancelRunRequest, Run)                                    \
  X(SubmitToolOutputs, SubmitToolOutputsRequest, Run)                    \
  X(ListRunSteps, ListRunStepsRequest, ListRunStepsReply)                \
  X(GetRunStep, GetRunStepRequest, RunStep)                              \
  X(RegisterModel, RegisterModelRequest, ModelRegistration)              \
  X(GetRegistration, GetRegistrationRequest, ModelRegistration)          \
  X(ListRegistrations, ListRegistrationsRequest, ListRegistrationsReply) \
  X(UnregisterModel, UnregisterModelRequest, DeleteReply)

class StoreUpstream {
 public:
  virtual ~StoreUpstream() = default;
#define CONCLAVE_GATEWAY_STORE_METHOD(Method, Request, Reply) \
  virtual Call<v1::Reply> Method(v1::Request request, base::SteadyTime deadline) = 0;
  CONCLAVE_GATEWAY_STORE_CALLS(CONCLAVE_GATEWAY_STORE_METHOD)
#undef CONCLAVE_GATEWAY_STORE_METHOD
  virtual Call<v1::RunEvent> StreamRun(v1::StreamRunRequest request, base::SteadyTime deadline) = 0;
  virtual bool Connected() = 0;
};

// Which models exist now.
class ModelDirectory {
 public:
  virtual ~ModelDirectory() = default;
  // One entry per name, sorted; without the long parts of the details (metadata, template,
  // license).
  virtual std::vector<v1::ModelStatus> List() const = 0;
  // The same, as the workers say it when they are asked now: what one of them has answered to
  // anybody, it says here, too. Of a worker that does not answer in time, what it last reported.
  virtual Call<v1::ListModelsReply> Ask(base::SteadyTime deadline) = 0;
  // The model with all its details, asked of a worker that has it. `name` as List gives it.
  virtual Call<v1::ListModelsReply> Describe(const std::string& name,
                                             base::SteadyTime deadline) = 0;

  // Every worker that is known, with the load it last reported.
  virtual std::vector<v1::WorkerState> Workers() const { return {}; }

  // By name or alias, whatever its state; a model whose workers are away just now, as it was when
  // they were last heard of (the call then waits for one, or says UNAVAILABLE). NOT_FOUND
  // "model_not_found".
  absl::StatusOr<v1::ModelStatus> Find(std::string_view name) const;
  // The same, fit to be called: ready, or known to a worker that loads it when it is called, or,
  // where the call may wait, that is loading it. UNAVAILABLE "model_loading" with retry-after and
  // the progress, FAILED_PRECONDITION "model_failed".
  absl::StatusOr<v1::ModelStatus> FindReady(std::string_view name, bool may_wait) const;

 private:
  std::optional<v1::ModelStatus> FindListed(std::string_view name) const;
  virtual std::optional<v1::ModelStatus> FindLost(std::string_view) const { return std::nullopt; }
};

// Whether the model says it can: "completion", "embedding", "tools", ….
bool Can(const v1::ModelStatus& model, std::string_view capability);

struct ServiceTimes {
  std::chrono::milliseconds generate{30 * 60'000};  // a whole answer
  std::chrono::milliseconds embed{5 * 60'000};
  std::chrono::milliseconds store{30'000};            // one call
  std::chrono::milliseconds transfer{6 * 3'600'000};  // of a model file
  std::chrono::milliseconds registering{120'000};     // a worker takes a model up, or lets go of it
  std::chrono::milliseconds directory{3'000};         // until the workers' next word, after that
  std::chrono::milliseconds run{15 * 60'000};         // a streamed run
  std::chrono::milliseconds keep_alive{15'000};       // silence towards a streaming client
  // From one piece of a streamed answer to the next, the first one not counted: a long prompt or
  // queue is no silence of the model. 0 = as long as it takes.
  std::chrono::milliseconds stream_idle{0};
  // For a model to be loaded before it answers; 0 = not at all. Ollama's routes wait as long as an
  // answer may take, unless it is 0.
  std::chrono::milliseconds load_wait{60'000};
};

// Borrowed by the routes; outlives the server.
struct Services {
  InferenceUpstream* inference = nullptr;
  EmbeddingUpstream* embedding = nullptr;
  StoreUpstream* store = nullptr;  // null: no store configured
  ModelDirectory* models = nullptr;
  WorkerAdmin* workers = nullptr;
  ModelFiles* files = nullptr;
  Admission* admission = nullptr;
  FrontMetrics* metrics = nullptr;
  const base::Clock* clock = &base::Clock::System();
  base::IdSource new_id = base::NewId;
  ServiceTimes times;
  // Inference workers are configured, so without a model of theirs this is no gateway yet.
  bool completion_wanted = true;
  std::string default_system_prompt;  // in front of conversations that have none; empty = none
  std::string default_model;          // for the profile llm-serving: stands for unknown names
  std::string commit = "unknown";     // of the source that was built
  std::function<std::string()> metrics_text;  // exposition for /metrics
  std::function<bool()> draining = [] { return false; };

  bool waits_for_loading() const { return times.load_wait > std::chrono::milliseconds(0); }
};

// What every call carries, from the request's headers.
v1::RequestMeta MetaOf(const Request& request);
// Of a call to a model: besides, how long it may wait for the model to be loaded.
v1::RequestMeta MetaOf(const Services& services, const Request& request);

// The one reply of a unary call. The call is cancelled when the client goes.
template <typename Reply>
Task<absl::StatusOr<Reply>> AwaitReply(Call<Reply> call, ResponseWriter& out) {
  std::vector<Reply> replies;
  out.OnCancel([stream = call.get()] { stream->Cancel(); });
  while (true) {
    const StreamGot got = co_await call->Next(&replies, base::SteadyTime::max());
    if (got == StreamGot::kEnd) break;
  }
  out.OnCancel(nullptr);
  if (!call->status().ok()) co_return call->status();
  if (replies.size() != 1) co_return base::Internal("a unary call gave no single reply");
  co_return std::move(replies.front());
}

}  // namespace conclave::gateway
