// A router with every dialect over scripted services, called without a socket.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "gateway/dialects/dialect.h"
#include "gateway/http/router.h"
#include "gateway/upstream/services.h"

namespace conclave::gateway {

// A clock that stands still at 2026-01-02T03:04:05.678Z.
class StoppedClock final : public base::Clock {
 public:
  base::SteadyTime Now() const override { return base::SteadyTime(); }
  int64_t UnixMillis() const override { return 1'767'323'045'678; }
};

// A call that gives `replies`, then ends with `status`.
template <typename Reply>
Call<Reply> Played(std::vector<Reply> replies, absl::Status status) {
  auto feed = std::make_shared<typename EventStream<Reply>::Feed>();
  for (Reply& reply : replies) feed->Push(std::move(reply), 1);
  feed->Finish(std::move(status));
  return std::make_unique<EventStream<Reply>>(
      feed, [] {}, [] {});
}

class FakeModels final : public ModelDirectory {
 public:
  std::vector<v1::ModelStatus> List() const override { return models; }
  ::conclave::gateway::Call<v1::ListModelsReply> Ask(base::SteadyTime deadline) override {
    return Describe("", deadline);
  }
  ::conclave::gateway::Call<v1::ListModelsReply> Describe(const std::string& name,
                                                          base::SteadyTime deadline) override;
  v1::ModelStatus& Add(const std::string& name);
  std::vector<v1::ModelStatus> models;
  std::vector<v1::ModelStatus> lost;  // of workers that are away

 private:
  std::optional<v1::ModelStatus> FindLost(std::string_view name) const override;
};

class FakeAdmin final : public WorkerAdmin {
 public:
  // Says what `kept` says.
  ::conclave::gateway::Call<v1::KeepModelReply> KeepModel(v1::KeepModelRequest request,
                                                          base::SteadyTime deadline) override;
  ::conclave::gateway::Call<ModelPlans> PlanModel(v1::PlanModelRequest request,
                                                  base::SteadyTime deadline) override;
  ::conclave::gateway::Call<v1::GetExpertsReply> GetExperts(v1::GetExpertsRequest request,
                                                            base::SteadyTime deadline) override;
  ::conclave::gateway::Call<v1::CountSlotsReply> CountSlots(v1::CountSlotsRequest request,
                                                            base::SteadyTime deadline) override;
  ::conclave::gateway::Call<v1::ListProvidersReply> ListProviders(
      v1::ListProvidersRequest request, base::SteadyTime deadline) override;
  ::conclave::gateway::Call<v1::GetModelLogsReply> GetModelLogs(v1::GetModelLogsRequest request,
                                                                base::SteadyTime deadline) override;
  ::conclave::gateway::Call<v1::ClearModelLogsReply> ClearModelLogs(
      v1::ClearModelLogsRequest request, base::SteadyTime deadline) override;

  std::map<std::string, v1::GetExpertsReply> experts;  // by model
  std::map<std::string, v1::CountSlotsReply> slots;    // by model; else none
  v1::ListProvidersReply providers;
  absl::StatusOr<v1::KeepModelReply> kept = v1::KeepModelReply();
  ModelPlans plans = {{{.worker_id = "w", .plan = v1::MemoryPlan()}}};
  std::vector<v1::KeepModelRequest> keep_requests;
  std::vector<v1::PlanModelRequest> plan_requests;
  std::map<std::string, v1::GetModelLogsReply> logs;  // by model
};

// Plays one script for each Generate.
class FakeInference final : public InferenceUpstream {
 public:
  Call<v1::GenerateEvent> Generate(v1::GenerateRequest request, base::SteadyTime deadline) override;

  ::conclave::gateway::Call<v1::TokenizeReply> Tokenize(v1::TokenizeRequest request,
                                                        base::SteadyTime deadline) override;

  ::conclave::gateway::Call<v1::PredictReply> Predict(v1::PredictRequest request,
                                                      base::SteadyTime deadline) override;

  std::string prediction;  // JSON, of every Predict; none = UNIMPLEMENTED
  absl::Status predict_status;
  std::vector<v1::PredictRequest> predict_requests;
  ::conclave::gateway::Call<v1::DetokenizeReply> Detokenize(v1::DetokenizeRequest request,
                                                            base::SteadyTime deadline) override;

