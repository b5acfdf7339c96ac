#include "gateway/dialects/generation.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/strings.h"
#include "gateway/http/error_response.h"
#include "gateway/upstream/joined_call.h"

namespace conclave::gateway {
namespace {

using base::SteadyTime;
using std::chrono::steady_clock;

double SecondsBetween(SteadyTime from, SteadyTime to) {
  return std::chrono::duration<double>(to - from).count();
}

// Counts what passes: first token, gaps, usage. One per generation.
class Watcher final {
 public:
  Watcher(const Services& services, Exchange& exchange, const std::string& model)
      : record_(exchange.record),
        began_(exchange.request.received_at),
        metrics_(services.metrics->ForModel(model)) {}

  void OnEvent(const v1::GenerateEvent& event) {
    if (event.has_accepted()) record_.worker = event.accepted().worker_id();
    if (event.has_delta()) OnTokens(event.delta().token_ids_size());
    if (event.has_finished()) OnUsage(event.finished().usage());
  }

 private:
  void OnTokens(int count) {
    if (count == 0) return;
    const SteadyTime now = steady_clock::now();
    if (record_.ttft_ms == 0) {
      record_.ttft_ms = SecondsBetween(began_, now) * 1000;
      metrics_->ttft_seconds.Observe(record_.ttft_ms / 1000);
    } else {
      metrics_->itl_seconds.Observe(SecondsBetween(last_token_, now) / count);
    }
    last_token_ = now;
  }

  void OnUsage(const v1::Usage& usage) {
    // A prompt is the same for all its choices; with several, the count grows.
    AddWhatIsNew(usage.prompt_tokens(), &record_.prompt_tokens, metrics_->prompt_tokens);
    AddWhatIsNew(usage.cached_tokens(), &record_.cached_tokens, metrics_->cached_tokens);
    record_.completion_tokens += usage.completion_tokens();
    metrics_->completion_tokens.Add(usage.completion_tokens());
    metrics_->reasoning_tokens.Add(usage.reasoning_tokens());
  }

  template <typename Count, typename Counter>
  static void AddWhatIsNew(int32_t told, Count* known, const Counter& counter) {
    if (told <= *known) return;
    counter.Add(told - *known);
    *known = told;
  }

