#include "gateway/dialects/openai/run_stream.h"

#include <string>
#include <utility>
#include <vector>

#include "gateway/dialects/openai/assistants_encode.h"
#include "gateway/dialects/openai/errors.h"
#include "gateway/dialects/openai/kt_legacy.h"
#include "gateway/dialects/sse.h"

namespace conclave::gateway::openai {
namespace {

using std::chrono::steady_clock;

void NoteUsage(const v1::RunEvent& event, AccessRecord* record) {
  if (!event.has_run() || !event.run().has_usage()) return;
  record->prompt_tokens = event.run().usage().prompt_tokens();
  record->cached_tokens = event.run().usage().cached_tokens();
  record->completion_tokens = event.run().usage().completion_tokens();
}

// The last words of a stream: done, or the error in the envelope, which both SDKs raise.
std::string LastWords(Exchange& exchange, const absl::Status& ended) {
  std::string bytes;
  absl::Status status = ended;
  if (exchange.out.cancel_reason() == CancelReason::kDrain) {
    status = base::WithReason(base::Unavailable("the server is shutting down; the run goes on"),
                              "server_draining");
  }
  if (status.ok()) {
    if (exchange.request.profile == CompatProfile::kKtLegacy) {
      AppendSse("[DONE]", &bytes);
    } else {
      AppendSse("done", "[DONE]", &bytes);
    }
    return bytes;
  }
  ErrorInfo error = ErrorInfoOf(status);
  error.profile = exchange.request.profile;
  exchange.record.error_code =
      error.reason.empty() ? absl::StatusCodeToString(status.code()) : error.reason;
  AppendSse("error", ErrorJson(error), &bytes);
  exchange.out.Abort();
  return bytes;
}

}  // namespace

Task<void> StreamRun(const Services& services, Exchange& exchange, const v1::Run& run) {
  v1::StreamRunRequest request;
  *request.mutable_meta() = MetaOf(exchange.request);
  request.set_thread_id(run.thread_id());
  request.set_run_id(run.id());
  request.set_after_seq(run.event_seq());
  const Call<v1::RunEvent> call =
      services.store->StreamRun(std::move(request), steady_clock::now() + services.times.run);
  // Only the listening ends when the client goes; the run itself is the store's.
  exchange.out.OnCancel([stream = call.get()] { stream->Cancel(); });
  HeaderList headers = {{"Cache-Control", "no-cache"}, {"X-Accel-Buffering", "no"}};
  bool open = co_await exchange.out.BeginStream(200, kSseType, headers);
  base::SteadyTime last_write = steady_clock::now();
  std::vector<v1::RunEvent> events;
  std::string bytes;
  bool told_error = false;
  const bool filtered = exchange.request.profile == CompatProfile::kKtLegacy;
  while (true) {
    const StreamGot got = co_await call->Next(&events, last_write + services.times.keep_alive);
    if (got == StreamGot::kEnd) break;
    for (const v1::RunEvent& event : events) {
      NoteUsage(event, &exchange.record);
      told_error = told_error || event.has_error();
      if (filtered && !KtSendsEvent(event.event())) continue;
      AppendSse(event.event(), EncodeRunEventData(event), &bytes);
    }
    events.clear();
    if (got == StreamGot::kTimeout) bytes += ": ping\n";
    if (open) open = co_await exchange.out.Write(bytes);
    bytes.clear();
    last_write = steady_clock::now();
  }
  exchange.out.OnCancel(nullptr);
  if (!open || exchange.out.cancel_reason() == CancelReason::kClientGone) co_return;
  // After an error there is no "done": it would say that all is well.
  if (told_error) {
    exchange.out.Abort();
  } else {
    bytes = LastWords(exchange, call->status());
    co_await exchange.out.Write(bytes);
  }
  co_await exchange.out.EndStream();
}

}  // namespace conclave::gateway::openai