  std::vector<int32_t> token_ids;         // of every Tokenize; none = UNIMPLEMENTED
  std::vector<v1::GenerateEvent> events;  // text format parsed by Script
  absl::Status status;      // of every Generate, after its events; of Tokenize and Detokenize
  bool never_ends = false;  // until cancelled
  std::vector<v1::GenerateRequest> requests;
  std::vector<v1::TokenizeRequest> tokenized;
  std::vector<v1::DetokenizeRequest> detokenized;
  int cancelled = 0;
};

class FakeEmbedding final : public EmbeddingUpstream {
 public:
  Call<Embeddings> Embed(v1::EmbedRequest request, base::SteadyTime deadline) override;
  // Scores in the order of `scores`; as many as there are documents.
  Call<v1::RerankReply> Rerank(v1::RerankRequest request, base::SteadyTime deadline) override;
  Embeddings reply;
  std::vector<float> scores;
  absl::Status status;
  std::vector<v1::EmbedRequest> requests;
  std::vector<v1::RerankRequest> reranked;
};

// Every call gives what was put under its name, or NOT_FOUND.
class FakeStore final : public StoreUpstream {
 public:
#define CONCLAVE_FAKE_STORE(Method, Request, Reply)                        \
  Call<v1::Reply> Method(v1::Request request, base::SteadyTime) override { \
    requests.emplace_back(#Method, request.ShortDebugString());            \
    return Answer<v1::Reply>(#Method);                                     \
  }
  CONCLAVE_GATEWAY_STORE_CALLS(CONCLAVE_FAKE_STORE)
#undef CONCLAVE_FAKE_STORE
  Call<v1::RunEvent> StreamRun(v1::StreamRunRequest request, base::SteadyTime deadline) override;
  bool Connected() override { return true; }

  // Text format of the reply by method.
  std::map<std::string, std::string> replies;
  std::map<std::string, absl::Status> errors;
  std::vector<std::string> run_events;  // text format
  std::vector<std::pair<std::string, std::string>> requests;

 private:
  template <typename Reply>
  Call<Reply> Answer(const std::string& method);
};

// Keeps blobs, and pulls what it is told to. One worker.
class FakeFiles final : public ModelFiles {
 public:
  std::vector<std::string> Workers() override { return workers; }
  ::conclave::gateway::Call<v1::HasBlobReply> HasBlob(const std::string& worker,
                                                      v1::HasBlobRequest request,
                                                      base::SteadyTime deadline) override;
  absl::StatusOr<std::unique_ptr<BlobUpload>> PutBlob(const std::string& worker,
                                                      const std::string& digest,
                                                      base::SteadyTime deadline) override;
  ::conclave::gateway::Call<v1::PullModelProgress> PullModel(const std::string& worker,
                                                             v1::PullModelRequest request,
                                                             base::SteadyTime deadline) override;

  std::vector<std::string> workers = {"w"};
  std::map<std::string, std::string> blobs;  // bytes by digest
  absl::Status refusal;                      // of everything
  std::vector<std::string> pull;             // PullModelProgress in text format
};

// What a handler wrote.
class RecordingWriter final : public ResponseWriter {
 public:
  Task<absl::StatusOr<bool>> ReadBody(std::string* piece) override;
  Task<void> Reply(Response given) override;
  Task<bool> BeginStream(int status, std::string_view content_type, HeaderList headers) override;
  Task<bool> Write(std::string_view bytes) override;
  Task<void> EndStream() override;
  void Abort() override { aborted = true; }
  bool started() const override { return began; }
  CancelReason cancel_reason() const override { return reason; }
  void OnCancel(std::function<void()> listener) override { on_cancel = std::move(listener); }

  std::vector<std::string> body;  // of a route that streams it: the pieces that come
  Response response;              // of a stream: status, type and all bytes
  bool began = false;
  bool ended = false;
  bool aborted = false;
  CancelReason reason = CancelReason::kNone;
  std::function<void()> on_cancel;
  // Called after each write with all bytes so far.
  std::function<void(RecordingWriter&)> after_write;
};

struct Harness {
  Harness();

  // Routes and calls the handler; the answer is in the writer. Path may have a query.
  RecordingWriter Call(const std::string& method, const std::string& target,
                       const std::string& body = "",
                       std::function<void(RecordingWriter&)> after_write = nullptr);

  CompatProfile profile = CompatProfile::kStrict;  // of every request
  StoppedClock clock;
  FakeModels models;
  FakeAdmin admin;
  FakeInference inference;
  FakeEmbedding embedding;
  FakeStore store;
  FakeFiles files;
  Admission admission{AdmissionOptions{}};
  FrontMetrics metrics{nullptr};
  Services services;
  Router router;
};

// A message from its text format; the test fails when it is not one.
template <typename Message>
Message Proto(const std::string& text);

// A generation of the pieces: Accepted, a Delta for each, Finished with usage 5/<pieces>.
std::vector<v1::GenerateEvent> TextScript(const std::vector<std::string>& pieces);

// The data of each SSE event.
std::vector<std::string> SseData(const std::string& stream);

}  // namespace conclave::gateway
