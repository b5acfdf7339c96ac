#include "engine/weights/hf/config.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace conclave::engine {

using base::JsonValue;

absl::Status FieldNotSupported(const JsonValue& field, std::string_view what) {
  return base::Unimplemented(field.path() + ": " + std::string(what) + " is not supported");
}

absl::StatusOr<int64_t> ConfigReader::Int(std::string_view field, int64_t min, int64_t max,
                                          std::optional<int64_t> fallback) const {
  const JsonValue value = Get(field);
  if (value.missing() && fallback.has_value()) return *fallback;
  return value.AsInt(min, max);
}

absl::StatusOr<double> ConfigReader::Number(std::string_view field, double min, double max,
                                            std::optional<double> fallback) const {
  const JsonValue value = Get(field);
  if (value.missing() && fallback.has_value()) return *fallback;
  return value.AsNumber(min, max);
}

absl::StatusOr<bool> ConfigReader::Flag(std::string_view field, bool fallback) const {
  ASSIGN_OR_RETURN(const auto value, Get(field).OptionalBool());
  return value.value_or(fallback);
}

absl::StatusOr<std::string> ConfigReader::Text(std::string_view field,
                                               std::string_view fallback) const {
  ASSIGN_OR_RETURN(const auto value, Get(field).OptionalString());
  return value.value_or(std::string(fallback)).substr(0, 64);
}

std::string_view ConfigReader::AnyOf(std::initializer_list<std::string_view> fields) const {
  for (const std::string_view field : fields) {
    if (!Get(field).missing()) return field;
  }
  return *fields.begin();
}

absl::Status ConfigReader::ExpectFlag(std::string_view field, bool value) const {
  ASSIGN_OR_RETURN(const bool found, Flag(field, value));
  return found == value ? absl::OkStatus()
                        : FieldNotSupported(Get(field), found ? "true" : "false");
}

absl::Status ConfigReader::ExpectText(std::string_view field, std::string_view value) const {
  ASSIGN_OR_RETURN(const std::string found, Text(field, value));
  return found == value ? absl::OkStatus() : FieldNotSupported(Get(field), "\"" + found + "\"");
}

absl::Status ConfigReader::ExpectNumber(std::string_view field, double value) const {
  ASSIGN_OR_RETURN(const double found, Number(field, -1e15, 1e15, value));
  if (found == value) return absl::OkStatus();
  return FieldNotSupported(Get(field), "another value than " + std::to_string(value));
}

void ConfigReader::Set(std::string_view key, MetadataValue value) {
  metadata_.AddMetadata(metadata_.Keep(std::string(architecture_) + "." + std::string(key)),
                        std::move(value));
}

void ConfigReader::SetShared(std::string_view key, MetadataValue value) {
  metadata_.AddMetadata(metadata_.Keep(std::string(key)), std::move(value));
}

void ConfigReader::SetFlags(std::string_view key, const std::vector<bool>& flags) {
  const std::string_view bytes = metadata_.Keep(std::string(flags.begin(), flags.end()));
  Set(key, MetadataNumbers{.type = MetadataNumbers::Type::kBool,
                           .count = static_cast<int64_t>(flags.size()),
                           .data = reinterpret_cast<const std::byte*>(bytes.data())});
}

absl::Status ConfigReader::CopyInt(std::string_view field, std::string_view key, int64_t min,
                                   int64_t max, int64_t* out, std::optional<int64_t> fallback) {
  ASSIGN_OR_RETURN(const int64_t value, Int(field, min, max, fallback));
  Set(key, value);
  if (out != nullptr) *out = value;
  return absl::OkStatus();
}

namespace {

std::optional<int64_t> OrRequired(int64_t fallback) {
  return fallback == 0 ? std::nullopt : std::optional(fallback);
}

}  // namespace

absl::Status ReadSizes(ConfigReader& config, const ShapeDefaults& defaults, HfModel* model) {
  RETURN_IF_ERROR(
      config.CopyInt("num_hidden_layers", "block_count", 1, kConfigLayersMax, &model->num_layers));
  RETURN_IF_ERROR(
      config.CopyInt("hidden_size", "embedding_length", 1, kConfigSizeMax, &model->hidden));
  RETURN_IF_ERROR(config.CopyInt("num_attention_heads", "attention.head_count", 1, kConfigSizeMax,
                                 &model->num_heads, OrRequired(defaults.heads)));
  RETURN_IF_ERROR(config.CopyInt("vocab_size", "vocab_size", 1, kConfigSizeMax, nullptr,
                                 OrRequired(defaults.vocabulary)));
  RETURN_IF_ERROR(config.CopyInt("intermediate_size", "feed_forward_length", 1, kConfigSizeMax));
  RETURN_IF_ERROR(config.CopyInt("max_position_embeddings", "context_length", 1, kConfigSizeMax,
                                 nullptr, OrRequired(defaults.context)));
  ASSIGN_OR_RETURN(const double eps, config.Number("rms_norm_eps", 1e-12, 1, defaults.rms_eps));
  config.Set("attention.layer_norm_rms_epsilon", eps);
  return absl::OkStatus();
}

