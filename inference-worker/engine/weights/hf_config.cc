#include "engine/weights/hf_config.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <utility>

namespace conclave::engine {
namespace {

using base::JsonValue;

constexpr int64_t kSizeMax = int64_t{1} << 24;
constexpr int64_t kLayersMax = 1024;

// One row per model_type.
struct Kind {
  std::string_view model_type;
  std::string_view architecture;
  bool permutes_qk;
  std::string_view expert_prefix;  // empty = dense
};
constexpr Kind kKinds[] = {
    {"llama", "llama", true, ""},
    {"mistral", "llama", true, ""},
    {"mixtral", "llama", true, "block_sparse_moe"},
    {"qwen2", "qwen2", false, ""},
    {"qwen3", "qwen3", false, ""},
    {"qwen3_moe", "qwen3moe", false, "mlp"},
};

absl::Status Unknown(const JsonValue& value, const std::string& what) {
  return base::Unimplemented(value.path() + ": " + what + " is not supported");
}

absl::StatusOr<const Kind*> FindKind(const JsonValue& config) {
  const JsonValue field = config.Get("model_type");
  ASSIGN_OR_RETURN(const std::string type, field.AsString());
  std::string known;
  for (const Kind& kind : kKinds) {
    if (kind.model_type == type) return &kind;
    known += (known.empty() ? "" : ", ") + std::string(kind.model_type);
  }
  return base::Unimplemented("model_type: \"" + type.substr(0, 64) + "\" is not known (" + known +
                             ")");
}

// Reads config fields and writes the keys of one architecture.
class Translator final {
 public:
  Translator(const JsonValue& config, std::string_view architecture, DirectorySource* metadata)
      : config_(config), architecture_(architecture), metadata_(*metadata) {}

  void Set(std::string_view key, MetadataValue value) {
    metadata_.AddMetadata(metadata_.Keep(std::string(architecture_) + "." + std::string(key)),
                          std::move(value));
  }
  absl::StatusOr<int64_t> Int(std::string_view field, int64_t min, int64_t max,
                              std::optional<int64_t> fallback = std::nullopt) {
    const JsonValue value = config_.Get(field);
    if (value.missing() && fallback.has_value()) return *fallback;
    return value.AsInt(min, max);
  }
  absl::Status CopyInt(std::string_view field, std::string_view key, int64_t* out) {
    ASSIGN_OR_RETURN(*out, Int(field, 1, kSizeMax));
    Set(key, *out);
    return absl::OkStatus();
  }
  const JsonValue& config() const { return config_; }

