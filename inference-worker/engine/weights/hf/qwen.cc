// Qwen 2 and 3, dense and as mixtures. Qwen 2 has biases on queries, keys and values, Qwen 3 a norm
// per head; the mixture of Qwen 2 has a shared expert behind a gate of its own.
#include <algorithm>
#include <utility>
#include <vector>

#include "engine/weights/hf/config.h"
#include "engine/weights/hf/operations.h"

namespace conclave::engine {
namespace {

// Embedding models are published without the prefix.
constexpr std::string_view kPrefixes[] = {"model.", ""};

bool HasSharedExpert(const HfModel& model, int64_t) { return model.shared_expert; }

constexpr TensorRule kGlobals[] = {
    {"embed_tokens", "token_embd", MapModule},
    {"norm", "output_norm", MapModule},
};

constexpr TensorRule kLayers[] = {
    {"input_layernorm", "attn_norm", MapModule},
    {"post_attention_layernorm", "ffn_norm", MapModule},
    {"self_attn.q_proj", "attn_q", MapBiased},
    {"self_attn.k_proj", "attn_k", MapBiased},
    {"self_attn.v_proj", "attn_v", MapBiased},
    {"self_attn.o_proj", "attn_output", MapModule},
    {"self_attn.q_norm", "attn_q_norm", MapModule, Presence::kOptional},
    {"self_attn.k_norm", "attn_k_norm", MapModule, Presence::kOptional},
    {"self_attn.rotary_emb.inv_freq", "", MapNothing, Presence::kOptional},
    {"mlp.gate_proj", "ffn_gate", MapModule, Presence::kRequired, InDenseLayers},
    {"mlp.up_proj", "ffn_up", MapModule, Presence::kRequired, InDenseLayers},
    {"mlp.down_proj", "ffn_down", MapModule, Presence::kRequired, InDenseLayers},
    {"mlp.gate", "ffn_gate_inp", MapModule, Presence::kRequired, InMixtures},
    {"mlp.experts.#.gate_proj", "ffn_gate_exps", MapExperts, Presence::kRequired, InMixtures},
    {"mlp.experts.gate_up_proj", "ffn_gate_exps", MapGateRows, Presence::kInstead},
    {"mlp.experts.#.up_proj", "ffn_up_exps", MapExperts, Presence::kRequired, InMixtures},
    {"mlp.experts.gate_up_proj", "ffn_up_exps", MapUpRows, Presence::kInstead},
    {"mlp.experts.#.down_proj", "ffn_down_exps", MapExperts, Presence::kRequired, InMixtures},
    {"mlp.experts.down_proj", "ffn_down_exps.weight", MapWhole, Presence::kInstead},
    {"mlp.shared_expert.gate_proj", "ffn_gate_shexp", MapModule, Presence::kRequired,
     HasSharedExpert},
    {"mlp.shared_expert.up_proj", "ffn_up_shexp", MapModule, Presence::kRequired, HasSharedExpert},
    {"mlp.shared_expert.down_proj", "ffn_down_shexp", MapModule, Presence::kRequired,
     HasSharedExpert},
    {"mlp.shared_expert_gate.weight", "ffn_gate_inp_shexp.weight", MapVector, Presence::kRequired,
     HasSharedExpert},
};

// Which layers slide where layer_types does not say.
using Pattern = bool (*)(int64_t layer, int64_t max_window_layers);

absl::Status ReadWindows(ConfigReader& config, Pattern pattern, const HfModel& model) {
  ASSIGN_OR_RETURN(const bool slides, config.Flag("use_sliding_window", false));
  ASSIGN_OR_RETURN(const int64_t first, config.Int("max_window_layers", 0, kConfigSizeMax, 28));
  std::vector<bool> windows;
  for (int64_t i = 0; i < model.num_layers; ++i) windows.push_back(slides && pattern(i, first));
  ASSIGN_OR_RETURN(windows, ReadLayerTypes(config, model.num_layers, std::move(windows)));
  if (std::find(windows.begin(), windows.end(), true) == windows.end()) return absl::OkStatus();
  if (!slides) return config.Get("layer_types").Error("slides without use_sliding_window");
  ASSIGN_OR_RETURN(const int64_t window, config.Int("sliding_window", 1, kConfigSizeMax, 4096));
  SetWindow(config, window, windows, 1);
  return absl::OkStatus();
}

absl::Status ReadQwen(ConfigReader& config, Pattern pattern, HfModel* model) {
  RETURN_IF_ERROR(config.ExpectText("hidden_act", "silu"));
  RETURN_IF_ERROR(config.ExpectFlag("attention_bias", false));  // a field of Qwen 3
  RETURN_IF_ERROR(ReadShape(config, {}, model));
  RETURN_IF_ERROR(ReadWindows(config, pattern, *model));
  return ReadRope(config, {}, model);
}

absl::Status ReadDense(ConfigReader& config, HfModel* model) {
  const auto last_layers = [](int64_t layer, int64_t first) { return layer >= first; };
  return ReadQwen(config, last_layers, model);
}

absl::Status ExpectMixtureEverywhere(const ConfigReader& config) {
  ASSIGN_OR_RETURN(const int64_t step, config.Int("decoder_sparse_step", 1, kConfigLayersMax, 1));
  if (step == 1 && config.Get("mlp_only_layers").size() == 0) return absl::OkStatus();
  return FieldNotSupported(config.Get(step == 1 ? "mlp_only_layers" : "decoder_sparse_step"),
                           "a mixture in some layers only");
}

absl::Status ReadQwen3Moe(ConfigReader& config, HfModel* model) {
  const auto all_layers = [](int64_t, int64_t) { return true; };
  RETURN_IF_ERROR(ReadQwen(config, all_layers, model));
  RETURN_IF_ERROR(ExpectMixtureEverywhere(config));
  return ReadMixture(config, {.length = "moe_intermediate_size"}, model);
}

absl::Status ReadQwen2Moe(ConfigReader& config, HfModel* model) {
  const auto every_other = [](int64_t layer, int64_t end) { return layer % 2 == 0 && layer < end; };
  RETURN_IF_ERROR(ReadQwen(config, every_other, model));
  RETURN_IF_ERROR(ExpectMixtureEverywhere(config));
  model->shared_expert = true;
  RETURN_IF_ERROR(config.CopyInt("shared_expert_intermediate_size",
                                 "expert_shared_feed_forward_length", 1, kConfigSizeMax));
  return ReadMixture(config, {.length = "moe_intermediate_size"}, model);
}

constexpr std::string_view kQwen2Types[] = {"qwen2"};
constexpr std::string_view kQwen2MoeTypes[] = {"qwen2_moe"};
constexpr std::string_view kQwen3Types[] = {"qwen3"};
constexpr std::string_view kQwen3MoeTypes[] = {"qwen3_moe"};

constexpr HfFamily Qwen(std::span<const std::string_view> types, std::string_view architecture,
                        absl::Status (*read)(ConfigReader&, HfModel*)) {
  return {.model_types = types,
          .architecture = architecture,
          .read = read,
          .prefixes = kPrefixes,
          .layer = "layers.",
          .globals = kGlobals,
          .layers = kLayers};
}

}  // namespace

extern const HfFamily kHfQwen2, kHfQwen2Moe, kHfQwen3, kHfQwen3Moe;

const HfFamily kHfQwen2 = Qwen(kQwen2Types, "qwen2", ReadDense);
const HfFamily kHfQwen2Moe = Qwen(kQwen2MoeTypes, "qwen2moe", ReadQwen2Moe);
const HfFamily kHfQwen3 = Qwen(kQwen3Types, "qwen3", ReadDense);
const HfFamily kHfQwen3Moe = Qwen(kQwen3MoeTypes, "qwen3moe", ReadQwen3Moe);

}  // namespace conclave::engine
