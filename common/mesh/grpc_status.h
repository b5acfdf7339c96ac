// absl::Status ⇄ grpc::Status. The machine-readable part (reason, param, retry-after: base/status.h
// WithReason and friends) travels as a conclave.v1.ErrorDetail in the trailer "conclave-error-bin".
#pragma once

#include <string_view>

#include "base/status.h"
#include "conclave/v1/common.pb.h"

namespace grpc {
class ClientContext;
class ServerContextBase;
class Status;
}  // namespace grpc

namespace conclave::mesh {

inline constexpr char kErrorTrailer[] = "conclave-error-bin";

// The trailer is added to `context` when the status carries details; call it right before Finish.
grpc::Status ToGrpc(const absl::Status& status, grpc::ServerContextBase* context);
// `context` of the finished call, for its trailers; may be null.
absl::Status FromGrpc(const grpc::Status& status, const grpc::ClientContext* context);
// The same from the trailers themselves; `detail` is the ErrorDetail's bytes, or empty.
absl::Status FromTrailers(absl::StatusCode code, std::string_view message, std::string_view detail);

// The same contents as a message, for Failed events and rows. An OK detail (code 0) is INTERNAL: a
// peer that fails with "OK" is broken.
conclave::v1::ErrorDetail ToDetail(const absl::Status& status);
absl::Status FromDetail(const conclave::v1::ErrorDetail& detail);

}  // namespace conclave::mesh
