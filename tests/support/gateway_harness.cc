#include "support/gateway_harness.h"

#include <google/protobuf/text_format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <utility>

#include "catch2/catch.hpp"

namespace conclave::gateway {
namespace {

template <typename Message>
Message ParseText(const std::string& text) {
  Message message;
  INFO(text);
  REQUIRE(google::protobuf::TextFormat::ParseFromString(text, &message));
  return message;
}

}  // namespace

#define CONCLAVE_PROTO_TEXT(Message)           \
  template <>                                  \
  v1::Message Proto(const std::string& text) { \
    return ParseText<v1::Message>(text);       \
  }
CONCLAVE_PROTO_TEXT(CountSlotsReply)
CONCLAVE_PROTO_TEXT(GenerateEvent)
CONCLAVE_PROTO_TEXT(GenerateRequest)
CONCLAVE_PROTO_TEXT(KeepModelReply)
CONCLAVE_PROTO_TEXT(MemoryPlan)
CONCLAVE_PROTO_TEXT(ModelStatus)
CONCLAVE_PROTO_TEXT(RegisterModelRequest)
CONCLAVE_PROTO_TEXT(RunEvent)
CONCLAVE_PROTO_TEXT(Run)
CONCLAVE_PROTO_TEXT(ListProvidersReply)
CONCLAVE_PROTO_TEXT(GetExpertsReply)
CONCLAVE_PROTO_TEXT(GetModelLogsReply)
CONCLAVE_PROTO_TEXT(Message)
#undef CONCLAVE_PROTO_TEXT

Call<v1::ListProvidersReply> FakeAdmin::ListProviders(v1::ListProvidersRequest, base::SteadyTime) {
  return Played(std::vector<v1::ListProvidersReply>{providers}, absl::OkStatus());
}

Call<v1::GetExpertsReply> FakeAdmin::GetExperts(v1::GetExpertsRequest request, base::SteadyTime) {
  const auto found = experts.find(request.name());
  if (found == experts.end()) {
    return Played(std::vector<v1::GetExpertsReply>(), base::NotFound("no such model"));
  }
  return Played(std::vector<v1::GetExpertsReply>{found->second}, absl::OkStatus());
}

Call<v1::CountSlotsReply> FakeAdmin::CountSlots(v1::CountSlotsRequest request, base::SteadyTime) {
  return Played(std::vector<v1::CountSlotsReply>{slots[request.model()]}, absl::OkStatus());
}

Call<v1::GetModelLogsReply> FakeAdmin::GetModelLogs(v1::GetModelLogsRequest request,
                                                    base::SteadyTime) {
  const auto found = logs.find(request.name());
  if (found == logs.end()) {
    return Played(std::vector<v1::GetModelLogsReply>(), base::NotFound("no such model"));
  }
  v1::GetModelLogsReply reply = found->second;
  const int beyond = request.limit() > 0 ? reply.entries_size() - request.limit() : 0;
  if (beyond > 0) reply.mutable_entries()->DeleteSubrange(0, beyond);
  return Played(std::vector<v1::GetModelLogsReply>{std::move(reply)}, absl::OkStatus());
}

Call<v1::KeepModelReply> FakeAdmin::KeepModel(v1::KeepModelRequest request, base::SteadyTime) {
  keep_requests.push_back(std::move(request));
  if (!kept.ok()) return Played(std::vector<v1::KeepModelReply>(), kept.status());
  return Played(std::vector<v1::KeepModelReply>{*kept}, absl::OkStatus());
}

Call<ModelPlans> FakeAdmin::PlanModel(v1::PlanModelRequest request, base::SteadyTime) {
  plan_requests.push_back(std::move(request));
  return Played(std::vector<ModelPlans>{plans}, absl::OkStatus());
}

Call<v1::ClearModelLogsReply> FakeAdmin::ClearModelLogs(v1::ClearModelLogsRequest request,
                                                        base::SteadyTime) {
  const auto found = logs.find(request.name());
  if (found == logs.end()) {
    return Played(std::vector<v1::ClearModelLogsReply>(), base::NotFound("no such model"));
  }
  v1::ClearModelLogsReply reply;
  reply.set_cleared(found->second.entries_size());
  found->second.clear_entries();
  return Played(std::vector<v1::ClearModelLogsReply>{reply}, absl::OkStatus());
}

v1::ModelStatus& FakeModels::Add(const std::string& name) {
  v1::ModelStatus& model = models.emplace_back();
  model.set_name(name);
  model.set_state(v1::ModelStatus::STATE_READY);
  model.add_capabilities("completion");
  return model;
}

std::optional<v1::ModelStatus> FakeModels::FindLost(std::string_view name) const {
  for (const v1::ModelStatus& model : lost) {
    if (model.name() == name) return model;
  }
  return std::nullopt;
}

Call<v1::GenerateEvent> FakeInference::Generate(v1::GenerateRequest request, base::SteadyTime) {
  requests.push_back(std::move(request));
  if (!never_ends) return Played(events, status);
  auto feed = std::make_shared<EventStream<v1::GenerateEvent>::Feed>();
  for (const v1::GenerateEvent& event : events) feed->Push(event, 1);
  return std::make_unique<EventStream<v1::GenerateEvent>>(
      feed, [] {},
      [this, feed] {
        ++cancelled;
        feed->Finish(absl::CancelledError("cancelled"));
      });
}

Call<v1::ListModelsReply> FakeModels::Describe(const std::string&, base::SteadyTime) {
  v1::ListModelsReply reply;
  for (const v1::ModelStatus& model : models) *reply.add_models() = model;
  return Played(std::vector<v1::ListModelsReply>{reply}, absl::OkStatus());
}

Call<v1::PredictReply> FakeInference::Predict(v1::PredictRequest request, base::SteadyTime) {
  predict_requests.push_back(std::move(request));
  if (!predict_status.ok()) return Played(std::vector<v1::PredictReply>(), predict_status);
  if (prediction.empty()) {
    return Played(std::vector<v1::PredictReply>(), base::Unimplemented("no predict"));
  }
  v1::PredictReply reply;
  reply.set_body_json(prediction);
  return Played(std::vector<v1::PredictReply>{reply}, absl::OkStatus());
}

Call<v1::TokenizeReply> FakeInference::Tokenize(v1::TokenizeRequest request, base::SteadyTime) {
  tokenized.push_back(std::move(request));
  if (!status.ok()) return Played(std::vector<v1::TokenizeReply>(), status);
  if (token_ids.empty()) {
    return Played(std::vector<v1::TokenizeReply>(), base::Unimplemented("no tokenizer"));
  }
  v1::TokenizeReply reply;
  for (const int32_t id : token_ids) reply.add_pieces("t" + std::to_string(id));
  reply.set_context_length(4096);
  reply.set_prompt("<rendered>");
  reply.mutable_token_ids()->Assign(token_ids.begin(), token_ids.end());
  return Played(std::vector<v1::TokenizeReply>{reply}, absl::OkStatus());
}

Call<v1::DetokenizeReply> FakeInference::Detokenize(v1::DetokenizeRequest request,
                                                    base::SteadyTime) {
  v1::DetokenizeReply reply;
  for (const int32_t id : request.token_ids()) reply.mutable_text()->append(std::to_string(id));
  detokenized.push_back(std::move(request));
  if (!status.ok()) return Played(std::vector<v1::DetokenizeReply>(), status);
  return Played(std::vector<v1::DetokenizeReply>{reply}, absl::OkStatus());
}

Call<v1::RerankReply> FakeEmbedding::Rerank(v1::RerankRequest request, base::SteadyTime) {
  v1::RerankReply answer;
  for (int i = 0; i < request.documents_size(); ++i) {
    const auto at = static_cast<size_t>(i);
    answer.add_scores()->set_score(at < scores.size() ? scores[at] : 0.0f);
  }
  answer.mutable_usage()->set_prompt_tokens(11);
  reranked.push_back(std::move(request));
  std::vector<v1::RerankReply> replies;
  if (status.ok()) replies.push_back(std::move(answer));
  return Played(std::move(replies), status);
}

Call<Embeddings> FakeEmbedding::Embed(v1::EmbedRequest request, base::SteadyTime) {
  requests.push_back(std::move(request));
  std::vector<Embeddings> replies;
  if (status.ok()) replies.push_back(reply);
  return Played(std::move(replies), status);
}

template <typename Reply>
Call<Reply> FakeStore::Answer(const std::string& method) {
  if (errors.contains(method)) return Played(std::vector<Reply>(), errors[method]);
  if (!replies.contains(method))
    return Played(std::vector<Reply>(), base::NotFound("no such object"));
  return Played(std::vector<Reply>{ParseText<Reply>(replies[method])}, absl::OkStatus());
}

Call<v1::RunEvent> FakeStore::StreamRun(v1::StreamRunRequest request, base::SteadyTime) {
  requests.emplace_back("StreamRun", request.ShortDebugString());
  std::vector<v1::RunEvent> events;
  for (const std::string& text : run_events) events.push_back(ParseText<v1::RunEvent>(text));
  return Played(std::move(events), errors["StreamRun"]);
}

namespace {

absl::Status Mismatch(const std::string& digest) {
  return base::WithReason(base::InvalidArgument("digest mismatch, expected " + digest),
                          "digest_mismatch");
}

// Keeps what is sent under its digest, unless the bytes are "bad".
class FakeUpload final : public BlobUpload {
 public:
  FakeUpload(FakeFiles* files, std::string digest)
      : files_(files),
        digest_(std::move(digest)),
        feed_(std::make_shared<EventStream<Sent>::Feed>()),
        progress_(
            feed_, [] {}, [] {}) {}
  void Send(std::string bytes) override {
    bytes_ += bytes;
    if (files_->refusal.ok()) return static_cast<void>(feed_->Push({}, 0));
    feed_->Finish(files_->refusal);
  }
  void Close() override {
    const bool bad = bytes_ == "bad";
    if (!bad) files_->blobs[digest_] = bytes_;
    feed_->Finish(bad ? Mismatch(digest_) : absl::OkStatus());
  }
  EventStream<Sent>& progress() override { return progress_; }

