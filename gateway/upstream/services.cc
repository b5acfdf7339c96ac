#include "gateway/upstream/services.h"

#include <algorithm>
#include <chrono>

namespace conclave::gateway {
namespace {

constexpr std::chrono::milliseconds kLoadingRetry{2'000};

// version-trace-parent-flags of the W3C's Trace Context §3.2.2: lowercase hex in four fields.
// Header values may hold any byte, and this one travels in a protobuf string.
bool IsTraceparent(std::string_view text) {
  constexpr std::string_view kShape = "hh-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh-hhhhhhhhhhhhhhhh-hh";
  return text.size() == kShape.size() &&
         std::equal(text.begin(), text.end(), kShape.begin(), [](char c, char shape) {
           const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
           return shape == 'h' ? hex : c == shape;
         });
}

}  // namespace

std::optional<v1::ModelStatus> ModelDirectory::FindListed(std::string_view name) const {
  std::vector<v1::ModelStatus> models = List();
  const auto by_name = std::find_if(models.begin(), models.end(),
                                    [name](const auto& model) { return model.name() == name; });
  if (by_name != models.end()) return std::move(*by_name);
  for (v1::ModelStatus& model : models) {
    for (const std::string& alias : model.aliases()) {
      if (alias == name) return std::move(model);
    }
  }
  return std::nullopt;
}

absl::StatusOr<v1::ModelStatus> ModelDirectory::Find(std::string_view name) const {
  if (auto listed = FindListed(name); listed.has_value()) return *std::move(listed);
  if (auto lost = FindLost(name); lost.has_value()) return *std::move(lost);
  return base::WithParam(
      base::WithReason(base::NotFound("The model `" + std::string(name) + "` does not exist"),
                       "model_not_found"),
      "model");
}

absl::StatusOr<v1::ModelStatus> ModelDirectory::FindReady(std::string_view name,
                                                          bool may_wait) const {
  ASSIGN_OR_RETURN(v1::ModelStatus model, Find(name));
  switch (model.state()) {
    case v1::ModelStatus::STATE_READY:
    case v1::ModelStatus::STATE_UNLOADED:
      return model;
    case v1::ModelStatus::STATE_FAILED:
      // Loaded, but the server or process behind it is away: it may come back.
      if (model.has_details() && model.error().rfind("UNAVAILABLE", 0) == 0) {
        return base::WithRetryAfter(
            base::WithReason(base::Unavailable("the model `" + model.name() + "` is away"),
                             "model_unreachable"),
            kLoadingRetry);
      }
      return base::WithReason(
          base::FailedPrecondition("the model `" + model.name() + "` could not be loaded"),
          "model_failed");
    default:
      // A worker that has looked at the file knows what the model can, and lets the call wait.
      if (may_wait && !model.capabilities().empty() && FindListed(name)) return model;
      return base::WithRetryAfter(
          base::WithReason(
              base::Unavailable("the model `" + model.name() + "` is loading (" +
                                std::to_string(static_cast<int>(model.progress() * 100)) + " %)"),
              "model_loading"),
          kLoadingRetry);
  }
}

bool Can(const v1::ModelStatus& model, std::string_view capability) {
  const auto& words = model.capabilities();
  return std::find(words.begin(), words.end(), capability) != words.end();
}

v1::RequestMeta MetaOf(const Request& request) {
  v1::RequestMeta meta;
  meta.set_request_id(request.request_id);
  const std::string_view traceparent = request.head.Find("traceparent");
  if (IsTraceparent(traceparent)) meta.set_traceparent(std::string(traceparent));
  return meta;
}

v1::RequestMeta MetaOf(const Services& services, const Request& request) {
  v1::RequestMeta meta = MetaOf(request);
  meta.set_load_wait_ms(services.times.load_wait.count());
  return meta;
}

}  // namespace conclave::gateway
