// Status is how everything that can fail for a reason outside the code reports it.
//
//   ASSIGN_OR_RETURN(auto file, MappedFile::Open(path));
//   RETURN_IF_ERROR(Annotate(header.Check(), "gguf: while reading the header"));
//
// The code is the contract and decides what a caller does; the message is for a person.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace conclave::base {

// The same code and details, with `context: ` put in front of the message. OK stays OK.
absl::Status Annotate(const absl::Status& status, std::string_view context);

// Builders that take anything absl::StrCat takes would need string_view conversions everywhere;
// these take the finished text.
inline absl::Status InvalidArgument(std::string message) {
  return absl::InvalidArgumentError(message);
}
inline absl::Status NotFound(std::string message) { return absl::NotFoundError(message); }
inline absl::Status FailedPrecondition(std::string message) {
  return absl::FailedPreconditionError(message);
}
inline absl::Status ResourceExhausted(std::string message) {
  return absl::ResourceExhaustedError(message);
}
inline absl::Status Unavailable(std::string message) { return absl::UnavailableError(message); }
inline absl::Status Unimplemented(std::string message) { return absl::UnimplementedError(message); }
inline absl::Status Internal(std::string message) { return absl::InternalError(message); }

// What a program may want besides the code. `reason` is a stable word ("context_length_exceeded",
// "model_not_found"), `param` the request field at fault as the caller wrote it, retry-after a
// hint. They survive Annotate and travel over gRPC (mesh/grpc_status.h). On OK they do nothing.
absl::Status WithReason(absl::Status status, std::string_view reason);
absl::Status WithParam(absl::Status status, std::string_view param);
absl::Status WithRetryAfter(absl::Status status, std::chrono::milliseconds retry_after);
// Empty or 0 when not set.
std::string ReasonOf(const absl::Status& status);
std::string ParamOf(const absl::Status& status);
std::chrono::milliseconds RetryAfterOf(const absl::Status& status);

}  // namespace conclave::base

#define CONCLAVE_CONCAT_INNER(a, b) a##b
#define CONCLAVE_CONCAT(a, b) CONCLAVE_CONCAT_INNER(a, b)

#define RETURN_IF_ERROR(expr)                                           \
  do {                                                                  \
    if (absl::Status conclave_status = (expr); !conclave_status.ok()) { \
      return conclave_status;                                           \
    }                                                                   \
  } while (false)

#define ASSIGN_OR_RETURN(lhs, expr) \
  ASSIGN_OR_RETURN_IMPL(CONCLAVE_CONCAT(conclave_status_or_, __LINE__), lhs, expr)

#define ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr)    \
  auto tmp = (expr);                             \
  if (!tmp.ok()) return std::move(tmp).status(); \
  lhs = *std::move(tmp)
