#include "base/status.h"

#include <catch2/catch.hpp>

namespace conclave::base {

TEST_CASE("a status carries reason, parameter and retry hint through annotations") {
  absl::Status status = WithReason(InvalidArgument("too long"), "context_length_exceeded");
  status = WithParam(std::move(status), "messages");
  status = WithRetryAfter(std::move(status), std::chrono::milliseconds(1500));
  status = Annotate(status, "while admitting");
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(status.message() == "while admitting: too long");
  CHECK(ReasonOf(status) == "context_length_exceeded");
  CHECK(ParamOf(status) == "messages");
  CHECK(RetryAfterOf(status) == std::chrono::milliseconds(1500));
}

TEST_CASE("what was not said is empty, and OK carries nothing") {
  CHECK(ReasonOf(Internal("x")).empty());
  CHECK(RetryAfterOf(Internal("x")).count() == 0);
  CHECK(WithReason(absl::OkStatus(), "r").ok());
  CHECK(ReasonOf(WithReason(absl::OkStatus(), "r")).empty());
}

}  // namespace conclave::base
