#include "gateway/http/front_door.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "gateway/http/error_response.h"

namespace conclave::gateway {
namespace {

constexpr size_t kRequestIdBytesMax = 64;

// A caller's own id is taken over when it is harmless in a log and a header.
bool IsPlainId(std::string_view id) {
  return !id.empty() && id.size() <= kRequestIdBytesMax &&
         std::all_of(id.begin(), id.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
         });
}

std::string Joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string_view CloseReason(const AccessRecord& record, CancelReason cancelled) {
  switch (cancelled) {
    case CancelReason::kClientGone:
      return "client_gone";
    case CancelReason::kStalled:
      return "stalled";
    case CancelReason::kDrain:
      return "drain";
    case CancelReason::kNone:
      break;
  }
  return record.error_code.empty() ? "done" : "error";
}

std::string_view BodyMessage(int status) {
  switch (status) {
    case 413:
      return "the request body is too large";
    case 408:
      return "the request body came too slowly";
    default:
      return "the request body is malformed";
  }
}

}  // namespace

FrontDoor::FrontDoor(const Router* router, const Filters* filters, FrontMetrics* metrics,
                     base::IdSource new_id, CompatProfile profile)
    : router_(*router),
      filters_(*filters),
      metrics_(*metrics),
      new_id_(std::move(new_id)),
      profile_(profile) {}

HeadVerdict FrontDoor::OnHead(const RequestHead& head) {
  HeadVerdict verdict;
  const std::string_view given_id = head.Find("x-request-id");
  verdict.request_id = IsPlainId(given_id) ? std::string(given_id) : new_id_("req_");
  const Router::Match match = router_.Find(head.method, head.path);
  verdict.refusal = RefuseHead(head, match, verdict.request_id);
  if (match.route != nullptr) {
    verdict.body_bytes_max = match.route->options.body_bytes_max;
    verdict.stream_body = match.route->options.stream_body;
    verdict.route = match.route->pattern;
  }
  const bool forbidden = verdict.refusal && verdict.refusal->status == 403;
  if (!forbidden) verdict.headers = filters_.CorsHeaders(head);
  const std::string_view id_header = router_.error_family(head.method, head.path).request_id_header;
  if (!id_header.empty()) verdict.headers.emplace_back(id_header, verdict.request_id);
  return verdict;
}

std::optional<Response> FrontDoor::RefuseHead(const RequestHead& head, const Router::Match& match,
                                              const std::string& request_id) {
  const ErrorFamily& family = router_.error_family(head.method, head.path);
  const auto refuse = [&](ErrorInfo error) {
    metrics_.CountRejected(error.reason);
    error.request_id = request_id;
    error.profile = ProfileOf(head);
    return MakeErrorResponse(error, family);
  };
  if (const auto error = filters_.CheckHost(head)) return refuse(*error);
  if (const auto error = filters_.CheckOrigin(head)) return refuse(*error);
  const bool known_path = match.route != nullptr || !match.allowed.empty();
  if (head.method == "OPTIONS" && known_path && !head.Find("origin").empty()) {
    return Preflight(head, match);
  }
  ErrorInfo error;
  if (match.bad_escape) {
    error = {400, "the path has a percent escape that is broken or not UTF-8", "bad_path", "", 0};
    return refuse(error);
  }
  if (!known_path) {
    error = {404, "unknown path: " + head.method + " " + head.path, "unknown_path", "", 0};
    return refuse(error);
  }
  if (match.route == nullptr) {
    error = {405, head.method + " is not a method of " + head.path, "method_not_allowed", "", 0};
    Response response = refuse(error);
    response.headers.emplace_back("Allow", Joined(match.allowed));
    return response;
  }
  if (const auto no_key = filters_.CheckKey(head, match.route->options)) return refuse(*no_key);
  if (const auto bad_body = filters_.CheckBody(head, match.route->options))
    return refuse(*bad_body);
  if (head.content_length.value_or(0) > match.route->options.body_bytes_max) {
    error = {413, "the request body is too large", "body_too_large", "", 0};
    return refuse(error);
  }
  return std::nullopt;
}

CompatProfile FrontDoor::ProfileOf(const RequestHead& head) const {
  return filters_.ProfileOf(head).value_or(profile_);
}

Response FrontDoor::Preflight(const RequestHead& head, const Router::Match& match) const {
  Response response;
  response.status = 204;
  response.content_type.clear();
  response.headers.emplace_back("Access-Control-Allow-Methods", match.route != nullptr
                                                                    ? match.route->method
                                                                    : Joined(match.allowed));
  const std::string_view wanted = head.Find("access-control-request-headers");
  if (!wanted.empty()) {
    response.headers.emplace_back("Access-Control-Allow-Headers", std::string(wanted));
  }
  response.headers.emplace_back("Access-Control-Max-Age", "600");
  return response;
}

Response FrontDoor::OnBodyRefused(const RequestHead& head, const std::string& request_id,
                                  int status, std::string_view reason) {
  metrics_.CountRejected(reason);
  ErrorInfo error{status, std::string(BodyMessage(status)), std::string(reason), "", 0};
  error.request_id = request_id;
  error.profile = ProfileOf(head);
  return MakeErrorResponse(error, router_.error_family(head.method, head.path));
}

Response FrontDoor::OnHeadRefused(const HeadRefusal& refusal) {
  metrics_.CountRejected(refusal.reason);
  const std::string request_id = new_id_("req_");
  base::LogInfo(
      "request refused",
      {{"request_id", request_id}, {"reason", refusal.reason}, {"status", refusal.status}});
  const ErrorInfo error{refusal.status, refusal.message, std::string(refusal.reason), "", 0};
  Response response = MakeErrorResponse(error, router_.error_family("", ""));
  response.headers.emplace_back("x-request-id", request_id);
  return response;
}

Task<void> FrontDoor::Handle(Request& request, ResponseWriter& out, AccessRecord& record) {
  Router::Match match = router_.Find(request.head.method, request.head.path);
  request.params = std::move(match.params);
  request.profile = ProfileOf(request.head);
  Exchange exchange{request, out, record};
  co_await match.route->handler(exchange);
}

void FrontDoor::OnFinished(const RequestHead& head, const AccessRecord& record,
                           CancelReason cancelled, std::chrono::nanoseconds took) {
  const double ms = std::chrono::duration<double, std::milli>(took).count();
  const bool unanswered = record.status == 0 && cancelled != CancelReason::kNone;
  const int status = unanswered ? 499 : record.status;
  metrics_.CountRequest(record.route, status, ms / 1000);
  base::LogInfo("request", {{"request_id", record.request_id},
                            {"method", head.method},
                            {"route", record.route},
                            {"status", status},
                            {"code", record.error_code},
                            {"model", record.model},
                            {"worker", record.worker},
                            {"queue_ms", record.queue_ms},
                            {"ttft_ms", record.ttft_ms},
                            {"total_ms", ms},
                            {"prompt_tokens", record.prompt_tokens},
                            {"cached_tokens", record.cached_tokens},
                            {"completion_tokens", record.completion_tokens},
                            {"bytes_out", record.bytes_out},
                            {"close", CloseReason(record, cancelled)}});
}

}  // namespace conclave::gateway