absl::Status ReadShape(ConfigReader& config, const ShapeDefaults& defaults, HfModel* model) {
  RETURN_IF_ERROR(ReadSizes(config, defaults, model));
  RETURN_IF_ERROR(config.CopyInt("num_key_value_heads", "attention.head_count_kv", 1,
                                 kConfigSizeMax, &model->num_kv_heads,
                                 defaults.kv_heads == 0 ? model->num_heads : defaults.kv_heads));
  const int64_t share = std::max<int64_t>(1, model->hidden / model->num_heads);
  ASSIGN_OR_RETURN(model->head_dim, config.Int("head_dim", 1, kConfigHeadMax,
                                               defaults.head_dim == 0 ? share : defaults.head_dim));
  if (model->head_dim > kConfigHeadMax) {
    return config.Get("num_attention_heads").Error("heads of more than 65536 elements");
  }
  config.Set("attention.key_length", model->head_dim);
  config.Set("attention.value_length", model->head_dim);
  return absl::OkStatus();
}

absl::Status ReadMixture(ConfigReader& config, const MixtureFields& fields, HfModel* model) {
  // Files of every family may say num_local_experts.
  const std::string_view count =
      config.AnyOf({"num_local_experts", "num_experts", "n_routed_experts"});
  RETURN_IF_ERROR(config.CopyInt(count, "expert_count", 1, kConfigExpertsMax, &model->num_experts));
  RETURN_IF_ERROR(
      config.CopyInt("num_experts_per_tok", "expert_used_count", 1, model->num_experts));
  RETURN_IF_ERROR(config.CopyInt(fields.length, "expert_feed_forward_length", 1, kConfigSizeMax));
  ASSIGN_OR_RETURN(const bool normalised, config.Flag("norm_topk_prob", fields.normalised));
  config.Set("expert_weights_norm", fields.always || normalised);
  return absl::OkStatus();
}

absl::Status ReadSharedMixture(ConfigReader& config, const SharedMixtureDefaults& defaults,
                               HfModel* model) {
  RETURN_IF_ERROR(config.CopyInt("n_shared_experts", "expert_shared_count", 0, kConfigExpertsMax,
                                 nullptr, defaults.shared));
  RETURN_IF_ERROR(config.CopyInt("first_k_dense_replace", "leading_dense_block_count", 0,
                                 model->num_layers, &model->num_dense,
                                 std::min(model->num_layers, defaults.leading_dense)));
  ASSIGN_OR_RETURN(const double scale,
                   config.Number("routed_scaling_factor", 1e-6, 1e6, defaults.scale));
  config.Set("expert_weights_scale", scale);
  if (defaults.groups == 0) return absl::OkStatus();
  int64_t groups = 0;
  RETURN_IF_ERROR(config.CopyInt("n_group", "expert_group_count", 1, model->num_experts, &groups,
                                 defaults.groups));
  if (model->num_experts % groups != 0) {
    return config.Get("n_group").Error("does not divide the number of experts");
  }
  return config.CopyInt("topk_group", "expert_group_used_count", 1, groups, nullptr,
                        std::min(groups, defaults.groups_used));
}

absl::StatusOr<std::vector<bool>> ReadLayerTypes(const ConfigReader& config, int64_t num_layers,
                                                 std::vector<bool> otherwise) {
  const JsonValue types = config.Get("layer_types");
  if (types.missing()) return otherwise;
  RETURN_IF_ERROR(types.ExpectArray());
  if (static_cast<int64_t>(types.size()) != num_layers) {
    return types.Error("expected one for each of the " + std::to_string(num_layers) + " layers");
  }
  std::vector<bool> slides;
  for (size_t i = 0; i < types.size(); ++i) {
    ASSIGN_OR_RETURN(const std::string type, types.At(i).AsString());
    if (type != "sliding_attention" && type != "full_attention") {
      return FieldNotSupported(types.At(i), "\"" + type.substr(0, 64) + "\"");
    }
    slides.push_back(type == "sliding_attention");
  }
  return slides;
}

void SetWindow(ConfigReader& config, int64_t window, const std::vector<bool>& slides,
               int64_t period) {
  if (std::find(slides.begin(), slides.end(), true) == slides.end()) return;
  config.Set("attention.sliding_window", window);
  bool assumed = true;
  for (size_t i = 0; i < slides.size(); ++i) {
    const bool full = period > 0 && static_cast<int64_t>(i + 1) % period == 0;
    assumed = assumed && slides[i] != full;
  }
  if (!assumed) config.SetFlags("attention.sliding_window_pattern", slides);
}

}  // namespace conclave::engine
