#include "gateway/http/status_map.h"

#include "catch2/catch.hpp"
#include "gateway/http/error_response.h"

namespace conclave::gateway {

TEST_CASE("codes map as the table says") {
  CHECK(HttpStatusOf(absl::StatusCode::kInvalidArgument) == 400);
  CHECK(HttpStatusOf(absl::StatusCode::kFailedPrecondition) == 400);
  CHECK(HttpStatusOf(absl::StatusCode::kNotFound) == 404);
  CHECK(HttpStatusOf(absl::StatusCode::kResourceExhausted) == 429);
  CHECK(HttpStatusOf(absl::StatusCode::kCancelled) == 499);
  CHECK(HttpStatusOf(absl::StatusCode::kUnimplemented) == 501);
  CHECK(HttpStatusOf(absl::StatusCode::kUnavailable) == 503);
  CHECK(HttpStatusOf(absl::StatusCode::kDataLoss) == 500);
}

TEST_CASE("the field path of a message becomes the param") {
  CHECK(ErrorInfoOf(base::InvalidArgument("messages[2].content: expected string")).param ==
        "messages[2].content");
  CHECK(ErrorInfoOf(base::InvalidArgument("the thread has an active run")).param.empty());
  CHECK(ErrorInfoOf(base::InvalidArgument("invalid JSON at byte 3: oops")).param.empty());
  CHECK(ErrorInfoOf(base::WithParam(base::InvalidArgument("a: b"), "model")).param == "model");
}

TEST_CASE("who might do it twice by trying again is told not to") {
  const auto retry_word = [](const absl::Status& status) {
    const Response response = MakeErrorResponse(
        ErrorInfoOf(status), ErrorFamily([](const ErrorInfo&) { return std::string(); }));
    for (const auto& [name, value] : response.headers) {
      if (name == "x-should-retry") return value;
    }
    return std::string();
  };
  CHECK(retry_word(base::WithReason(base::Unavailable("lost"), "outcome_unknown")) == "false");
  CHECK(retry_word(base::Internal("broken")) == "false");
  CHECK(retry_word(base::Unavailable("away")).empty());
}

TEST_CASE("what a caller sent comes back in part only") {
  const std::string key(100'000, 'k');
  const ErrorInfo told = ErrorInfoOf(base::InvalidArgument(key + ": unknown parameter"));
  CHECK(told.message.size() == 2048);
  CHECK(told.param.size() <= 256);
  CHECK(ErrorInfoOf(base::WithParam(base::InvalidArgument("no"), key)).param.size() == 256);
}

TEST_CASE("internal messages stay inside") {
  CHECK(ErrorInfoOf(base::Internal("password of the database is x")).message.find("password") ==
        std::string::npos);
  CHECK(ErrorInfoOf(absl::UnknownError("secret")).message.find("secret") == std::string::npos);
  CHECK(ErrorInfoOf(base::Unavailable("ipv4:10.0.0.1: refused")).message.find("10.0.0.1") ==
        std::string::npos);
  CHECK(ErrorInfoOf(base::WithReason(base::Unavailable("loading"), "model_loading")).message ==
        "loading");
  CHECK(ErrorInfoOf(base::WithReason(base::Internal("the call is broken"), "call")).message ==
        "the call is broken");
}

}  // namespace conclave::gateway
