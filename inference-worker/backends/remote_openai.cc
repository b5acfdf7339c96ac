// Another server's OpenAI API as a provider: vLLM, SGLang, TGI, llama-server, OpenAI, another
// Conclave. Every request is streamed, whatever our caller asked for; what the server cannot be
// told is refused. A stream that breaks is not taken up again, because there are no token ids to go
// on from: before the first piece the failure is UNAVAILABLE and may be tried elsewhere, afterwards
// it is INTERNAL upstream_lost.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "backends/answer_fan.h"
#include "backends/http_client.h"
#include "backends/paced_sink.h"
#include "backends/provider.h"
#include "backends/remote_openai_request.h"
#include "backends/remote_openai_server.h"
#include "backends/remote_openai_wire.h"
#include "backends/settings.h"
#include "backends/sse_parser.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/ids.h"
#include "base/status.h"

namespace conclave::backends {
namespace {

using base::SteadyTime;
using std::chrono::milliseconds;

constexpr milliseconds kCancelMax{60'000};
constexpr size_t kErrorBytesMax = size_t{64} << 10;
constexpr size_t kTokenizeBytesMax = size_t{32} << 20;

class RemoteBackend;

// One generation. On the client's thread, except where said.
class RemoteCall final : public HttpListener, public std::enable_shared_from_this<RemoteCall> {
 public:
  RemoteCall(RemoteBackend* backend, std::string id, std::shared_ptr<EventSink> sink,
             OpenAiStream::Options options)
      : backend_(backend),
        id_(std::move(id)),
        sink_(std::move(sink), [this](const Event& last) { TellBackend(last); }),
        stream_(std::move(options)) {}

  void OnHead(const HttpHead& head) override {
    head_ = head;
    first_byte_ = base::Clock::System().Now();
  }
  HttpFlow OnBody(std::string_view bytes) override;
  void OnEnd(const absl::Status& status) override;
  void GoOn();
  void OnCancel();

  const std::string& id() const { return id_; }
  PacedSink& sink() { return sink_; }

  std::shared_ptr<HttpExchange> exchange;  // guarded by the backend's mutex
  std::atomic<bool> cancelled{false};

 private:
  void ReadEvents();
  void TellBackend(const Event& last);
  Event Outcome(const absl::Status& status);

  RemoteBackend* const backend_;
  const std::string id_;
  PacedSink sink_;
  OpenAiStream stream_;
  SseParser parser_;
  HttpHead head_;
  std::string error_body_;
  absl::Status error_;   // of the stream's own
  bool enough_ = false;  // [DONE] was read
  bool over_ = false;    // the exchange is
  const SteadyTime submitted_ = base::Clock::System().Now();
  SteadyTime first_byte_ = submitted_;
};

class RemoteBackend final : public Backend {
 public:
  RemoteBackend(std::shared_ptr<RemoteServer> server, const ProviderModel& model,
                ModelDetails details)
      : server_(std::move(server)),
        model_(model.model_id),
        log_(model.log),
        details_(std::move(details)) {}
  ~RemoteBackend() override { Drain(milliseconds(0)); }

  absl::StatusOr<Accepted> Generate(GenerateRequest request,
                                    std::shared_ptr<EventSink> sink) override;
  void Cancel(std::string_view id) override;
  void Resume(std::string_view id) override;
  absl::StatusOr<Tokenized> Tokenize(const std::variant<ChatPrompt, TextPrompt>& input,
                                     const TokenizeOptions& options) const override;
  absl::StatusOr<std::string> Detokenize(std::span<const TokenId> ids) const override;
  Load load() const override;
  absl::Status health() const override { return server_->HealthOf(model_); }
  const ModelDetails& details() const override { return details_; }
  void Drain(milliseconds timeout) override;

  // Of the calls.
  void Unpause(const RemoteCall& call) { server_->client().Unpause(ExchangeOf(call)); }
  void Abort(const RemoteCall& call) { server_->client().Cancel(ExchangeOf(call)); }
  void Ended(RemoteCall& call, const Event& last);

 private:
  absl::StatusOr<base::JsonDocument> AskTokenizer(std::string_view route, std::string body) const;
  std::shared_ptr<RemoteCall> Find(std::string_view id) const;
  std::shared_ptr<HttpExchange> ExchangeOf(const RemoteCall& call) const {
    const std::lock_guard lock(mutex_);
    return call.exchange;
  }

  const std::shared_ptr<RemoteServer> server_;
  const std::string model_;
  const std::shared_ptr<ModelLog> log_;
  const ModelDetails details_;

  mutable std::mutex mutex_;
  std::condition_variable idle_;
  std::unordered_map<std::string, std::shared_ptr<RemoteCall>> live_;
  bool draining_ = false;
  Load totals_;
};

// ---- one call
// ------------------------------------------------------------------------------------

HttpFlow RemoteCall::OnBody(std::string_view bytes) {
  if (head_.status != 200) {
    error_body_ += bytes.substr(0, kErrorBytesMax - std::min(error_body_.size(), kErrorBytesMax));
    return HttpFlow::kContinue;
  }
  if (head_.content_type != "text/event-stream") {
    error_ = base::WithReason(base::Internal("the remote server did not answer with a stream"),
                              "upstream_invalid");
    return HttpFlow::kStop;
  }
  error_ = parser_.Feed(bytes);
  if (error_.ok()) ReadEvents();
  if (!error_.ok() || enough_) return HttpFlow::kStop;
  return sink_.paused() ? HttpFlow::kPause : HttpFlow::kContinue;
}

void RemoteCall::ReadEvents() {
  std::vector<Event> events;
  while (error_.ok() && !stream_.done()) {
    const std::optional<SseEvent> event = parser_.Next();
    if (!event) break;
    error_ = stream_.Read(event->data, &events);
  }
  if (error_.ok()) error_ = parser_.status();
  enough_ = stream_.done();
  for (Event& event : events) sink_.Tell(std::move(event));
}

// Before the last event, and not after it: the backend may be gone then.
void RemoteCall::TellBackend(const Event& last) { backend_->Ended(*this, last); }

void RemoteCall::GoOn() {
  const bool all_told = sink_.GoOn();
  if (all_told && !over_ && !sink_.done()) backend_->Unpause(*this);
}

void RemoteCall::OnCancel() {
  if (sink_.done()) return;
  if (!over_) return backend_->Abort(*this);
  sink_.Drop();
  sink_.Tell(Outcome(absl::OkStatus()));
}

Event RemoteCall::Outcome(const absl::Status& status) {
  if (cancelled) {
    Finished finished;
    finished.reason = Finished::Reason::kCancelled;
    return finished;
  }
  absl::Status failure = error_;
  if (failure.ok() && !enough_) failure = status;
  if (failure.ok() && head_.status != 200) failure = OpenAiError(head_, error_body_);
  if (failure.ok()) {
    std::vector<Event> events;
    absl::StatusOr<Finished> finished = stream_.End(&events);
    for (Event& event : events) sink_.Tell(std::move(event));
    if (finished.ok()) {
      const SteadyTime now = base::Clock::System().Now();
      finished->timings.prefill_ms = base::MillisBetween(submitted_, first_byte_);
      finished->timings.decode_ms = base::MillisBetween(first_byte_, now);
      return *std::move(finished);
    }
    failure = finished.status();
  }
  // A cancellation that nobody asked for: the worker is going.
  if (absl::IsCancelled(failure)) failure = base::Unavailable("the worker is stopping");
  // What was told cannot be told again by another worker.
  if (stream_.emitted() && absl::IsUnavailable(failure)) {
    failure = base::WithReason(base::Internal(std::string(failure.message())), "upstream_lost");
  }
  return Failed{std::move(failure)};
}

void RemoteCall::OnEnd(const absl::Status& status) {
  const std::shared_ptr<RemoteCall> self = shared_from_this();  // the backend forgets us
  over_ = true;
  Event last = Outcome(status);
  if (cancelled) sink_.Drop();
  sink_.Tell(std::move(last));
}

// ---- the backend
// ---------------------------------------------------------------------------------

absl::StatusOr<Accepted> RemoteBackend::Generate(GenerateRequest request,
                                                 std::shared_ptr<EventSink> sink) {
  if (request.resume && request.resume->begun()) {
    return base::WithReason(
        base::Internal("the stream broke, and a remote model's cannot be taken up again"),
        "upstream_lost");
  }
  RETURN_IF_ERROR(health());
  ASSIGN_OR_RETURN(OpenAiCall encoded,
                   EncodeOpenAiCall(request, model_, server_->settings().dialect));
  Accepted accepted;
  const uint64_t drawn = std::hash<std::string>()(base::NewId(""));
  accepted.seed = request.resume ? request.resume->seed : request.sampling.seed.value_or(drawn);

  HttpRequest http;
  http.url = server_->settings().url + (encoded.chat ? "/chat/completions" : "/completions");
  http.headers = server_->settings().headers;
  http.body = std::move(encoded.body);
  http.times = server_->settings().times;
  OpenAiStream::Options options{.split_reasoning = request.split_reasoning,
                                .logprobs = request.top_logprobs >= 0,
                                .call_id_prefix = base::NewId("call_") + "_"};
  auto call = std::make_shared<RemoteCall>(this, request.id, std::move(sink), std::move(options));
  const std::lock_guard lock(mutex_);
  if (draining_) return base::Unavailable("draining");
  if (live_.count(call->id()) > 0) {
    return base::Internal(absl::StrCat("request id ", call->id(), " is already live"));
  }
  ASSIGN_OR_RETURN(call->exchange, server_->client().Start(std::move(http), call));
  live_.emplace(call->id(), call);
  return accepted;
}

std::shared_ptr<RemoteCall> RemoteBackend::Find(std::string_view id) const {
  const std::lock_guard lock(mutex_);
  const auto found = live_.find(std::string(id));
  return found == live_.end() ? nullptr : found->second;
}

void RemoteBackend::Cancel(std::string_view id) {
  const std::shared_ptr<RemoteCall> call = Find(id);
  if (call == nullptr) return;
  call->cancelled = true;
  server_->client().Post([call] { call->OnCancel(); });
}

void RemoteBackend::Resume(std::string_view id) {
  const std::shared_ptr<RemoteCall> call = Find(id);
  if (call == nullptr) return;
  call->sink().NoteResume();
  server_->client().Post([call] { call->GoOn(); });
}

void RemoteBackend::Ended(RemoteCall& call, const Event& last) {
  const auto* failed = std::get_if<Failed>(&last);
  if (failed != nullptr) {
    const std::string reason = base::ReasonOf(failed->status);
    if (reason == "upstream_unreachable") server_->NoteUnreachable(failed->status);
    if (log_) {
      log_->Add(base::LogLevel::kWarning, "the remote server failed",
                {{"request", call.id()},
                 {"code", absl::StatusCodeToString(failed->status.code())},
                 {"reason", reason}});
    }
  }
  const std::lock_guard lock(mutex_);
  if (const auto* finished = std::get_if<Finished>(&last)) {
    totals_.prompt_tokens_total += finished->usage.prompt_tokens;
    totals_.cached_tokens_total += finished->usage.cached_tokens;
    totals_.output_tokens_total += finished->usage.completion_tokens;
    if (finished->reason == Finished::Reason::kCancelled) ++totals_.cancelled_total;
  }
  call.exchange = nullptr;  // it keeps the call
  live_.erase(call.id());
  idle_.notify_all();
}

absl::StatusOr<base::JsonDocument> RemoteBackend::AskTokenizer(std::string_view route,
                                                               std::string body) const {
  // Beside the API: /tokenize, not /v1/tokenize.
  const absl::string_view base_url =
      absl::StripSuffix(absl::string_view(server_->settings().url), "/v1");
  HttpRequest request;
  request.url = absl::StrCat(base_url, std::string(route));
  request.headers = server_->settings().headers;
  request.body = std::move(body);
  request.times = server_->settings().times;
  request.times.first_byte = request.times.total = kRemoteAskTime;
  ASSIGN_OR_RETURN(const HttpReply reply,
                   Fetch(server_->client(), std::move(request), kTokenizeBytesMax));
  if (reply.head.status == 404 || reply.head.status == 405 || reply.head.status == 501) {
    return base::Unimplemented("the remote server shows no tokenizer");
  }
  if (reply.head.status != 200) return OpenAiError(reply.head, reply.body);
  auto document = base::JsonDocument::Parse(reply.body);
  if (document.ok()) return document;
  return base::WithReason(base::Internal("the remote tokenizer's answer is not understood"),
                          "upstream_invalid");
}

absl::StatusOr<Tokenized> RemoteBackend::Tokenize(const std::variant<ChatPrompt, TextPrompt>& input,
                                                  const TokenizeOptions& options) const {
  ASSIGN_OR_RETURN(const base::JsonDocument document,
                   AskTokenizer("/tokenize", EncodeTokenizeCall(input, options, model_)));
  const base::JsonValue tokens = document.root().Get("tokens");
  Tokenized out;
  absl::Status status = tokens.ExpectArray();
  for (size_t i = 0; status.ok() && i < tokens.size(); ++i) {
    const auto id = tokens.At(i).AsInt(0, 1 << 30);
    status = id.status();
    if (id.ok()) out.ids.push_back(static_cast<TokenId>(*id));
  }
  if (status.ok()) return out;
  return base::WithReason(base::Internal("the remote tokenizer's answer is not understood"),
                          "upstream_invalid");
}

absl::StatusOr<std::string> RemoteBackend::Detokenize(std::span<const TokenId> ids) const {
  base::JsonWriter json;
  json.BeginObject();
  json.Field("model", model_);
  json.Key("tokens");
  json.BeginArray();
  for (const TokenId id : ids) json.Int(id);
  json.EndArray();
  json.EndObject();
  ASSIGN_OR_RETURN(const base::JsonDocument document, AskTokenizer("/detokenize", json.Take()));
  const base::JsonValue prompt = document.root().Get("prompt");
  const auto text =
      prompt.missing() ? document.root().Get("content").AsString() : prompt.AsString();
  if (text.ok()) return text;
  return base::WithReason(base::Internal("the remote tokenizer's answer is not understood"),
                          "upstream_invalid");
}

Load RemoteBackend::load() const {
  const HttpClient::Load shared = server_->client().load();
  const std::lock_guard lock(mutex_);
  Load load = totals_;
  // Those of this model run or wait; the places are the provider's.
  const auto mine = static_cast<int32_t>(live_.size());
  load.waiting = std::min(mine, shared.waiting);
  load.running = mine - load.waiting;
  load.slots = server_->settings().client.running_max;
  return load;
}

void RemoteBackend::Drain(milliseconds timeout) {
  std::vector<std::string> left;
  {
    std::unique_lock lock(mutex_);
    draining_ = true;
    idle_.wait_for(lock, timeout, [&] { return live_.empty(); });
    for (const auto& [id, call] : live_) left.push_back(id);
  }
  for (const std::string& id : left) Cancel(id);
  // Cancelling takes a turn of the client's thread.
  std::unique_lock lock(mutex_);
  CHECK(idle_.wait_for(lock, kCancelMax, [&] { return live_.empty(); }));
}

// ---- the provider
// --------------------------------------------------------------------------------

class RemoteOpenAi final : public Provider {
 public:
  RemoteOpenAi(std::string id, RemoteSettings settings)
      : id_(std::move(id)), server_(std::make_shared<RemoteServer>(std::move(settings))) {}

  const std::string& id() const override { return id_; }
  std::string_view type() const override { return "remote::openai"; }
  ProviderStatus status() const override { return server_->status(); }

  absl::StatusOr<std::unique_ptr<Backend>> Open(const ProviderModel& model) override {
    absl::StatusOr<base::JsonDocument> document =
        base::JsonDocument::Parse(model.config_json.empty() ? "{}" : model.config_json);
    RETURN_IF_ERROR(base::Annotate(document.status(), "config_json"));
    ModelDetails details;
    details.format = "remote";
    details.family = "openai";
    details.capabilities = {"completion", "tools"};
    Settings settings(document->root());
    settings.Read("context_length", &details.context_length, 1, 1 << 30);
    settings.Read("capabilities", &details.capabilities);
    RETURN_IF_ERROR(base::Annotate(settings.Finish(), "config_json"));
    ASSIGN_OR_RETURN(const RemoteModels models, server_->Ask());
    const auto found = models.find(model.model_id);
    if (found == models.end()) {
      return base::WithParam(
          base::NotFound(
              absl::StrCat("provider_model_id: ", id_, " does not serve \"", model.model_id, "\"")),
          "provider_model_id");
    }
    if (details.context_length == 0) details.context_length = found->second.context_length;
    details.revision = absl::StrCat(
        "remote-",
        absl::Hex(std::hash<std::string>()(server_->settings().url + "\n" + model.model_id)));
    return FanOutAnswers(std::make_unique<RemoteBackend>(server_, model, std::move(details)));
  }

 private:
  const std::string id_;
  const std::shared_ptr<RemoteServer> server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Provider>> OpenRemoteOpenAi(const ProviderConfig& config) {
  ASSIGN_OR_RETURN(RemoteSettings settings, ReadRemoteSettings(config.settings));
  return std::make_unique<RemoteOpenAi>(config.id, std::move(settings));
}

}  // namespace conclave::backends
