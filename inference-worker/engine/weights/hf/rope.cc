// How positions rotate queries and keys: the parameters of transformers' modeling_rope_utils as the
// keys GGUF has for them.
#include <cmath>

#include "engine/weights/hf/config.h"

namespace conclave::engine {
namespace {

using base::JsonValue;

// YaRN's length of a rotated vector (the paper's sqrt(1/t)), with a weight on its logarithm.
double Magnitude(double factor, double weight) {
  return factor <= 1 ? 1 : 1 + 0.1 * weight * std::log(factor);
}

// The length of the rotated vectors, which GGUF gives over and above Magnitude(factor, 1).
absl::Status ReadRotatedLength(ConfigReader& config, const JsonValue& scaling, double factor) {
  ASSIGN_OR_RETURN(const auto given, scaling.Get("attention_factor").OptionalNumber(1e-3, 1e3));
  ASSIGN_OR_RETURN(const auto mscale, scaling.Get("mscale").OptionalNumber(0, 1e3));
  ASSIGN_OR_RETURN(const auto all, scaling.Get("mscale_all_dim").OptionalNumber(0, 1e3));
  double length = Magnitude(factor, 1);
  if (given.has_value()) {
    length = *given;
  } else if (mscale.value_or(0) > 0 && all.value_or(0) > 0) {
    length = Magnitude(factor, *mscale) / Magnitude(factor, *all);
  }
  if (length != Magnitude(factor, 1)) {
    config.Set("rope.scaling.attn_factor", length / Magnitude(factor, 1));
  }
  return absl::OkStatus();
}

// DeepSeek multiplies the logits by the square of Magnitude(factor, mscale_all_dim); the rotated
// vectors have the ratio of the two lengths, which GGUF takes to be 1.
absl::Status ReadLogitScale(ConfigReader& config, const JsonValue& scaling) {
  ASSIGN_OR_RETURN(const auto mscale, scaling.Get("mscale").OptionalNumber(0, 1e3));
  ASSIGN_OR_RETURN(const auto all, scaling.Get("mscale_all_dim").OptionalNumber(0, 1e3));
  if (all.value_or(0) == 0 || mscale.value_or(0) != all.value_or(0)) {
    return FieldNotSupported(scaling.Get("mscale"), "anything but the value of mscale_all_dim");
  }
  if (!scaling.Get("attention_factor").missing()) {
    return FieldNotSupported(scaling.Get("attention_factor"), "a factor besides mscale");
  }
  config.Set("rope.scaling.yarn_log_multiplier", 0.1 * *all);
  return absl::OkStatus();
}

absl::Status ReadYarn(ConfigReader& config, const JsonValue& scaling,
                      const RopeDefaults& defaults) {
  config.Set("rope.scaling.type", std::string_view("yarn"));
  ASSIGN_OR_RETURN(const int64_t context,
                   config.Int("max_position_embeddings", 1, kConfigSizeMax, kConfigSizeMax));
  ASSIGN_OR_RETURN(const auto original,
                   scaling.Get("original_max_position_embeddings").OptionalInt(1, kConfigSizeMax));
  const int64_t trained = original.value_or(context);
  config.Set("rope.scaling.original_context_length", trained);
  double factor = static_cast<double>(context) / static_cast<double>(trained);
  if (!scaling.Get("factor").is_null()) {
    ASSIGN_OR_RETURN(factor, scaling.Get("factor").AsNumber(1, 1e6));
  }
  config.Set("rope.scaling.factor", factor);
  RETURN_IF_ERROR(defaults.scales_logits ? ReadLogitScale(config, scaling)
                                         : ReadRotatedLength(config, scaling, factor));
  for (const auto& [field, key, fallback] :
       {std::tuple("beta_fast", "rope.scaling.yarn_beta_fast", 32.0),
        std::tuple("beta_slow", "rope.scaling.yarn_beta_slow", 1.0)}) {
    ASSIGN_OR_RETURN(const auto beta, scaling.Get(field).OptionalNumber(0, 1e4));
    config.Set(key, beta.value_or(0) == 0 ? fallback : *beta);
  }
  ASSIGN_OR_RETURN(const auto whole, scaling.Get("truncate").OptionalBool());
  if (whole.value_or(true) == defaults.whole_bounds) return absl::OkStatus();
  return FieldNotSupported(scaling.Get("truncate"), defaults.whole_bounds ? "false" : "true");
}

absl::StatusOr<Llama3Rope> ReadLlama3(const JsonValue& scaling, double base) {
  Llama3Rope rope{.base = base};
  ASSIGN_OR_RETURN(rope.factor, scaling.Get("factor").AsNumber(1, 1e6));
  ASSIGN_OR_RETURN(rope.low, scaling.Get("low_freq_factor").AsNumber(1e-3, 1e6));
  ASSIGN_OR_RETURN(rope.high, scaling.Get("high_freq_factor").AsNumber(1e-3, 1e6));
  ASSIGN_OR_RETURN(rope.original_context,
                   scaling.Get("original_max_position_embeddings").AsInt(1, kConfigSizeMax));
  if (rope.high <= rope.low) {
    return scaling.Get("high_freq_factor").Error("expected more than low_freq_factor");
  }
  return rope;
}

absl::StatusOr<int64_t> RotatedElements(const ConfigReader& config, const JsonValue& parameters,
                                        const RopeDefaults& defaults, const HfModel& model) {
  if (defaults.rotated > 0) return defaults.rotated;
  JsonValue field = parameters.Get("partial_rotary_factor");
  if (field.missing()) field = config.Get("partial_rotary_factor");
  ASSIGN_OR_RETURN(const auto partial, field.OptionalNumber(0, 1));
  const double share = static_cast<double>(model.head_dim) * partial.value_or(defaults.partial);
  if (share < 2) return field.Error("rotates less than two elements of a head");
  if (defaults.whole_heads && share < static_cast<double>(model.head_dim)) {
    return FieldNotSupported(field, "a part of a head");
  }
  return static_cast<int64_t>(share);
}

}  // namespace

absl::Status ReadRopeParameters(ConfigReader& config, const JsonValue& parameters,
                                const RopeDefaults& defaults, HfModel* model) {
  JsonValue theta = parameters.Get("rope_theta");
  if (theta.missing()) theta = config.Get("rope_theta");
  ASSIGN_OR_RETURN(const auto given, theta.OptionalNumber(1, 1e15));
  const double base = given.value_or(defaults.theta);
  config.Set("rope.freq_base", base);
  ASSIGN_OR_RETURN(const int64_t rotated, RotatedElements(config, parameters, defaults, *model));
  config.Set("rope.dimension_count", rotated);
  if (parameters.missing()) return absl::OkStatus();
  JsonValue field = parameters.Get("rope_type");
  if (field.missing()) field = parameters.Get("type");
  ASSIGN_OR_RETURN(const auto type, field.OptionalString());
  if (!type.has_value() || *type == "default") return absl::OkStatus();
  if (*type == "linear") {
    ASSIGN_OR_RETURN(const double factor, parameters.Get("factor").AsNumber(1e-3, 1e6));
    config.Set("rope.scaling.type", std::string_view("linear"));
    config.Set("rope.scaling.factor", factor);
    return absl::OkStatus();
  }
  if (*type == "yarn") return ReadYarn(config, parameters, defaults);
  if (*type == "llama3") {
    ASSIGN_OR_RETURN(model->llama3, ReadLlama3(parameters, base));
    return absl::OkStatus();
  }
  return FieldNotSupported(field, "\"" + type->substr(0, 64) + "\"");
}

absl::Status ReadRope(ConfigReader& config, const RopeDefaults& defaults, HfModel* model) {
  const bool newer = !config.Get("rope_parameters").missing();
  return ReadRopeParameters(config, config.Get(newer ? "rope_parameters" : "rope_scaling"),
                            defaults, model);
}

}  // namespace conclave::engine
