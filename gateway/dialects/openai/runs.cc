// /v1/threads/{thread}/runs, their steps, and their streams.
#include "gateway/dialects/openai/assistants_encode.h"
#include "gateway/dialects/openai/run_stream.h"
#include "gateway/dialects/openai/store_routes.h"

namespace conclave::gateway::openai {
namespace {

// What the SDKs' polling helpers wait between two looks at a run that has not ended.
constexpr std::string_view kPollAfterMs = "250";

std::string ThreadOf(const Exchange& exchange) {
  return std::string(exchange.request.Param("thread"));
}
std::string RunOf(const Exchange& exchange) { return std::string(exchange.request.Param("run")); }

template <typename StoreRequest>
void SetMeta(StoreRequest& request, v1::RequestMeta meta) {
  *request.mutable_meta() = std::move(meta);
}
void SetMeta(v1::CreateThreadAndRunRequest& request, v1::RequestMeta meta) {
  *request.mutable_thread()->mutable_meta() = meta;
  *request.mutable_run()->mutable_meta() = std::move(meta);
}

// A call that gives a run, answered with the run or with its stream, as the body's "stream" says.
template <typename StoreRequest>
Task<void> RunCall(const Services& services, Exchange& exchange,
                   Call<v1::Run> (StoreUpstream::*method)(StoreRequest, base::SteadyTime),
                   absl::StatusOr<StoreRequest> request, bool stream) {
  absl::Status status = CheckStore(services);
  if (status.ok()) status = request.status();
  if (!status.ok()) {
    co_await ReplyError(exchange, status, ErrorJson);
    co_return;
  }
  SetMeta(*request, MetaOf(exchange.request));
  Call<v1::Run> call = (services.store->*method)(
      *std::move(request), std::chrono::steady_clock::now() + services.times.store);
  absl::StatusOr<v1::Run> run = co_await AwaitReply(std::move(call), exchange.out);
  if (!run.ok()) {
    co_await ReplyError(exchange, run.status(), ErrorJson);
    co_return;
  }
  exchange.record.model = run->model();
  if (stream) {
    co_await StreamRun(services, exchange, *run);
  } else {
    co_await ReplyJson(exchange, Encode(*run));
  }
}

absl::StatusOr<bool> WantsStream(const Exchange& exchange) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, ParseStoredBody(exchange.request.body));
  ASSIGN_OR_RETURN(const std::optional<bool> stream, document.root().Get("stream").OptionalBool());
  return stream.value_or(false);
}

// The request of a decoder together with its stream flag; the first complaint of either.
template <typename StoreRequest>
struct Prepared {
  absl::StatusOr<StoreRequest> request;
  bool stream = false;
};
template <typename StoreRequest, typename Decode>
Prepared<StoreRequest> Prepare(const Exchange& exchange, Decode decode) {
  Prepared<StoreRequest> prepared{DecodeBody(exchange, decode), false};
  const absl::StatusOr<bool> stream = WantsStream(exchange);
  if (!stream.ok()) {
    prepared.request = stream.status();
  } else {
    prepared.stream = *stream;
  }
  return prepared;
}

Task<void> CreateRun(const Services& services, Exchange& exchange) {
  auto prepared = Prepare<v1::CreateRunRequest>(exchange, DecodeCreateRun);
  if (prepared.request.ok()) prepared.request->set_thread_id(ThreadOf(exchange));
  return RunCall(services, exchange, &StoreUpstream::CreateRun, std::move(prepared.request),
                 prepared.stream);
}

Task<void> CreateThreadAndRun(const Services& services, Exchange& exchange) {
  auto prepared = Prepare<v1::CreateThreadAndRunRequest>(exchange, DecodeCreateThreadAndRun);
  return RunCall(services, exchange, &StoreUpstream::CreateThreadAndRun,
                 std::move(prepared.request), prepared.stream);
}

Task<void> SubmitToolOutputs(const Services& services, Exchange& exchange) {
  auto prepared = Prepare<v1::SubmitToolOutputsRequest>(exchange, DecodeSubmitToolOutputs);
  if (prepared.request.ok()) {
    prepared.request->set_thread_id(ThreadOf(exchange));
    prepared.request->set_id(RunOf(exchange));
  }
  return RunCall(services, exchange, &StoreUpstream::SubmitToolOutputs, std::move(prepared.request),
                 prepared.stream);
}

