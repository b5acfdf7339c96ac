#include "gateway/dialects/openai/sampling.h"

#include <charconv>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/strings.h"

namespace conclave::gateway::openai {
namespace {

using base::JsonValue;

constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();
constexpr size_t kLogitBiasMax = 1024;
constexpr size_t kStopIdsMax = 64;
constexpr size_t kStopBytesMax = 1024;
constexpr int64_t kPriorityMax = 100;

// Hands a present number to a setter of the message.
template <typename Set>
absl::Status ReadNumber(JsonValue root, std::string_view name, double min, double max, Set set) {
  ASSIGN_OR_RETURN(const std::optional<double> value, root.Get(name).OptionalNumber(min, max));
  if (value) set(static_cast<float>(*value));
  return absl::OkStatus();
}
template <typename Set>
absl::Status ReadInt(JsonValue root, std::string_view name, int64_t min, int64_t max, Set set) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> value, root.Get(name).OptionalInt(min, max));
  if (value) set(static_cast<int32_t>(*value));
  return absl::OkStatus();
}

absl::Status ReadLogitBias(JsonValue bias, v1::SamplingParams* sampling) {
  if (bias.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(bias.ExpectObject());
  if (bias.size() > kLogitBiasMax) {
    return bias.Error(absl::StrCat("at most ", kLogitBiasMax, " entries"));
  }
  absl::Status status;
  bias.ForEachMember([&](std::string_view key, JsonValue value) {
    if (!status.ok()) return;
    int32_t token = 0;
    const auto parsed = std::from_chars(key.data(), key.data() + key.size(), token);
    if (parsed.ec != std::errc() || parsed.ptr != key.data() + key.size() || token < 0) {
      status = bias.Error("keys must be token ids");
      return;
    }
    const absl::StatusOr<double> weight = value.AsNumber(-100, 100);
    if (!weight.ok()) {
      status = weight.status();
      return;
    }
    v1::LogitBias* entry = sampling->add_logit_bias();
    entry->set_token_id(token);
    entry->set_bias(static_cast<float>(*weight));
  });
  return status;
}

absl::Status ReadStopIds(JsonValue ids, v1::StopConditions* out) {
  if (ids.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(ids.ExpectArray());
  if (ids.size() > kStopIdsMax) return ids.Error(absl::StrCat("at most ", kStopIdsMax, " ids"));
  for (size_t i = 0; i < ids.size(); ++i) {
    ASSIGN_OR_RETURN(const int64_t id, ids.At(i).AsInt(0, kInt32Max));
    out->add_token_ids(static_cast<int32_t>(id));
  }
  return absl::OkStatus();
}

absl::Status ReadPenaltiesAndCutoffs(JsonValue root, v1::SamplingParams* s) {
  RETURN_IF_ERROR(ReadNumber(root, "temperature", 0, 2, [s](float v) { s->set_temperature(v); }));
  RETURN_IF_ERROR(ReadNumber(root, "top_p", 0, 1, [s](float v) { s->set_top_p(v); }));
  RETURN_IF_ERROR(ReadNumber(root, "min_p", 0, 1, [s](float v) { s->set_min_p(v); }));
  RETURN_IF_ERROR(ReadNumber(root, "typical_p", 0, 1, [s](float v) { s->set_typical_p(v); }));
  // −1 is the other spelling of "off".
  RETURN_IF_ERROR(
      ReadInt(root, "top_k", -1, kInt32Max, [s](int32_t v) { s->set_top_k(v < 0 ? 0 : v); }));
  RETURN_IF_ERROR(
      ReadNumber(root, "frequency_penalty", -2, 2, [s](float v) { s->set_frequency_penalty(v); }));
  RETURN_IF_ERROR(
      ReadNumber(root, "presence_penalty", -2, 2, [s](float v) { s->set_presence_penalty(v); }));
  RETURN_IF_ERROR(ReadNumber(root, "repetition_penalty", 0.01, 10,
                             [s](float v) { s->set_repetition_penalty(v); }));
  return absl::OkStatus();
}

// service_tier and priority decide which requests of a full worker go first.
absl::Status ReadPriority(JsonValue root, v1::RequestMeta* meta) {
  ASSIGN_OR_RETURN(const std::optional<std::string> tier,
                   root.Get("service_tier").OptionalString());
  if (tier == "flex") meta->set_priority(-1);
  if (tier == "priority") meta->set_priority(1);
  return ReadInt(root, "priority", -kPriorityMax, kPriorityMax,
                 [meta](int32_t v) { meta->set_priority(v); });
}

// Clients send what they leave at its default: null, false, "", [] and {} ask for nothing.
bool IsEmptyValue(JsonValue value) {
  if (value.missing()) return true;
  if (value.is_bool()) return value.ToJson() == "false";
  if (value.is_string()) return value.ToJson() == "\"\"";
  return (value.is_array() || value.is_object()) && value.size() == 0;
}

// What changes no answer of ours is accepted where it has the right shape.
absl::Status CheckSoftParameters(JsonValue root) {
  RETURN_IF_ERROR(root.Get("user").OptionalString().status());
  RETURN_IF_ERROR(root.Get("store").OptionalBool().status());
  const JsonValue prediction = root.Get("prediction");
  if (prediction.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(prediction.ExpectObject());
  ASSIGN_OR_RETURN(const std::string type, prediction.Get("type").AsString());
  if (type != "content") return prediction.Get("type").Error("expected \"content\"");
  const JsonValue content = prediction.Get("content");
  if (!content.is_string() && !content.is_array()) {
    return content.Error("expected string or array of parts");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadSeed(JsonValue root, v1::SamplingParams* sampling) {
  ASSIGN_OR_RETURN(const std::optional<int64_t> seed,
                   root.Get("seed").OptionalInt(std::numeric_limits<int64_t>::min(),
                                                std::numeric_limits<int64_t>::max()));
  if (seed) sampling->set_seed(static_cast<uint64_t>(*seed));
  return absl::OkStatus();
}

absl::Status ReadStop(JsonValue stop, size_t stop_max, v1::StopConditions* out) {
  const auto add = [out](JsonValue value) -> absl::Status {
    ASSIGN_OR_RETURN(std::string text, value.AsString());
    if (text.empty()) return value.Error("a stop sequence must not be empty");
    if (text.size() > kStopBytesMax) {
      return value.Error(absl::StrCat("at most ", kStopBytesMax, " bytes"));
    }
    out->add_strings(std::move(text));
    return absl::OkStatus();
  };
  if (stop.missing()) return absl::OkStatus();
  if (stop.is_string()) return add(stop);
  if (!stop.is_array()) return stop.Error("expected string or array of strings");
  if (stop.size() > stop_max) return stop.Error(absl::StrCat("at most ", stop_max, " sequences"));
  for (size_t i = 0; i < stop.size(); ++i) RETURN_IF_ERROR(add(stop.At(i)));
  return absl::OkStatus();
}

absl::Status RefuseFields(JsonValue root, std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) {
    if (IsEmptyValue(root.Get(name))) continue;
    return base::WithParam(
        base::WithReason(base::Unimplemented(std::string(name) + ": not supported by this server"),
                         "unsupported_parameter"),
        name);
  }
  return absl::OkStatus();
}

absl::Status ReadSampling(JsonValue root, size_t stop_max, v1::GenerateRequest* request) {
  v1::SamplingParams* sampling = request->mutable_sampling();
  RETURN_IF_ERROR(ReadPenaltiesAndCutoffs(root, sampling));
  RETURN_IF_ERROR(ReadSeed(root, sampling));
  RETURN_IF_ERROR(ReadLogitBias(root.Get("logit_bias"), sampling));
  v1::StopConditions* stop = request->mutable_stop();
  RETURN_IF_ERROR(ReadStop(root.Get("stop"), stop_max, stop));
  RETURN_IF_ERROR(ReadStopIds(root.Get("stop_token_ids"), stop));
  RETURN_IF_ERROR(
      ReadInt(root, "min_tokens", 0, kInt32Max, [stop](int32_t v) { stop->set_min_tokens(v); }));
  ASSIGN_OR_RETURN(const std::optional<bool> ignore_eos, root.Get("ignore_eos").OptionalBool());
  stop->set_ignore_eos(ignore_eos.value_or(false));
  RETURN_IF_ERROR(ReadPriority(root, request->mutable_meta()));
  ASSIGN_OR_RETURN(const std::optional<int64_t> n, root.Get("n").OptionalInt(1, kChoicesMax));
  if (n) request->set_n(static_cast<int32_t>(*n));
  RETURN_IF_ERROR(CheckSoftParameters(root));
  // 0 is its "off", and llama-server's clients send it.
  const absl::StatusOr<int64_t> mirostat = root.Get("mirostat").AsInt();
  if (!mirostat.ok() || *mirostat != 0) RETURN_IF_ERROR(RefuseFields(root, {"mirostat"}));
  return RefuseFields(root, {"lora"});
}

absl::Status ReadPromptLogprobs(JsonValue root, v1::GenerateRequest* request) {
  constexpr int64_t kTopMax = 20;
  const JsonValue given = root.Get("prompt_logprobs");
  ASSIGN_OR_RETURN(const std::optional<int64_t> top, given.OptionalInt(0, kTopMax));
  if (!top) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::optional<bool> stream, root.Get("stream").OptionalBool());
  if (stream.value_or(false)) return given.Error("not available in a stream");
  request->mutable_prompt_logprobs()->set_top(static_cast<int32_t>(*top));
  return absl::OkStatus();
}

absl::StatusOr<Reports> ReadReports(JsonValue root) {
  Reports reports;
  const std::pair<std::string_view, bool*> kFields[] = {{"return_progress", &reports.progress},
                                                        {"timings_per_token", &reports.timings},
                                                        {"return_speed", &reports.speed}};
  for (const auto& [name, wanted] : kFields) {
    ASSIGN_OR_RETURN(const std::optional<bool> given, root.Get(name).OptionalBool());
    *wanted = given.value_or(false);
  }
  return reports;
}

absl::StatusOr<StreamOptions> ReadStreamOptions(JsonValue root) {
  StreamOptions options;
  ASSIGN_OR_RETURN(const std::optional<bool> stream, root.Get("stream").OptionalBool());
  options.stream = stream.value_or(false);
  const JsonValue given = root.Get("stream_options");
  if (given.missing()) return options;
  RETURN_IF_ERROR(given.ExpectObject());
  if (!options.stream) return given.Error("only allowed when stream is true");
  ASSIGN_OR_RETURN(const std::optional<bool> usage, given.Get("include_usage").OptionalBool());
  options.include_usage = usage.value_or(false);
  return options;
}

}  // namespace conclave::gateway::openai
