#include "base/status.h"

#include <charconv>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "base/strings.h"

namespace conclave::base {
namespace {

constexpr std::string_view kReasonUrl = "conclave/reason";
constexpr std::string_view kParamUrl = "conclave/param";
constexpr std::string_view kRetryAfterUrl = "conclave/retry-after-ms";

absl::Status With(absl::Status status, std::string_view url, std::string_view value) {
  if (!status.ok()) status.SetPayload(Abs(url), absl::Cord(Abs(value)));
  return status;
}

std::string Payload(const absl::Status& status, std::string_view url) {
  const absl::optional<absl::Cord> value = status.GetPayload(Abs(url));
  return value ? std::string(*value) : std::string();
}

}  // namespace

absl::Status Annotate(const absl::Status& status, std::string_view context) {
  if (status.ok()) return status;
  absl::Status annotated(status.code(), absl::StrCat(Abs(context), ": ", status.message()));
  status.ForEachPayload(
      [&](absl::string_view url, const absl::Cord& value) { annotated.SetPayload(url, value); });
  return annotated;
}

absl::Status WithReason(absl::Status status, std::string_view reason) {
  return With(std::move(status), kReasonUrl, reason);
}

absl::Status WithParam(absl::Status status, std::string_view param) {
  return With(std::move(status), kParamUrl, param);
}

absl::Status WithRetryAfter(absl::Status status, std::chrono::milliseconds retry_after) {
  return With(std::move(status), kRetryAfterUrl, std::to_string(retry_after.count()));
}

std::string ReasonOf(const absl::Status& status) { return Payload(status, kReasonUrl); }

std::string ParamOf(const absl::Status& status) { return Payload(status, kParamUrl); }

std::chrono::milliseconds RetryAfterOf(const absl::Status& status) {
  const std::string text = Payload(status, kRetryAfterUrl);
  int64_t millis = 0;
  std::from_chars(text.data(), text.data() + text.size(), millis);
  return std::chrono::milliseconds(millis);
}

}  // namespace conclave::base
