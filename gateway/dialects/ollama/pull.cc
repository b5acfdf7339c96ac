// POST /api/pull: every worker that takes files fetches the model from where its own configuration
// says; then it is registered.
#include <optional>
#include <utility>
#include <vector>

#include "gateway/dialects/ollama/create_request.h"
#include "gateway/dialects/ollama/errors.h"
#include "gateway/dialects/ollama/names.h"
#include "gateway/dialects/ollama/routes.h"
#include "gateway/dialects/ollama/status_lines.h"
#include "gateway/dialects/registry.h"

namespace conclave::gateway::ollama {
namespace {

// The lines of one pull on their way out. Nothing is sent before the first: until then an error has
// its own status.
class Lines final {
 public:
  Lines(Exchange& exchange, bool stream) : exchange_(exchange), stream_(stream) {}

  Task<bool> Write(std::string line) {
    last_ = line;
    if (!stream_) co_return exchange_.out.cancel_reason() == CancelReason::kNone;
    if (!exchange_.out.started()) {
      const bool began = co_await exchange_.out.BeginStream(200, "application/x-ndjson", {});
      if (!began) co_return false;
    }
    co_return co_await exchange_.out.Write(line);
  }
  Task<void> Fail(absl::Status status) {
    if (!exchange_.out.started()) {
      co_await ReplyError(exchange_, std::move(status), ErrorJson);
      co_return;
    }
    const ErrorInfo error = ErrorInfoOf(status);
    exchange_.record.error_code = error.reason.empty() ? "pull_failed" : error.reason;
    const bool written = co_await exchange_.out.Write(ErrorJson(error) + "\n");
    if (written) co_await exchange_.out.EndStream();
  }
  Task<void> End() {
    if (stream_) {
      co_await exchange_.out.EndStream();
      co_return;
    }
    co_await ReplyLines(exchange_, false, last_);
  }

 private:
  Exchange& exchange_;
  const bool stream_;
  std::string last_;
};

Task<absl::StatusOr<v1::PulledModel>> PullOn(const Services& services, Exchange& exchange,
                                             std::string worker, std::string name, Lines& lines) {
  v1::PullModelRequest request;
  request.set_name(std::move(name));
  Call<v1::PullModelProgress> call = services.files->PullModel(
      worker, std::move(request), std::chrono::steady_clock::now() + services.times.transfer);
  exchange.out.OnCancel([stream = call.get()] { stream->Cancel(); });
  std::optional<v1::PulledModel> pulled;
  while (true) {
    std::vector<v1::PullModelProgress> events;
    const StreamGot got = co_await call->Next(&events, base::SteadyTime::max());
    if (got == StreamGot::kEnd) break;
    for (v1::PullModelProgress& event : events) {
      if (event.has_pulled()) {
        pulled = std::move(*event.mutable_pulled());
        continue;
      }
      std::string line = event.total() == 0
                             ? StatusLine(event.status())
                             : StatusLine(event.status(), {.digest = event.digest(),
                                                           .total = event.total(),
                                                           .completed = event.completed()});
      const bool written = co_await lines.Write(std::move(line));
      if (!written) co_return absl::CancelledError("the client has gone");
    }
  }
  exchange.out.OnCancel(nullptr);
  if (!call->status().ok()) co_return call->status();
  if (!pulled) co_return base::Internal("a pull ended without a model");
  co_return *std::move(pulled);
}

// On every worker, one after the other; one that has a copy in common with another finds it there.
// A worker that cannot does not matter while another can.
Task<absl::StatusOr<v1::PulledModel>> PullOnAll(const Services& services, Exchange& exchange,
                                                std::string name, Lines& lines) {
  absl::StatusOr<v1::PulledModel> result =
      base::WithReason(base::Unavailable("no worker is available"), "no_worker");
  bool first = true;
  for (const std::string& worker : services.files->Workers()) {
    absl::StatusOr<v1::PulledModel> pulled =
        co_await PullOn(services, exchange, worker, name, lines);
    if (absl::IsCancelled(pulled.status())) co_return pulled;
    if (pulled.ok() || (first && !result.ok())) result = std::move(pulled);
    first = false;
  }
  co_return result;
}

v1::RegisterModelRequest RegistrationOf(std::string name, v1::PulledModel pulled) {
  v1::RegisterModelRequest request;
  v1::ModelRegistration* registration = request.mutable_registration();
  registration->set_name(std::move(name));
  registration->set_path(pulled.path());
  if (pulled.has_derived()) *registration->mutable_derived() = std::move(*pulled.mutable_derived());
  request.set_replace(true);
  return request;
}

Task<void> Pull(const Services& services, Exchange& exchange) {
  const absl::StatusOr<PullRequest> request = DecodePullRequest(exchange.request.body);
  if (!request.ok()) {
    co_await ReplyError(exchange, request.status(), ErrorJson);
    co_return;
  }
  Lines lines(exchange, request->stream);
  absl::StatusOr<v1::PulledModel> pulled =
      co_await PullOnAll(services, exchange, request->name, lines);
  absl::Status status = pulled.status();
  if (status.ok()) {
    const bool written = co_await lines.Write(StatusLine("writing manifest"));
    if (!written) co_return;
    const absl::StatusOr<v1::ModelRegistration> made = co_await RegisterModel(
        services, exchange, RegistrationOf(Untagged(request->name), *std::move(pulled)));
    status = made.status();
  }
  if (!status.ok()) {
    co_await lines.Fail(std::move(status));
    co_return;
  }
  const bool written = co_await lines.Write(StatusLine("success"));
  if (written) co_await lines.End();
}

}  // namespace

void AddPullRoutes(Router& router, const Services& services) {
  router.Add(
      "POST", "/api/pull", [&services](Exchange& e) { return Pull(services, e); },
      AdminRoute(/*any_content_type=*/true));
}

}  // namespace conclave::gateway::ollama
