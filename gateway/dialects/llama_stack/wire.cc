#include "gateway/dialects/llama_stack/wire.h"

#include <limits>
#include <optional>
#include <string>

namespace conclave::gateway::llama_stack {
namespace {

using base::JsonValue;

constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();
constexpr double kTopPDefault = 0.95;
constexpr double kTemperatureMax = 2;

void SetGreedy(v1::SamplingParams* out) { out->set_temperature(0); }

// 2024: {"strategy":"greedy"|"top_p"|"top_k","temperature":0,"top_p":0.95,"top_k":0}. A strategy
// that is named decides; without one a temperature does, as it did in the servers of the time.
absl::Status ReadFlatStrategy(JsonValue params, v1::SamplingParams* out) {
  const JsonValue strategy = params.Get("strategy");
  ASSIGN_OR_RETURN(const std::optional<std::string> name, strategy.OptionalString());
  ASSIGN_OR_RETURN(const std::optional<double> temperature,
                   params.Get("temperature").OptionalNumber(0, kTemperatureMax));
  ASSIGN_OR_RETURN(const std::optional<double> top_p, params.Get("top_p").OptionalNumber(0, 1));
  ASSIGN_OR_RETURN(const std::optional<int64_t> top_k,
                   params.Get("top_k").OptionalInt(0, kInt32Max));
  const bool known = !name || *name == "greedy" || *name == "top_p" || *name == "top_k";
  if (!known) return strategy.Error("expected greedy, top_p or top_k");
  if (name == "greedy") {
    SetGreedy(out);
    return absl::OkStatus();
  }
  out->set_temperature(static_cast<float>(temperature.value_or(0)));
  if (name != "top_k") out->set_top_p(static_cast<float>(top_p.value_or(kTopPDefault)));
  if (name != "top_p") out->set_top_k(static_cast<int32_t>(top_k.value_or(0)));
  return absl::OkStatus();
}

// 2025: {"strategy":{"type":"greedy"} | {"type":"top_p","temperature","top_p"} |
// {"type":"top_k","top_k"}}. What a strategy leaves out is the model's own.
absl::Status ReadTaggedStrategy(JsonValue params, v1::SamplingParams* out) {
  const JsonValue strategy = params.Get("strategy");
  if (strategy.missing()) {
    SetGreedy(out);
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(strategy.ExpectObject());
  const JsonValue type = strategy.Get("type");
  ASSIGN_OR_RETURN(const std::string name, type.AsString());
  if (name == "greedy") {
    SetGreedy(out);
  } else if (name == "top_p") {
    const JsonValue temperature = strategy.Get("temperature");
    ASSIGN_OR_RETURN(const std::optional<double> given,
                     temperature.OptionalNumber(0, kTemperatureMax));
    if (given == 0.0) return temperature.Error("must be greater than 0");
    if (given) out->set_temperature(static_cast<float>(*given));
    ASSIGN_OR_RETURN(const std::optional<double> top_p, strategy.Get("top_p").OptionalNumber(0, 1));
    out->set_top_p(static_cast<float>(top_p.value_or(kTopPDefault)));
  } else if (name == "top_k") {
    ASSIGN_OR_RETURN(const int64_t top_k, strategy.Get("top_k").AsInt(1, kInt32Max));
    out->set_top_k(static_cast<int32_t>(top_k));
  } else {
    return type.Error("expected greedy, top_p or top_k");
  }
  return absl::OkStatus();
}

}  // namespace

const Wire kWire2024 = {
    .model_field = "model",
    .read_strategy = ReadFlatStrategy,
    .typed_deltas = false,
    .call_succeeded = "success",
    .call_failed = "failure",
    .arguments_json = false,
    .completion_message = true,
    .metrics = false,
    .whole_batch = false,
};

const Wire kWireAlpha = {
    .model_field = "model_id",
    .read_strategy = ReadFlatStrategy,
    .typed_deltas = false,
    .call_succeeded = "success",
    .call_failed = "failure",
    .arguments_json = false,
    .completion_message = false,
    .metrics = false,
    .whole_batch = false,
};

const Wire kWire2025 = {
    .model_field = "model_id",
    .read_strategy = ReadTaggedStrategy,
    .typed_deltas = true,
    .call_succeeded = "succeeded",
    .call_failed = "failed",
    .arguments_json = true,
    .completion_message = false,
    .metrics = true,
    .whole_batch = true,
};

absl::StatusOr<std::string> ReadModel(const Wire& wire, JsonValue root) {
  JsonValue model = root.Get(wire.model_field);
  for (const std::string_view other : {"model", "model_id"}) {
    if (model.missing() && root.Get(other).present()) model = root.Get(other);
  }
  ASSIGN_OR_RETURN(std::string name, model.AsString());
  if (name.empty()) return model.Error("must not be empty");
  return name;
}

}  // namespace conclave::gateway::llama_stack
