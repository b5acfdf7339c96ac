#include "mesh/grpc_status.h"

#include <grpcpp/client_context.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/status.h>

#include <string>

#include "base/strings.h"
#include "base/utf8.h"

namespace conclave::mesh {
namespace {

namespace pb = conclave::v1;

// HTTP/2 header limits are 8 KB by default; a message is for a person.
constexpr size_t kMessageBytesMax = 2048;

bool HasDetails(const absl::Status& status) {
  bool has = false;
  status.ForEachPayload([&](absl::string_view, const absl::Cord&) { has = true; });
  return has;
}

absl::Status WithDetails(absl::Status status, const pb::ErrorDetail& detail) {
  if (!detail.reason().empty()) status = base::WithReason(std::move(status), detail.reason());
  if (!detail.param().empty()) status = base::WithParam(std::move(status), detail.param());
  if (detail.retry_after_ms() > 0) {
    status =
        base::WithRetryAfter(std::move(status), std::chrono::milliseconds(detail.retry_after_ms()));
  }
  return status;
}

}  // namespace

pb::ErrorDetail ToDetail(const absl::Status& status) {
  pb::ErrorDetail detail;
  detail.set_code(static_cast<int>(status.code()));
  detail.set_message(std::string(status.message()));
  detail.set_reason(base::ReasonOf(status));
  detail.set_param(base::ParamOf(status));
  detail.set_retry_after_ms(base::RetryAfterOf(status).count());
  return detail;
}

absl::Status FromDetail(const pb::ErrorDetail& detail) {
  // Codes beyond the table become UNKNOWN (Abseil's rule); OK cannot be an error.
  const auto code = detail.code() == 0 ? absl::StatusCode::kInternal
                                       : static_cast<absl::StatusCode>(detail.code());
  return WithDetails(absl::Status(code, detail.message()), detail);
}

grpc::Status ToGrpc(const absl::Status& status, grpc::ServerContextBase* context) {
  if (status.ok()) return grpc::Status::OK;
  if (context != nullptr && HasDetails(status)) {
    pb::ErrorDetail detail = ToDetail(status);
    detail.clear_message();  // it travels in grpc-message
    context->AddTrailingMetadata(kErrorTrailer, detail.SerializeAsString());
  }
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      std::string(base::Utf8Prefix(base::Std(status.message()), kMessageBytesMax)));
}

absl::Status FromGrpc(const grpc::Status& status, const grpc::ClientContext* context) {
  const auto code = static_cast<absl::StatusCode>(status.error_code());
  if (context == nullptr) return FromTrailers(code, status.error_message(), "");
  const auto& trailers = context->GetServerTrailingMetadata();
  const auto trailer = trailers.find(kErrorTrailer);
  if (trailer == trailers.end()) return FromTrailers(code, status.error_message(), "");
  return FromTrailers(code, status.error_message(),
                      {trailer->second.data(), trailer->second.size()});
}

absl::Status FromTrailers(absl::StatusCode code, std::string_view message,
                          std::string_view detail) {
  if (code == absl::StatusCode::kOk) return absl::OkStatus();
  absl::Status result(code, base::Abs(message));
  pb::ErrorDetail parsed;
  if (!detail.empty() && parsed.ParseFromArray(detail.data(), static_cast<int>(detail.size()))) {
    result = WithDetails(std::move(result), parsed);
  }
  return result;
}

}  // namespace conclave::mesh