  AccessRecord& record_;
  const SteadyTime began_;
  const std::shared_ptr<const ModelMetrics> metrics_;
  SteadyTime last_token_;
};

// A running call together with what it holds.
struct Running {
  Admission::Permit permit;
  Call<v1::GenerateEvent> call;
  std::string model;
  SteadyTime cancelled_at{};
};

// One admission for all of them.
Task<absl::StatusOr<std::unique_ptr<Running>>> Open(const Services& services, Exchange& exchange,
                                                    std::vector<v1::GenerateRequest> requests) {
  const absl::StatusOr<v1::ModelStatus> model =
      FindGenerator(services, exchange.request, requests.front().mutable_model());
  if (!model.ok()) co_return model.status();
  exchange.record.model = model->name();
  auto running = std::make_unique<Running>();
  running->model = model->name();
  const SteadyTime queued_at = steady_clock::now();
  absl::StatusOr<Admission::Permit> permit =
      co_await services.admission->Enter(model->name(), exchange.out);
  if (!permit.ok()) co_return permit.status();
  running->permit = *std::move(permit);
  const double queue_seconds = SecondsBetween(queued_at, steady_clock::now());
  exchange.record.queue_ms = queue_seconds * 1000;
  services.metrics->queue_seconds.Observe(queue_seconds);

  for (v1::GenerateRequest& request : requests) {
    // What the dialect has set stays.
    v1::RequestMeta meta = MetaOf(services, exchange.request);
    meta.MergeFrom(request.meta());
    *request.mutable_meta() = std::move(meta);
    request.set_model(requests.front().model());
  }
  const SteadyTime deadline = steady_clock::now() + services.times.generate;
  if (requests.size() == 1) {
    running->call = services.inference->Generate(std::move(requests.front()), deadline);
  } else {
    running->call = JoinGenerations(services.inference, std::move(requests), deadline,
                                    co_await boost::asio::this_coro::executor);
  }
  exchange.out.OnCancel([raw = running.get()] {
    raw->cancelled_at = steady_clock::now();
    raw->call->Cancel();
  });
  co_return running;
}

void Close(const Services& services, Exchange& exchange, const Running& running) {
  exchange.out.OnCancel(nullptr);
  if (running.cancelled_at == SteadyTime()) return;
  services.metrics->cancel_seconds.Observe(
      SecondsBetween(running.cancelled_at, steady_clock::now()));
}

// What the end of the call means for the client.
absl::Status EndStatus(const Exchange& exchange, const absl::Status& status) {
  if (exchange.out.cancel_reason() == CancelReason::kDrain) {
    return base::WithReason(base::Unavailable("the server is shutting down"), "server_draining");
  }
  return status;
}

ErrorInfo NoteError(Exchange& exchange, const absl::Status& status) {
  ErrorInfo error = ErrorInfoOf(status);
  error.request_id = exchange.request.request_id;
  error.profile = exchange.request.profile;
  exchange.record.error_code =
      error.reason.empty() ? absl::StatusCodeToString(status.code()) : error.reason;
  if (error.http_status == 500) {
    base::LogError("request failed", {{"request_id", exchange.request.request_id},
                                      {"what", base::Std(status.message())}});
  }
  return error;
}

absl::Status CheckFinish(const v1::GenerateEvent& event) {
  if (event.has_finished() && event.finished().reason() == v1::Finished::REASON_CANCELLED) {
    return base::WithReason(base::Unavailable("the worker gave the request up"),
                            "worker_cancelled");
  }
  return absl::OkStatus();
}

// The streaming half, once the call is open.
class StreamPump final {
 public:
  StreamPump(const Services& services, Exchange& exchange, Running& running,
             GenerationEncoder& encoder, ErrorFamily errors)
      : services_(services),
        exchange_(exchange),
        running_(running),
        encoder_(encoder),
        errors_(errors),
        watcher_(services, exchange, running.model) {}

  Task<void> Run() {
    // Until the worker has accepted, an error is still an HTTP status. A long silence is not waited
    // out: the stream begins and keeps its connection alive.
    EventStream<v1::GenerateEvent>& call = *running_.call;
    StreamGot got = co_await call.Next(&events_, Until());
    while (got == StreamGot::kEvents && OnlyLoading() && !SilentTooLong()) {
      events_.clear();
      got = co_await call.Next(&events_, Until());
    }
    if (got == StreamGot::kEnd) {
      absl::Status status = EndStatus(exchange_, running_.call->status());
      if (status.ok()) status = base::Internal("a generation without events");
      co_await ReplyError(exchange_, status, errors_);
      co_return;
    }
    HeaderList headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
    bool open = co_await exchange_.out.BeginStream(200, encoder_.content_type(), headers);
    std::string bytes;
    encoder_.Begin(&bytes);
    while (got != StreamGot::kEnd) {
      Encode(got, &bytes);
      if (open && !bytes.empty()) {
        services_.metrics->stream_buffer_bytes.Add(static_cast<double>(bytes.size()));
        open = co_await exchange_.out.Write(bytes);
        services_.metrics->stream_buffer_bytes.Add(-static_cast<double>(bytes.size()));
        last_write_ = steady_clock::now();
      }
      bytes.clear();
      if (!failure_.ok()) break;
      got = co_await call.Next(&events_, Until());
    }
    if (exchange_.out.cancel_reason() == CancelReason::kClientGone || !open) co_return;
    co_await End();
  }

 private:
  // The longest wait for events.
  SteadyTime Until() const {
    const SteadyTime until = last_write_ + services_.times.keep_alive;
    return idle_at_ ? std::min(until, *idle_at_) : until;
  }

  // Whether the model has let the client wait for longer than is allowed.
  bool IsIdle() const { return idle_at_ && steady_clock::now() >= *idle_at_; }