 private:
  FakeFiles* const files_;
  const std::string digest_;
  const std::shared_ptr<EventStream<Sent>::Feed> feed_;
  EventStream<Sent> progress_;
  std::string bytes_;
};

}  // namespace

Call<v1::HasBlobReply> FakeFiles::HasBlob(const std::string&, v1::HasBlobRequest request,
                                          base::SteadyTime) {
  const auto found = blobs.find(request.digest());
  absl::Status status = refusal;
  if (status.ok() && found == blobs.end()) status = base::NotFound("digest: no such blob");
  std::vector<v1::HasBlobReply> replies;
  if (status.ok()) replies.emplace_back().set_size(static_cast<int64_t>(found->second.size()));
  return Played(std::move(replies), status);
}

absl::StatusOr<std::unique_ptr<BlobUpload>> FakeFiles::PutBlob(const std::string&,
                                                               const std::string& digest,
                                                               base::SteadyTime) {
  return std::make_unique<FakeUpload>(this, digest);
}

Call<v1::PullModelProgress> FakeFiles::PullModel(const std::string&, v1::PullModelRequest,
                                                 base::SteadyTime) {
  std::vector<v1::PullModelProgress> events;
  for (const std::string& text : pull) events.push_back(ParseText<v1::PullModelProgress>(text));
  return Played(std::move(events), refusal);
}

Task<absl::StatusOr<bool>> RecordingWriter::ReadBody(std::string* piece) {
  if (body.empty()) co_return false;
  *piece += body.front();
  body.erase(body.begin());
  co_return true;
}

Task<void> RecordingWriter::Reply(Response given) {
  REQUIRE_FALSE(began);
  began = ended = true;
  response = std::move(given);
  co_return;
}

Task<bool> RecordingWriter::BeginStream(int status, std::string_view content_type,
                                        HeaderList headers) {
  REQUIRE_FALSE(began);
  began = true;
  response.status = status;
  response.content_type = std::string(content_type);
  response.headers = std::move(headers);
  co_return true;
}

Task<bool> RecordingWriter::Write(std::string_view bytes) {
  REQUIRE(began);
  REQUIRE_FALSE(ended);
  response.body += bytes;
  if (after_write) after_write(*this);
  co_return reason != CancelReason::kClientGone;
}

Task<void> RecordingWriter::EndStream() {
  ended = true;
  co_return;
}

Harness::Harness() {
  services.inference = &inference;
  services.embedding = &embedding;
  services.store = &store;
  services.models = &models;
  services.workers = &admin;
  services.files = &files;
  services.times.load_wait = std::chrono::milliseconds(0);  // what loads is said to load at once
  services.times.directory = std::chrono::milliseconds(0);  // nobody's workers change here
  services.admission = &admission;
  services.metrics = &metrics;
  services.clock = &clock;
  services.new_id = [](std::string_view prefix) { return std::string(prefix) + "test"; };
  for (const Dialect& dialect : AllDialects()) dialect.add_routes(router, services);
  v1::ModelStatus& teacher = models.Add("teacher");
  teacher.add_capabilities("tools");
  teacher.add_capabilities("thinking");
}

RecordingWriter Harness::Call(const std::string& method, const std::string& target,
                              const std::string& body,
                              std::function<void(RecordingWriter&)> after_write) {
  Request request;
  request.head.method = method;
  request.head.target = target;
  request.head.path = target.substr(0, target.find('?'));
  if (request.head.path.size() < target.size()) {
    request.head.query = target.substr(request.head.path.size() + 1);
  }
  request.body = body;
  request.request_id = "req_test";
  request.profile = profile;
  request.received_at = std::chrono::steady_clock::now();
  Router::Match match = router.Find(method, request.head.path);
  INFO(method << " " << target);
  REQUIRE(match.route != nullptr);
  request.params = match.params;
  RecordingWriter writer;
  if (match.route->options.stream_body) {
    request.body.clear();
    for (const char c : body) writer.body.emplace_back(1, c);  // as small as pieces can be
  }
  writer.after_write = std::move(after_write);
  AccessRecord record;
  Exchange exchange{request, writer, record};
  boost::asio::io_context io;
  std::exception_ptr thrown;
  boost::asio::co_spawn(io, match.route->handler(exchange),
                        [&thrown](std::exception_ptr error) { thrown = error; });
  io.run();
  if (thrown) std::rethrow_exception(thrown);
  return writer;
}

std::vector<v1::GenerateEvent> TextScript(const std::vector<std::string>& pieces) {
  std::vector<v1::GenerateEvent> events;
  events.push_back(ParseText<v1::GenerateEvent>(
      R"(accepted { worker_id: "w1" model: "teacher" model_revision: "sha256:0123456789abcdef"
                    prompt_tokens: 5 cached_tokens: 2 })"));
  int64_t seq = 0;
  for (const std::string& piece : pieces) {
    v1::GenerateEvent event;
    event.mutable_delta()->set_seq(seq);
    event.mutable_delta()->add_token_ids(static_cast<int32_t>(100 + seq));
    event.mutable_delta()->set_text(piece);
    events.push_back(std::move(event));
    ++seq;
  }
  v1::GenerateEvent last = ParseText<v1::GenerateEvent>(
      R"(finished { reason: REASON_STOP usage { prompt_tokens: 5 cached_tokens: 2 }
                    timings { prefill_ms: 2 decode_ms: 3.5 load_ms: 0.5 total_ms: 6 } })");
  last.mutable_finished()->mutable_usage()->set_completion_tokens(static_cast<int>(pieces.size()));
  events.push_back(std::move(last));
  return events;
}

std::vector<std::string> SseData(const std::string& stream) {
  std::vector<std::string> data;
  size_t at = 0;
  while ((at = stream.find("data: ", at)) != std::string::npos) {
    const size_t end = stream.find("\n\n", at);
    REQUIRE(end != std::string::npos);
    data.push_back(stream.substr(at + 6, end - at - 6));
    at = end + 2;
  }
  return data;
}

}  // namespace conclave::gateway