 private:
  JsonValue config_;
  std::string_view architecture_;
  DirectorySource& metadata_;
};

absl::Status ReadShape(Translator& t, HfModel* model) {
  int64_t ignored = 0, context = 0;
  RETURN_IF_ERROR(t.CopyInt("num_hidden_layers", "block_count", &model->num_layers));
  if (model->num_layers > kLayersMax) {
    return t.config().Get("num_hidden_layers").Error("more than 1024");
  }
  RETURN_IF_ERROR(t.CopyInt("hidden_size", "embedding_length", &model->hidden));
  RETURN_IF_ERROR(t.CopyInt("num_attention_heads", "attention.head_count", &model->num_heads));
  ASSIGN_OR_RETURN(model->num_kv_heads,
                   t.Int("num_key_value_heads", 1, kSizeMax, model->num_heads));
  t.Set("attention.head_count_kv", model->num_kv_heads);
  ASSIGN_OR_RETURN(model->head_dim, t.Int("head_dim", 1, kSizeMax,
                                          std::max<int64_t>(1, model->hidden / model->num_heads)));
  t.Set("attention.key_length", model->head_dim);
  t.Set("attention.value_length", model->head_dim);
  RETURN_IF_ERROR(t.CopyInt("vocab_size", "vocab_size", &ignored));
  RETURN_IF_ERROR(t.CopyInt("intermediate_size", "feed_forward_length", &ignored));
  ASSIGN_OR_RETURN(context, t.Int("max_position_embeddings", 1, kSizeMax));
  ASSIGN_OR_RETURN(const auto slides, t.config().Get("use_sliding_window").OptionalBool());
  const bool qwen = t.config().Get("use_sliding_window").present();
  if (slides.value_or(!qwen)) {
    // Within one window sliding changes nothing; beyond it the answer would be another.
    ASSIGN_OR_RETURN(const int64_t window, t.Int("sliding_window", 1, kSizeMax, context));
    context = std::min(context, window);
  }
  t.Set("context_length", context);
  const JsonValue eps = t.config().Get("rms_norm_eps");
  ASSIGN_OR_RETURN(const auto given, eps.OptionalNumber(1e-12, 1.0));
  t.Set("attention.layer_norm_rms_epsilon", given.value_or(1e-6));
  return absl::OkStatus();
}

absl::Status ReadFeedForward(Translator& t, const Kind& kind, HfModel* model) {
  const JsonValue config = t.config();
  const JsonValue activation = config.Get("hidden_act");
  ASSIGN_OR_RETURN(const auto name, activation.OptionalString());
  if (name.value_or("silu") != "silu") return Unknown(activation, "\"" + *name + "\"");
  ASSIGN_OR_RETURN(const auto bias, config.Get("mlp_bias").OptionalBool());
  if (bias.value_or(false)) return Unknown(config.Get("mlp_bias"), "a bias in the feed-forward");
  if (kind.expert_prefix.empty()) return absl::OkStatus();
  const bool mixtral = kind.model_type == "mixtral";
  model->expert_prefix = kind.expert_prefix;
  if (mixtral) model->gate = "w1", model->up = "w3", model->down = "w2";
  // Newer files of every family say num_local_experts.
  const bool local = mixtral || config.Get("num_experts").missing();
  ASSIGN_OR_RETURN(model->num_experts, t.Int(local ? "num_local_experts" : "num_experts", 1, 4096));
  t.Set("expert_count", model->num_experts);
  ASSIGN_OR_RETURN(const int64_t used, t.Int("num_experts_per_tok", 1, model->num_experts));
  t.Set("expert_used_count", used);
  int64_t length = 0;
  RETURN_IF_ERROR(t.CopyInt(mixtral ? "intermediate_size" : "moe_intermediate_size",
                            "expert_feed_forward_length", &length));
  ASSIGN_OR_RETURN(const auto norm, config.Get("norm_topk_prob").OptionalBool());
  t.Set("expert_weights_norm", mixtral || norm.value_or(false));
  ASSIGN_OR_RETURN(const int64_t step, t.Int("decoder_sparse_step", 1, kLayersMax, 1));
  if (step != 1 || config.Get("mlp_only_layers").size() > 0) {
    return Unknown(config.Get("decoder_sparse_step"), "a mixture in some layers only");
  }
  return absl::OkStatus();
}

absl::Status ReadYarn(Translator& t, const JsonValue& scaling) {
  t.Set("rope.scaling.type", std::string_view("yarn"));
  ASSIGN_OR_RETURN(const double factor, scaling.Get("factor").AsNumber(1, 1e6));
  t.Set("rope.scaling.factor", factor);
  ASSIGN_OR_RETURN(const auto original,
                   scaling.Get("original_max_position_embeddings").OptionalInt(1, kSizeMax));
  if (original.has_value()) t.Set("rope.scaling.original_context_length", *original);
  // The factor of the cosines is 1 + 0.1 ln(factor) there and here; only another one is said.
  ASSIGN_OR_RETURN(const auto attention, scaling.Get("attention_factor").OptionalNumber(1e-3, 1e3));
  if (attention.has_value()) {
    t.Set("rope.scaling.attn_factor", *attention / (1 + 0.1 * std::log(factor)));
  }
  ASSIGN_OR_RETURN(const auto fast, scaling.Get("beta_fast").OptionalNumber(0, 1e4));
  ASSIGN_OR_RETURN(const auto slow, scaling.Get("beta_slow").OptionalNumber(0, 1e4));
  t.Set("rope.scaling.yarn_beta_fast", fast.value_or(32));
  t.Set("rope.scaling.yarn_beta_slow", slow.value_or(1));
  return absl::OkStatus();
}

absl::StatusOr<Llama3Rope> ReadLlama3(const JsonValue& scaling, double base) {
  Llama3Rope rope{.base = base};
  ASSIGN_OR_RETURN(rope.factor, scaling.Get("factor").AsNumber(1, 1e6));
  ASSIGN_OR_RETURN(rope.low, scaling.Get("low_freq_factor").AsNumber(1e-3, 1e6));
  ASSIGN_OR_RETURN(rope.high, scaling.Get("high_freq_factor").AsNumber(1e-3, 1e6));
  ASSIGN_OR_RETURN(rope.original_context,
                   scaling.Get("original_max_position_embeddings").AsInt(1, kSizeMax));
  if (rope.high <= rope.low) {
    return scaling.Get("high_freq_factor").Error("expected more than low_freq_factor");
  }
  return rope;
}

absl::Status ReadRope(Translator& t, HfModel* model) {
  const JsonValue config = t.config();
  const bool newer = !config.Get("rope_parameters").missing();
  const JsonValue scaling = config.Get(newer ? "rope_parameters" : "rope_scaling");
  JsonValue theta = config.Get("rope_theta");
  if (!scaling.Get("rope_theta").missing()) theta = scaling.Get("rope_theta");
  ASSIGN_OR_RETURN(const auto base, theta.OptionalNumber(1, 1e15));
  t.Set("rope.freq_base", base.value_or(10000));
  ASSIGN_OR_RETURN(const auto partial, config.Get("partial_rotary_factor").OptionalNumber(0, 1));
  const double rotated = static_cast<double>(model->head_dim) * partial.value_or(1);
  t.Set("rope.dimension_count", static_cast<int64_t>(rotated));
  if (scaling.missing()) return absl::OkStatus();
  JsonValue field = scaling.Get("rope_type");
  if (field.missing()) field = scaling.Get("type");
  ASSIGN_OR_RETURN(const auto type, field.OptionalString());
  if (!type.has_value() || *type == "default") return absl::OkStatus();
  if (*type == "linear") {
    ASSIGN_OR_RETURN(const double factor, scaling.Get("factor").AsNumber(1e-3, 1e6));
    t.Set("rope.scaling.type", std::string_view("linear"));
    t.Set("rope.scaling.factor", factor);
    return absl::OkStatus();
  }
  if (*type == "yarn") return ReadYarn(t, scaling);
  if (*type == "llama3") {
    ASSIGN_OR_RETURN(model->llama3, ReadLlama3(scaling, base.value_or(10000)));
    return absl::OkStatus();
  }
  return Unknown(field, "\"" + type->substr(0, 64) + "\"");
}

absl::Status ReadQuantization(const JsonValue& quantization, HfModel* model) {
  if (quantization.missing()) return absl::OkStatus();
  const JsonValue field = quantization.Get("quant_method");
  ASSIGN_OR_RETURN(const std::string method, field.AsString());
  if (method == "fp8") {
    model->quantization = HfQuantization::kFp8;
    const JsonValue block = quantization.Get("weight_block_size");
    if (block.missing()) return Unknown(block, "FP8 without blocks");
    for (size_t i = 0; i < 2; ++i) {
      if (block.size() != 2) return block.Error("expected rows and columns");
      ASSIGN_OR_RETURN(model->fp8_block[i], block.At(i).AsInt(1, kSizeMax));
    }
    return absl::OkStatus();
  }
  if (method != "gptq" && method != "awq") {
    return Unknown(field, "\"" + method.substr(0, 64) + "\"");
  }
  model->quantization = method == "gptq" ? HfQuantization::kGptq : HfQuantization::kAwq;
  ASSIGN_OR_RETURN(const int64_t bits, quantization.Get("bits").AsInt(1, 32));
  if (bits != 4) return Unknown(quantization.Get("bits"), std::to_string(bits) + " bits");
  ASSIGN_OR_RETURN(model->group_size, quantization.Get("group_size").AsInt(-1, kSizeMax));
  if (model->group_size == 0) {
    return quantization.Get("group_size").Error("expected -1 or more than 0");
  }
  if (method == "gptq") {
    ASSIGN_OR_RETURN(const auto format, quantization.Get("checkpoint_format").OptionalString());
    model->gptq_v2 = format.value_or("gptq") == "gptq_v2";
    if (!model->gptq_v2 && format.value_or("gptq") != "gptq") {
      return Unknown(quantization.Get("checkpoint_format"), "\"" + format->substr(0, 64) + "\"");
    }
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(std::string version, quantization.Get("version").missing()
                                            ? std::string("gemm")
                                            : quantization.Get("version").AsString());
  std::transform(version.begin(), version.end(), version.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (version != "gemm") {
    return Unknown(quantization.Get("version"), "\"" + version.substr(0, 64) + "\"");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<HfModel> ReadHfConfig(const base::JsonValue& config, DirectorySource* metadata) {
  RETURN_IF_ERROR(config.ExpectObject());
  ASSIGN_OR_RETURN(const Kind* kind, FindKind(config));
  HfModel model{.architecture = kind->architecture, .permutes_qk = kind->permutes_qk};
  metadata->AddMetadata("general.architecture", kind->architecture);
  Translator translator(config, kind->architecture, metadata);
  RETURN_IF_ERROR(ReadShape(translator, &model));
  RETURN_IF_ERROR(ReadFeedForward(translator, *kind, &model));
  RETURN_IF_ERROR(ReadRope(translator, &model));
  RETURN_IF_ERROR(ReadQuantization(config.Get("quantization_config"), &model));
  ASSIGN_OR_RETURN(const auto tied, config.Get("tie_word_embeddings").OptionalBool());
  model.tied = tied.value_or(false);
  return model;
}

}  // namespace conclave::engine
