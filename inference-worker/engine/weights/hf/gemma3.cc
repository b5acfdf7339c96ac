// Gemma 3, alone or as the text part of a model that sees. Norms store their weight less one; of
// six layers five see a window and rotate by another base. Towers for images are left out.
#include <vector>

#include "engine/weights/hf/config.h"
#include "engine/weights/hf/operations.h"

namespace conclave::engine {
namespace {

constexpr int64_t kPeriod = 6;

constexpr std::string_view kPrefixes[] = {"model.", "language_model.model.",
                                          "model.language_model."};
constexpr std::string_view kSkipped[] = {"vision_tower.", "multi_modal_projector.",
                                         "model.vision_tower.", "model.multi_modal_projector."};

constexpr TensorRule kGlobals[] = {
    {"embed_tokens", "token_embd", MapModule},
    {"norm", "output_norm", MapOneMore},
};

constexpr TensorRule kLayers[] = {
    {"input_layernorm", "attn_norm", MapOneMore},
    {"post_attention_layernorm", "post_attention_norm", MapOneMore},
    {"pre_feedforward_layernorm", "ffn_norm", MapOneMore},
    {"post_feedforward_layernorm", "post_ffw_norm", MapOneMore},
    {"self_attn.q_proj", "attn_q", MapModule},
    {"self_attn.k_proj", "attn_k", MapModule},
    {"self_attn.v_proj", "attn_v", MapModule},
    {"self_attn.o_proj", "attn_output", MapModule},
    {"self_attn.q_norm", "attn_q_norm", MapOneMore},
    {"self_attn.k_norm", "attn_k_norm", MapOneMore},
    {"mlp.gate_proj", "ffn_gate", MapModule},
    {"mlp.up_proj", "ffn_up", MapModule},
    {"mlp.down_proj", "ffn_down", MapModule},
};

// Logits are scaled by 1/sqrt(query_pre_attn_scalar). GGUF has no key for it: it is the length of a
// head, but for the 27B model (the one of 62 layers), where it is hidden / heads.
absl::Status ExpectScale(const ConfigReader& config, const HfModel& model) {
  const int64_t assumed = model.num_layers == 62 ? model.hidden / model.num_heads : model.head_dim;
  ASSIGN_OR_RETURN(const double scalar, config.Number("query_pre_attn_scalar", 0, 1e9, 256));
  if (scalar == static_cast<double>(assumed)) return absl::OkStatus();
  return FieldNotSupported(config.Get("query_pre_attn_scalar"),
                           "anything but " + std::to_string(assumed));
}

absl::Status ReadWindows(ConfigReader& config, const HfModel& model) {
  ASSIGN_OR_RETURN(const int64_t window, config.Int("sliding_window", 1, kConfigSizeMax, 4096));
  const std::string_view field =
      config.AnyOf({"sliding_window_pattern", "_sliding_window_pattern"});
  ASSIGN_OR_RETURN(const int64_t period, config.Int(field, 1, kConfigLayersMax, kPeriod));
  std::vector<bool> slides;
  for (int64_t i = 0; i < model.num_layers; ++i) slides.push_back((i + 1) % period != 0);
  ASSIGN_OR_RETURN(slides, ReadLayerTypes(config, model.num_layers, std::move(slides)));
  SetWindow(config, window, slides, kPeriod);
  return absl::OkStatus();
}

absl::Status ReadRotations(ConfigReader& config, HfModel* model) {
  const RopeDefaults defaults = {.theta = 1e6};
  const base::JsonValue kinds = config.Get("rope_parameters");
  base::JsonValue local = config.Get("rope_local_base_freq");
  if (kinds.Get("full_attention").missing()) {
    RETURN_IF_ERROR(ReadRope(config, defaults, model));
  } else {
    RETURN_IF_ERROR(ReadRopeParameters(config, kinds.Get("full_attention"), defaults, model));
    const base::JsonValue sliding = kinds.Get("sliding_attention");
    ASSIGN_OR_RETURN(const auto type, sliding.Get("rope_type").OptionalString());
    if (type.value_or("default") != "default") {
      return FieldNotSupported(sliding.Get("rope_type"), "\"" + type->substr(0, 64) + "\"");
    }
    if (!sliding.Get("rope_theta").missing()) local = sliding.Get("rope_theta");
  }
  ASSIGN_OR_RETURN(const auto base, local.OptionalNumber(1, 1e15));
  config.Set("rope.freq_base_swa", base.value_or(10000));
  return absl::OkStatus();
}

absl::Status ReadGemma3(ConfigReader& config, HfModel* model) {
  RETURN_IF_ERROR(config.ExpectText("hidden_activation", "gelu_pytorch_tanh"));
  RETURN_IF_ERROR(config.ExpectFlag("use_bidirectional_attention", false));
  for (const char* field : {"attn_logit_softcapping", "final_logit_softcapping"}) {
    if (!config.Get(field).missing()) return FieldNotSupported(config.Get(field), "capping");
  }
  RETURN_IF_ERROR(ReadShape(
      config, {.heads = 8, .kv_heads = 4, .head_dim = 256, .vocabulary = 262208, .context = 131072},
      model));
  model->tied = true;
  RETURN_IF_ERROR(ExpectScale(config, *model));
  RETURN_IF_ERROR(ReadWindows(config, *model));
  return ReadRotations(config, model);
}

constexpr std::string_view kTypes[] = {"gemma3_text", "gemma3"};

}  // namespace

extern const HfFamily kHfGemma3;

const HfFamily kHfGemma3 = {.model_types = kTypes,
                            .architecture = "gemma3",
                            .read = ReadGemma3,
                            .prefixes = kPrefixes,
                            .layer = "layers.",
                            .globals = kGlobals,
                            .layers = kLayers,
                            .skipped = kSkipped};

}  // namespace conclave::engine
