#include "mesh/grpc_status.h"

#include <grpcpp/support/status.h>

#include <catch2/catch.hpp>

namespace conclave::mesh {

namespace pb = conclave::v1;

TEST_CASE("codes and messages go through unchanged") {
  for (int code = 0; code <= 16; ++code) {
    const absl::Status status(static_cast<absl::StatusCode>(code), code == 0 ? "" : "why");
    CHECK(FromGrpc(ToGrpc(status, nullptr), nullptr) == status);
  }
}

TEST_CASE("a long message is cut between characters") {
  std::string text;
  while (text.size() < 3000) text += "ä";
  const grpc::Status status = ToGrpc(base::Internal(text), nullptr);
  CHECK(status.error_message().size() == 2048);
  const grpc::Status odd = ToGrpc(base::Internal("x" + text), nullptr);
  CHECK(odd.error_message().size() == 2047);
}

TEST_CASE("details survive as a message") {
  absl::Status status = base::WithReason(base::ResourceExhausted("busy"), "queue_full");
  status = base::WithParam(status, "messages");
  status = base::WithRetryAfter(status, std::chrono::milliseconds(700));
  const absl::Status back = FromDetail(ToDetail(status));
  CHECK(back.code() == absl::StatusCode::kResourceExhausted);
  CHECK(back.message() == "busy");
  CHECK(base::ReasonOf(back) == "queue_full");
  CHECK(base::ParamOf(back) == "messages");
  CHECK(base::RetryAfterOf(back) == std::chrono::milliseconds(700));
}

TEST_CASE("an error that says OK, or a code nobody knows, is an error all the same") {
  pb::ErrorDetail detail;
  CHECK(FromDetail(detail).code() == absl::StatusCode::kInternal);
  detail.set_code(99);
  CHECK(FromDetail(detail).code() == absl::StatusCode::kUnknown);
}

}  // namespace conclave::mesh
