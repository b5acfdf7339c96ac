#include "gateway/dialects/admin/plan_codec.h"

#include <limits>
#include <utility>

#include "base/json.h"
#include "base/strings.h"

namespace conclave::gateway::admin {
namespace {

using base::JsonValue;
using base::JsonWriter;

constexpr int64_t kContextMax = 1 << 24;
constexpr int64_t kSequencesMax = 4'096;

template <typename Set>
absl::Status ReadInt(JsonValue root, std::string_view name, int64_t max, Set set) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> value, root.Get(name).OptionalInt(1, max));
  if (value) set(*value);
  return absl::OkStatus();
}

void WritePlan(JsonWriter& json, const v1::MemoryPlan& plan) {
  json.Field("fits", plan.fits());
  json.Field("fits_now", plan.fits_now());
  json.Field("architecture", plan.architecture());
  json.Field("device", plan.device());
  json.Field("context_length", plan.context_length());
  json.Field("file_bytes", plan.file_bytes());
  json.Field("weight_bytes", plan.weight_bytes());
  json.Field("mapped_bytes", plan.mapped_bytes());
  json.Field("kv_bytes_per_token", plan.kv_bytes_per_token());
  json.Field("kv_bytes", plan.kv_bytes());
  json.Field("kv_tokens", plan.kv_tokens());
  json.Field("scratch_bytes", plan.scratch_bytes());
  json.Field("total_bytes", plan.total_bytes());
  json.Field("budget_bytes", plan.budget_bytes());
  json.Field("used_bytes", plan.used_bytes());
  json.Field("evictable_bytes", plan.evictable_bytes());
  json.Key("options");
  json.BeginArray();
  for (const v1::MemoryPlan::Option& option : plan.options()) {
    json.BeginObject();
    json.Field("setting", option.setting());
    json.Field("value", option.value());
    json.Field("total_bytes", option.total_bytes());
    json.EndObject();
  }
  json.EndArray();
  json.Field("text", plan.text());
}

}  // namespace

absl::StatusOr<v1::PlanModelRequest> DecodePlanRequest(std::string_view body) {
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(body));
  const JsonValue root = document.root();
  RETURN_IF_ERROR(root.ExpectObject());
  v1::PlanModelRequest request;
  ASSIGN_OR_RETURN(const std::optional<std::string> model, root.Get("model").OptionalString());
  ASSIGN_OR_RETURN(const std::optional<std::string> path, root.Get("path").OptionalString());
  if (model.value_or("").empty() == path.value_or("").empty()) {
    return base::WithParam(base::InvalidArgument("model, path: one of them says what is planned"),
                           "model");
  }
  if (path.value_or("").find('\0') != std::string::npos) {
    return root.Get("path").Error("a path has no NUL in it");
  }
  request.set_model(model.value_or(""));
  request.set_path(path.value_or(""));
  RETURN_IF_ERROR(ReadInt(root, "context_length", kContextMax, [&](int64_t value) {
    request.set_context_length(static_cast<int32_t>(value));
  }));
  RETURN_IF_ERROR(ReadInt(root, "max_sequences", kSequencesMax, [&](int64_t value) {
    request.set_max_sequences(static_cast<int32_t>(value));
  }));
  RETURN_IF_ERROR(ReadInt(root, "kv_bytes", std::numeric_limits<int64_t>::max(),
                          [&](int64_t value) { request.set_kv_bytes(value); }));
  ASSIGN_OR_RETURN(const std::optional<std::string> type, root.Get("kv_type").OptionalString());
  if (type && *type != "f16" && *type != "f32") {
    return root.Get("kv_type").Error("expected f16 or f32");
  }
  request.set_kv_type(type.value_or(""));
  return request;
}

absl::StatusOr<std::string> EncodePlans(const ModelPlans& plans) {
  absl::Status refusal = base::Unavailable("no worker is available");
  bool any = false;
  JsonWriter json;
  json.BeginObject();
  json.Field("object", "list");
  json.Key("data");
  json.BeginArray();
  for (const ModelPlans::One& one : plans.workers) {
    any |= one.plan.ok();
    if (&one == &plans.workers.front()) refusal = one.plan.status();
    json.BeginObject();
    json.Field("worker", one.worker_id);
    if (one.plan.ok()) {
      WritePlan(json, *one.plan);
    } else {
      json.Field("error", base::Std(one.plan.status().message()));
    }
    json.EndObject();
  }
  json.EndArray();
  json.EndObject();
  if (!any) return refusal;
  return json.Take();
}

}  // namespace conclave::gateway::admin