  void NoteToken(const v1::GenerateEvent& event) {
    const bool limited = services_.times.stream_idle.count() > 0;
    if (limited && event.has_delta()) idle_at_ = steady_clock::now() + services_.times.stream_idle;
  }

  // The model is being loaded, and nothing else has been said.
  bool OnlyLoading() const {
    return std::all_of(events_.begin(), events_.end(), [](const v1::GenerateEvent& event) {
      return event.progress().phase() == v1::Progress::PHASE_LOADING;
    });
  }
  bool SilentTooLong() const {
    return steady_clock::now() >= last_write_ + services_.times.keep_alive;
  }

  void Encode(StreamGot got, std::string* bytes) {
    for (const v1::GenerateEvent& event : events_) {
      failure_ = CheckFinish(event);
      if (!failure_.ok()) return;
      watcher_.OnEvent(event);
      NoteToken(event);
      encoder_.OnEvent(event, bytes);
      failure_ = encoder_.status();
      if (!failure_.ok()) return;
    }
    events_.clear();
    if (IsIdle()) {
      failure_ = base::WithReason(
          absl::DeadlineExceededError("the model has stopped in the middle of its answer"),
          "stream_idle");
      return;
    }
    // Events that no dialect has words for are silence to the client.
    if (got == StreamGot::kTimeout || (bytes->empty() && SilentTooLong())) {
      encoder_.KeepAlive(bytes);
    }
  }

  Task<void> End() {
    absl::Status status = failure_.ok() ? running_.call->status() : failure_;
    status = EndStatus(exchange_, status);
    std::string bytes;
    if (status.ok()) {
      encoder_.End(&bytes);
    } else {
      encoder_.Error(NoteError(exchange_, status), &bytes);
      exchange_.out.Abort();
    }
    co_await exchange_.out.Write(bytes);
    co_await exchange_.out.EndStream();
  }