Task<void> GetRun(const Services& services, Exchange& exchange) {
  const absl::Status has_store = CheckStore(services);
  if (!has_store.ok()) {
    co_await ReplyError(exchange, has_store, ErrorJson);
    co_return;
  }
  v1::GetRunRequest request;
  *request.mutable_meta() = MetaOf(exchange.request);
  request.set_thread_id(ThreadOf(exchange));
  request.set_id(RunOf(exchange));
  Call<v1::Run> call = services.store->GetRun(
      std::move(request), std::chrono::steady_clock::now() + services.times.store);
  const absl::StatusOr<v1::Run> run = co_await AwaitReply(std::move(call), exchange.out);
  if (!run.ok()) {
    co_await ReplyError(exchange, run.status(), ErrorJson);
    co_return;
  }
  Response response;
  response.body = Encode(*run);
  if (!IsTerminal(run->status())) {
    response.headers.emplace_back("openai-poll-after-ms", kPollAfterMs);
  }
  co_await exchange.out.Reply(std::move(response));
}

Task<void> ListRuns(const Services& services, Exchange& exchange) {
  return CallStore<v1::ListRunsRequest, v1::ListRunsReply>(
      services, exchange, &StoreUpstream::ListRuns,
      [](Exchange& e) -> absl::StatusOr<v1::ListRunsRequest> {
        v1::ListRunsRequest request;
        ASSIGN_OR_RETURN(*request.mutable_page(), DecodePage(e.request));
        request.set_thread_id(ThreadOf(e));
        return request;
      },
      EncodeList<v1::ListRunsReply>);
}

Task<void> ModifyRun(const Services& services, Exchange& exchange) {
  // Metadata is all that can be modified, and what is not given stays.
  if (!Gives(exchange, "metadata")) return GetRun(services, exchange);
  return CallStore<v1::ModifyRunRequest, v1::Run>(
      services, exchange, &StoreUpstream::ModifyRun,
      [](Exchange& e) -> absl::StatusOr<v1::ModifyRunRequest> {
        ASSIGN_OR_RETURN(v1::ModifyRunRequest request, DecodeBody(e, DecodeModifyRun));
        request.set_thread_id(ThreadOf(e));
        request.set_id(RunOf(e));
        return request;
      },
      Encode<v1::Run>);
}

Task<void> CancelRun(const Services& services, Exchange& exchange) {
  return CallStore<v1::CancelRunRequest, v1::Run>(
      services, exchange, &StoreUpstream::CancelRun,
      [](Exchange& e) -> absl::StatusOr<v1::CancelRunRequest> {
        v1::CancelRunRequest request;
        request.set_thread_id(ThreadOf(e));
        request.set_id(RunOf(e));
        return request;
      },
      Encode<v1::Run>);
}

Task<void> ListSteps(const Services& services, Exchange& exchange) {
  return CallStore<v1::ListRunStepsRequest, v1::ListRunStepsReply>(
      services, exchange, &StoreUpstream::ListRunSteps,
      [](Exchange& e) -> absl::StatusOr<v1::ListRunStepsRequest> {
        v1::ListRunStepsRequest request;
        ASSIGN_OR_RETURN(*request.mutable_page(), DecodePage(e.request));
        request.set_thread_id(ThreadOf(e));
        request.set_run_id(RunOf(e));
        return request;
      },
      EncodeList<v1::ListRunStepsReply>);
}

Task<void> GetStep(const Services& services, Exchange& exchange) {
  return CallStore<v1::GetRunStepRequest, v1::RunStep>(
      services, exchange, &StoreUpstream::GetRunStep,
      [](Exchange& e) -> absl::StatusOr<v1::GetRunStepRequest> {
        v1::GetRunStepRequest request;
        request.set_thread_id(ThreadOf(e));
        request.set_run_id(RunOf(e));
        request.set_id(std::string(e.request.Param("step")));
        return request;
      },
      Encode<v1::RunStep>);
}

}  // namespace

void AddRunRoutes(Router& router, const Services& services) {
  const auto add = [&](std::string_view method, std::string_view path, auto handle) {
    AddBoth(router, method, path,
            [&services, handle](Exchange& exchange) { return handle(services, exchange); });
  };
  add("POST", "/threads/runs", CreateThreadAndRun);
  add("POST", "/threads/{thread}/runs", CreateRun);
  add("GET", "/threads/{thread}/runs", ListRuns);
  add("GET", "/threads/{thread}/runs/{run}", GetRun);
  add("POST", "/threads/{thread}/runs/{run}", ModifyRun);
  add("POST", "/threads/{thread}/runs/{run}/cancel", CancelRun);
  add("POST", "/threads/{thread}/runs/{run}/submit_tool_outputs", SubmitToolOutputs);
  add("GET", "/threads/{thread}/runs/{run}/steps", ListSteps);
  add("GET", "/threads/{thread}/runs/{run}/steps/{step}", GetStep);
}

}  // namespace conclave::gateway::openai
