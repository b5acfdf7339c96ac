#include "gateway/dialects/ollama/options.h"

#include <algorithm>
#include <limits>

#include "gateway/dialects/openai/chat_request.h"

namespace conclave::gateway::ollama {
namespace {

using base::JsonValue;

constexpr float kTemperature = 0.8f;
constexpr int32_t kTopK = 40;
constexpr float kTopP = 0.9f;
constexpr size_t kStopMax = 16;

absl::Status WrongOption(std::string_view name, std::string_view type) {
  return base::InvalidArgument("option \"" + std::string(name) + "\" must be of type " +
                               std::string(type));
}

template <typename Set>
absl::Status ReadInt(JsonValue options, std::string_view name, Set set) {
  const JsonValue value = options.Get(name);
  if (value.missing()) return absl::OkStatus();
  const absl::StatusOr<int64_t> number = value.AsInt();
  if (!number.ok()) return WrongOption(name, "integer");
  set(*number);
  return absl::OkStatus();
}

template <typename Set>
absl::Status ReadFloat(JsonValue options, std::string_view name, double min, double max, Set set) {
  const JsonValue value = options.Get(name);
  if (value.missing()) return absl::OkStatus();
  if (!value.is_number()) return WrongOption(name, "float32");
  ASSIGN_OR_RETURN(const double number, value.AsNumber(min, max));
  set(static_cast<float>(number));
  return absl::OkStatus();
}

int32_t ToInt32(int64_t value) {
  return static_cast<int32_t>(std::clamp<int64_t>(value, std::numeric_limits<int32_t>::min(),
                                                  std::numeric_limits<int32_t>::max()));
}

absl::Status ReadStop(JsonValue stop, v1::StopConditions* out) {
  if (stop.missing()) return absl::OkStatus();
  if (stop.is_string()) {
    ASSIGN_OR_RETURN(std::string text, stop.AsString());
    if (!text.empty()) out->add_strings(std::move(text));
    return absl::OkStatus();
  }
  if (!stop.is_array()) return WrongOption("stop", "array");
  if (stop.size() > kStopMax) return stop.Error("at most 16 sequences");
  for (size_t i = 0; i < stop.size(); ++i) {
    if (!stop.At(i).is_string()) return WrongOption("stop", "string");
    ASSIGN_OR_RETURN(std::string text, stop.At(i).AsString());
    if (!text.empty()) out->add_strings(std::move(text));
  }
  return absl::OkStatus();
}

absl::Status ReadLogprobs(JsonValue root, v1::GenerateRequest* request) {
  ASSIGN_OR_RETURN(const std::optional<bool> wanted, root.Get("logprobs").OptionalBool());
  ASSIGN_OR_RETURN(const std::optional<int64_t> top, root.Get("top_logprobs").OptionalInt(0, 20));
  if (wanted.value_or(false)) {
    request->mutable_logprobs()->set_top(static_cast<int32_t>(top.value_or(0)));
  }
  return absl::OkStatus();
}

// "json", or a schema.
absl::Status ReadFormat(JsonValue format, v1::GenerateRequest* request) {
  const std::string text = format.is_string() ? format.AsString().value_or("") : "";
  if (format.missing() || (format.is_string() && text.empty())) return absl::OkStatus();
  if (text == "json") {
    request->mutable_response_format()->set_json_object(true);
    return absl::OkStatus();
  }
  if (!format.is_object()) {
    return base::InvalidArgument("invalid format: expected \"json\" or a JSON schema");
  }
  v1::ResponseFormat* const to = request->mutable_response_format();
  to->mutable_json_schema()->set_schema_json(format.ToJson());
  to->set_place(format.path());
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadOptions(JsonValue options, v1::GenerateRequest* request) {
  v1::SamplingParams* s = request->mutable_sampling();
  v1::StopConditions* stop = request->mutable_stop();
  if (options.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(options.ExpectObject());
  RETURN_IF_ERROR(ReadFloat(options, "temperature", 0, 2, [s](float v) { s->set_temperature(v); }));
  RETURN_IF_ERROR(ReadFloat(options, "top_p", 0, 1, [s](float v) { s->set_top_p(v); }));
  RETURN_IF_ERROR(ReadFloat(options, "min_p", 0, 1, [s](float v) { s->set_min_p(v); }));
  RETURN_IF_ERROR(ReadFloat(options, "typical_p", 0, 1, [s](float v) { s->set_typical_p(v); }));
  RETURN_IF_ERROR(
      ReadInt(options, "top_k", [s](int64_t v) { s->set_top_k(std::max(ToInt32(v), 0)); }));
  RETURN_IF_ERROR(ReadInt(options, "seed", [s](int64_t v) {
    if (v >= 0) s->set_seed(static_cast<uint64_t>(v));  // −1: draw one
  }));
  RETURN_IF_ERROR(ReadFloat(options, "repeat_penalty", 0.01, 10,
                            [s](float v) { s->set_repetition_penalty(v); }));
  RETURN_IF_ERROR(
      ReadInt(options, "repeat_last_n", [s](int64_t v) { s->set_penalty_last_n(ToInt32(v)); }));
  RETURN_IF_ERROR(
      ReadFloat(options, "presence_penalty", -2, 2, [s](float v) { s->set_presence_penalty(v); }));
  RETURN_IF_ERROR(ReadFloat(options, "frequency_penalty", -2, 2,
                            [s](float v) { s->set_frequency_penalty(v); }));
  // −1 and −2: as much as fits.
  RETURN_IF_ERROR(ReadInt(options, "num_predict", [stop](int64_t v) {
    if (v > 0) stop->set_max_tokens(ToInt32(v));
  }));
  return ReadStop(options.Get("stop"), stop);
}

void ApplyDefaults(const v1::ModelStatus& model, v1::SamplingParams* sampling) {
  const auto document = base::JsonDocument::Parse(model.details().derived().parameters_json());
  const auto open = [&](bool given, std::string_view name) {
    return !given && (!document.ok() || document->root().Get(name).missing());
  };
  if (open(sampling->has_temperature(), "temperature")) sampling->set_temperature(kTemperature);
  if (open(sampling->has_top_k(), "top_k")) sampling->set_top_k(kTopK);
  if (open(sampling->has_top_p(), "top_p")) sampling->set_top_p(kTopP);
}

absl::Status ReadThink(JsonValue think, v1::ChatPrompt* chat) {
  if (think.missing()) return absl::OkStatus();
  auto& variables = *chat->mutable_template_variables();
  if (think.is_bool()) {
    variables["enable_thinking"] = think.ToJson();
    if (!think.AsBool().value_or(true)) chat->set_reasoning_budget(0);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::string level, think.AsString());
  if (level != "low" && level != "medium" && level != "high" && level != "max") {
    return base::InvalidArgument("invalid think value: \"" + level +
                                 "\" (must be \"high\", \"medium\", \"low\", true, or false)");
  }
  variables["enable_thinking"] = "true";
  openai::ApplyEffort(level, chat);
  return absl::OkStatus();
}

std::chrono::milliseconds LoadWaitOf(const Services& services) {
  return services.waits_for_loading() ? services.times.generate : std::chrono::milliseconds(0);
}

absl::StatusOr<CommonFields> ReadCommon(JsonValue root, v1::GenerateRequest* request) {
  CommonFields fields;
  const absl::StatusOr<std::string> model = root.Get("model").AsString();
  if (!model.ok() || model->empty()) return base::InvalidArgument("model is required");
  fields.model = *model;
  ASSIGN_OR_RETURN(const std::optional<bool> stream, root.Get("stream").OptionalBool());
  fields.stream = stream.value_or(true);
  ASSIGN_OR_RETURN(fields.keep_alive_ms, ReadKeepAlive(root.Get("keep_alive")));
  if (fields.keep_alive_ms) request->mutable_meta()->set_keep_alive_ms(*fields.keep_alive_ms);
  RETURN_IF_ERROR(ReadFormat(root.Get("format"), request));
  RETURN_IF_ERROR(ReadOptions(root.Get("options"), request));
  RETURN_IF_ERROR(ReadLogprobs(root, request));
  fields.with_logprobs = request->has_logprobs();
  return fields;
}

}  // namespace conclave::gateway::ollama