  const Services& services_;
  Exchange& exchange_;
  Running& running_;
  GenerationEncoder& encoder_;
  const ErrorFamily errors_;
  Watcher watcher_;
  std::vector<v1::GenerateEvent> events_;
  absl::Status failure_;
  SteadyTime last_write_ = steady_clock::now();
  std::optional<SteadyTime> idle_at_;  // when the next piece is overdue
};

void AddToolCall(const v1::ToolCallDelta& delta, std::vector<v1::ToolCall>* calls) {
  const auto index = static_cast<size_t>(std::clamp(delta.index(), 0, 1023));
  if (calls->size() <= index) calls->resize(index + 1);
  v1::ToolCall& call = (*calls)[index];
  if (!delta.id().empty()) call.set_id(delta.id());
  if (!delta.name().empty()) call.set_name(delta.name());
  call.mutable_arguments()->append(delta.arguments());
  const bool done = delta.state() == v1::ToolCallDelta::STATE_SUCCEEDED;
  // A call without arguments is a call with none.
  if (done && call.arguments().empty()) call.set_arguments("{}");
}

// CANCELLED: the client went, there is nobody to answer.
Task<absl::StatusOr<Completion>> Collect(const Services& services, Exchange& exchange,
                                         std::vector<v1::GenerateRequest> requests) {
  absl::StatusOr<std::unique_ptr<Running>> opened =
      co_await Open(services, exchange, std::move(requests));
  if (!opened.ok()) co_return opened.status();
  Running& running = **opened;
  Watcher watcher(services, exchange, running.model);
  Completion completion;
  std::vector<v1::GenerateEvent> events;
  absl::Status failure;
  while (failure.ok()) {
    const StreamGot got = co_await running.call->Next(&events, SteadyTime::max());
    if (got == StreamGot::kEnd) break;
    for (const v1::GenerateEvent& event : events) {
      watcher.OnEvent(event);
      completion.Add(event);
      if (failure.ok()) failure = CheckFinish(event);
    }
    events.clear();
  }
  Close(services, exchange, running);
  absl::Status status = failure.ok() ? running.call->status() : failure;
  status = EndStatus(exchange, status);
  if (!status.ok()) co_return status;
  if (completion.choices.empty()) co_return base::Internal("a generation without events");
  co_return completion;
}

std::vector<v1::GenerateRequest> ListOf(v1::GenerateRequest request) {
  std::vector<v1::GenerateRequest> requests;
  requests.push_back(std::move(request));
  return requests;
}

// The place of `index` in a list that grows as needed. Workers are trusted with it only so far.
template <typename T>
T& At(std::vector<T>* list, int index) {
  constexpr int kMax = 4'095;
  const auto at = static_cast<size_t>(std::clamp(index, 0, kMax));
  if (list->size() <= at) list->resize(at + 1);
  return (*list)[at];
}

}  // namespace

void WriteTokenFields(base::JsonWriter& json, const v1::TokenLogprob& token) {
  json.Field("token", token.token());
  json.Field("logprob", static_cast<double>(token.logprob()));
  json.Key("bytes");
  json.BeginArray();
  for (const char byte : token.token()) json.Int(static_cast<unsigned char>(byte));
  json.EndArray();
}

bool HasObjectArguments(const v1::ToolCall& call) {
  const auto document = base::JsonDocument::Parse(call.arguments());
  return document.ok() && document->root().is_object();
}

std::optional<v1::ModelStatus> DefaultModel(const Services& services, std::string_view capability) {
  if (!services.default_model.empty()) {
    absl::StatusOr<v1::ModelStatus> model =
        services.models->FindReady(services.default_model, services.waits_for_loading());
    if (model.ok() && Can(*model, capability)) return *std::move(model);
  }
  std::optional<v1::ModelStatus> unloaded;
  for (v1::ModelStatus& model : services.models->List()) {
    if (!Can(model, capability)) continue;
    if (model.state() == v1::ModelStatus::STATE_READY) return std::move(model);
    const bool known = model.state() == v1::ModelStatus::STATE_UNLOADED;
    if (known && !unloaded) unloaded = std::move(model);
  }
  return unloaded;
}

bool ForgivesNames(CompatProfile profile) {
  return profile == CompatProfile::kLlmServing || profile == CompatProfile::kKtLegacy;
}

absl::StatusOr<v1::ModelStatus> FindForgiving(const Services& services, const Request& request,
                                              std::string_view capability, std::string* name) {
  absl::StatusOr<v1::ModelStatus> model =
      services.models->FindReady(*name, services.waits_for_loading());
  if (!ForgivesNames(request.profile) || !absl::IsNotFound(model.status())) return model;
  std::optional<v1::ModelStatus> other = DefaultModel(services, capability);
  if (!other) return model;
  *name = other->name();
  return *std::move(other);
}

absl::StatusOr<v1::ModelStatus> FindGenerator(const Services& services, const Request& request,
                                              std::string* name) {
  absl::StatusOr<v1::ModelStatus> model = FindForgiving(services, request, "completion", name);
  if (!model.ok() || Can(*model, "completion")) return model;
  return base::WithParam(
      base::InvalidArgument("the model `" + model->name() + "` does not generate text"), "model");
}

std::string_view MissingCapability(const v1::ModelStatus& model, const v1::ChatPrompt& chat) {
  if (!chat.tools().empty() && !Can(model, "tools")) return "tools";
  const auto think = chat.template_variables().find("enable_thinking");
  const bool thinks = think != chat.template_variables().end() && think->second == "true";
  return thinks && !Can(model, "thinking") ? "thinking" : "";
}

absl::Status CheckModel(const Services& services, const Request& request,
                        const v1::ChatPrompt& chat, std::string* name) {
  ASSIGN_OR_RETURN(const v1::ModelStatus model, FindGenerator(services, request, name));
  const std::string missing(MissingCapability(model, chat));
  if (missing.empty()) return absl::OkStatus();
  return base::InvalidArgument(missing + ": not supported by the model `" + model.name() + "`");
}

void AddUsage(const v1::Usage& one, v1::Usage* all) {
  all->set_prompt_tokens(std::max(all->prompt_tokens(), one.prompt_tokens()));
  all->set_cached_tokens(std::max(all->cached_tokens(), one.cached_tokens()));
  all->set_completion_tokens(all->completion_tokens() + one.completion_tokens());
  all->set_reasoning_tokens(all->reasoning_tokens() + one.reasoning_tokens());
}

void Completion::Add(const v1::GenerateEvent& event) {
  if (event.has_accepted()) accepted = event.accepted();
  const int index = event.has_delta() ? event.delta().index() : event.finished().index();
  if (event.has_prompt_logprobs()) {
    const v1::PromptLogprobs& piece = event.prompt_logprobs();
    Prompt& prompt = At(&prompts, piece.prompt());
    prompt.tokens.insert(prompt.tokens.end(), piece.tokens().begin(), piece.tokens().end());
    prompt.text += piece.text();
  }
  if (!event.has_delta() && !event.has_finished()) return;
  Choice& choice = At(&choices, index);
  if (event.has_finished()) {
    choice.finished = event.finished();
    AddUsage(event.finished().usage(), &usage);
    timings = event.finished().timings();
    return;
  }
  const v1::Delta& delta = event.delta();
  choice.text += delta.text();
  choice.reasoning += delta.reasoning();
  if (delta.has_tool_call()) AddToolCall(delta.tool_call(), &choice.tool_calls);
  choice.logprobs.insert(choice.logprobs.end(), delta.logprobs().begin(), delta.logprobs().end());
  choice.token_ids.insert(choice.token_ids.end(), delta.token_ids().begin(),
                          delta.token_ids().end());
}

Task<void> StreamGeneration(const Services& services, Exchange& exchange,
                            v1::GenerateRequest request, GenerationEncoder& encoder,
                            ErrorFamily errors) {
  co_await StreamGenerations(services, exchange, ListOf(std::move(request)), encoder, errors);
}

Task<void> StreamGenerations(const Services& services, Exchange& exchange,
                             std::vector<v1::GenerateRequest> requests, GenerationEncoder& encoder,
                             ErrorFamily errors) {
  absl::StatusOr<std::unique_ptr<Running>> running =
      co_await Open(services, exchange, std::move(requests));
  if (!running.ok()) {
    co_await ReplyError(exchange, running.status(), errors);
    co_return;
  }
  services.metrics->streams.Add(1);
  StreamPump pump(services, exchange, **running, encoder, errors);
  co_await pump.Run();
  Close(services, exchange, **running);
  services.metrics->streams.Add(-1);
}

Task<void> ReplyGeneration(const Services& services, Exchange& exchange,
                           v1::GenerateRequest request,
                           std::function<std::string(const Completion&)> encode,
                           ErrorFamily errors) {
  co_await ReplyGenerations(services, exchange, ListOf(std::move(request)), std::move(encode),
                            errors);
}

Task<void> ReplyGenerations(const Services& services, Exchange& exchange,
                            std::vector<v1::GenerateRequest> requests,
                            std::function<std::string(const Completion&)> encode,
                            ErrorFamily errors) {
  const absl::StatusOr<Completion> completion =
      co_await Collect(services, exchange, std::move(requests));
  if (!completion.ok()) {
    co_await ReplyError(exchange, completion.status(), errors);
    co_return;
  }
  co_await ReplyJson(exchange, encode(*completion));
}

Task<void> ReplyError(Exchange& exchange, absl::Status status, ErrorFamily errors) {
  const ErrorInfo error = NoteError(exchange, status);
  if (absl::IsCancelled(status)) co_return;
  Response response = MakeErrorResponse(error, errors);
  co_await exchange.out.Reply(std::move(response));
}

Task<void> ReplyJson(Exchange& exchange, std::string body) {
  Response response;
  response.body = std::move(body);
  co_await exchange.out.Reply(std::move(response));
}

}  // namespace conclave::gateway
