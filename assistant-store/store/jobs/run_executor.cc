#include "store/jobs/run_executor.h"

#include <algorithm>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/strings.h"
#include "mesh/blocking_generate.h"
#include "store/jobs/conversation.h"

namespace conclave::store {
namespace {

namespace pb = conclave::v1;
using std::chrono::milliseconds;

// How soon a wish of others (cancel, stop) is noticed while nothing comes from the worker.
constexpr milliseconds kLookAround{100};
constexpr milliseconds kTokenizeTimeout{10'000};
constexpr milliseconds kRetryPauseMin{100};
constexpr milliseconds kRetryPauseMax{2'000};
// A model that nobody knows may still be loading on a worker that has just appeared.
constexpr milliseconds kUnknownModelPatience{5'000};

base::SteadyTime Now() { return std::chrono::steady_clock::now(); }

// OpenAI's words for what went wrong.
std::string_view ErrorCode(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kResourceExhausted:
      return "rate_limit_exceeded";
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
      return "invalid_prompt";
    default:
      return "server_error";
  }
}

// What an asynchronous call hands over to the thread that waits for it.
class TokenizeWait final {
 public:
  void Set(absl::StatusOr<pb::TokenizeReply> reply) {
    {
      const std::lock_guard lock(mutex_);
      reply_ = std::move(reply);
    }
    done_.notify_all();
  }
  absl::StatusOr<pb::TokenizeReply> Get(milliseconds timeout) {
    std::unique_lock lock(mutex_);
    if (!done_.wait_for(lock, timeout, [this] { return reply_.has_value(); })) {
      return absl::DeadlineExceededError("the prompt was not tokenized in time");
    }
    return *std::move(reply_);
  }

 private:
  std::mutex mutex_;
  std::condition_variable done_;
  std::optional<absl::StatusOr<pb::TokenizeReply>> reply_;
};

}  // namespace

absl::Status RunExecutor::Execute() {
  RETURN_IF_ERROR(recorder_.Begin());
  if (recorder_.ended()) return absl::OkStatus();
  expires_at_ = Now() + recorder_.expires_in();
  last_progress_ = Now();
  const pb::Run& run = recorder_.history().run;
  if (CompletionTokensLeft(run).value_or(1) <= 0) {
    return recorder_.EndAtLimit("max_completion_tokens");
  }
  if (PromptTokensLeft(run).value_or(1) <= 0) return recorder_.EndAtLimit("max_prompt_tokens");

  milliseconds pause = kRetryPauseMin;
  while (true) {
    if (const std::optional<Result> wish = Wish()) return Settle(*wish);
    pb::GenerateRequest request;
    Result result;
    const absl::Status prepared = Prepare(&request);
    if (base::ReasonOf(prepared) == "max_prompt_tokens") {
      return recorder_.EndAtLimit("max_prompt_tokens");
    }
    if (prepared.ok()) {
      ASSIGN_OR_RETURN(result, Attempt(request));
    } else {
      result.error = prepared;
    }
    if (result.outcome != Outcome::kFailed || !MayRetry(result.error, Now())) {
      return Settle(result);
    }
    control_.Wait(pause);
    pause = std::min(pause * 2, kRetryPauseMax);
  }
}

std::optional<RunExecutor::Result> RunExecutor::Wish() const {
  if (control_.abandoned() || control_.lost()) return Result{.outcome = Outcome::kLost};
  if (control_.cancelling()) return Result{.outcome = Outcome::kCancelled};
  if (control_.stopping()) return Result{.outcome = Outcome::kStopped};
  if (Now() >= expires_at_) return Result{.outcome = Outcome::kExpired};
  return std::nullopt;
}

absl::Status RunExecutor::Prepare(pb::GenerateRequest* request) {
  RunHistory history = recorder_.history();
  const std::string& tenant = recorder_.tenant();
  const TruncationLimits limits{.prompt_tokens_max = PromptTokensLeft(history.run).value_or(0),
                                .context_length = ContextLength()};
  RETURN_IF_ERROR(Truncate(
      limits, [this](const pb::GenerateRequest& r) { return CountPromptTokens(r); }, tenant,
      &history));
  ASSIGN_OR_RETURN(*request, MakeRequest(history, tenant));
  if (std::optional<pb::ResumeState> resume = recorder_.Resume()) {
    resume->set_seed(request->sampling().seed());
    *request->mutable_resume() = *std::move(resume);
  }
  return absl::OkStatus();
}

int RunExecutor::ContextLength() const {
  for (const auto& worker : client_.discovery().fleet()->workers) {
    const pb::ModelStatus* model = worker->FindModel(recorder_.history().run.model());
    if (model != nullptr && model->context_length() > 0) return model->context_length();
  }
  return 0;
}

absl::StatusOr<int> RunExecutor::CountPromptTokens(const pb::GenerateRequest& request) {
  pb::TokenizeRequest tokenize;
  *tokenize.mutable_meta() = request.meta();
  tokenize.set_model(request.model());
  *tokenize.mutable_chat() = request.chat();
  // Shared with the callback, which may come after we have stopped waiting.
  const auto wait = std::make_shared<TokenizeWait>();
  client_.Tokenize(
      std::move(tokenize), {.deadline = Now() + kTokenizeTimeout},
      [wait](absl::StatusOr<pb::TokenizeReply> reply) { wait->Set(std::move(reply)); });
  ASSIGN_OR_RETURN(const pb::TokenizeReply reply, wait->Get(kTokenizeTimeout));
  return reply.token_ids_size();
}

absl::StatusOr<RunExecutor::Result> RunExecutor::Attempt(const pb::GenerateRequest& request) {
  mesh::BlockingGenerate stream(client_, request, {.deadline = expires_at_});
  Result result;
  bool finished = false;
  while (true) {
    if (std::optional<Result> wish = Wish()) return *wish;
    if (FlushIsDue(Now())) {
      RETURN_IF_ERROR(recorder_.Flush());
      last_flush_ = Now();
    }
    const milliseconds wait =
        recorder_.has_news() ? std::min(options_.flush_every, kLookAround) : kLookAround;
    absl::StatusOr<std::optional<pb::GenerateEvent>> event = stream.Next(wait);
    if (absl::IsDeadlineExceeded(event.status())) continue;
    RETURN_IF_ERROR(event.status());
    if (!event->has_value()) break;
    if (absl::Status taken = Take(**event); !taken.ok()) {
      return Result{.outcome = Outcome::kFailed, .error = std::move(taken)};
    }
    if ((*event)->has_finished()) {
      finished = true;
      result.finished = (*event)->finished();
    }
  }
  result.error = stream.status();
  if (result.error.ok() && finished) {
    result.outcome = Outcome::kFinished;
    // Nobody but us cancels a run's generation; a worker that gave it up is a lost one.
    if (result.finished.reason() == pb::Finished::REASON_CANCELLED) {
      result.outcome = Outcome::kFailed;
      result.error = base::Unavailable("the worker gave the request up");
    }
  } else if (result.error.ok()) {
    result.error = base::Unavailable("the stream ended without a finish");
  }
  return result;
}

absl::Status RunExecutor::Take(const pb::GenerateEvent& event) {
  if (event.has_accepted()) return recorder_.Accept(event.accepted());
  if (!event.has_delta()) return absl::OkStatus();
  last_progress_ = Now();
  return recorder_.Add(event.delta());
}

bool RunExecutor::FlushIsDue(base::SteadyTime now) const {
  if (!recorder_.pending()) return false;
  if (recorder_.pending_tokens() >= options_.flush_tokens) return true;
  // Tokens that tell nobody anything (reasoning, held back bytes) can wait for company.
  return recorder_.has_news() && now - last_flush_ >= options_.flush_every;
}

bool RunExecutor::MayRetry(const absl::Status& error, base::SteadyTime now) const {
  const auto waited = now - last_progress_;
  switch (error.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kCancelled:
    case absl::StatusCode::kUnknown:
    case absl::StatusCode::kDeadlineExceeded:
      return waited < options_.worker_patience;
    case absl::StatusCode::kNotFound:
      return waited < std::min(options_.worker_patience, kUnknownModelPatience);
    default:
      return false;
  }
}

absl::Status RunExecutor::Settle(const Result& result) {
  switch (result.outcome) {
    case Outcome::kFinished:
      return recorder_.Finish(result.finished);
    case Outcome::kCancelled:
      return recorder_.End(pb::RUN_STATUS_CANCELLED, nullptr);
    case Outcome::kExpired:
      return recorder_.End(pb::RUN_STATUS_EXPIRED, nullptr);
    case Outcome::kStopped:
      RETURN_IF_ERROR(recorder_.Flush());
      return base::Unavailable("stopping");
    case Outcome::kLost:
      return base::WithReason(absl::AbortedError("the run is not ours any more"), kLeaseLost);
    case Outcome::kFailed:
      break;
  }
  return Fail(result.error);
}

absl::Status RunExecutor::Fail(const absl::Status& error) {
  pb::RunError told;
  told.set_code(std::string(ErrorCode(error.code())));
  // What went wrong inside is for the log; a caller can do nothing with it. Without a reason
  // UNAVAILABLE comes from the transport and names our addresses.
  const bool internal = absl::IsInternal(error) || absl::IsUnknown(error) ||
                        (absl::IsUnavailable(error) && base::ReasonOf(error).empty());
  told.set_message(internal ? "Sorry, something went wrong." : std::string(error.message()));
  base::LogWarning("run failed", {{"run", recorder_.history().run.id()},
                                  {"code", absl::StatusCodeToString(error.code())},
                                  {"reason", base::ReasonOf(error)}});
  return recorder_.End(pb::RUN_STATUS_FAILED, &told);
}

}  // namespace conclave::store
