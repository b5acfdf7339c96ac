// GLM 4.5, 4.6, 4.7 and Air: half of a head rotates, experts are chosen as in DeepSeek V3, queries
// and keys may have a norm per head. The layers after the last predict further tokens.
#include "engine/weights/hf/config.h"
#include "engine/weights/hf/operations.h"

namespace conclave::engine {
namespace {

constexpr std::string_view kPrefixes[] = {"model."};

constexpr TensorRule kGlobals[] = {
    {"embed_tokens", "token_embd", MapModule},
    {"norm", "output_norm", MapModule},
};

constexpr TensorRule kLayers[] = {
    {"input_layernorm", "attn_norm", MapModule},
    {"post_attention_layernorm", "post_attention_norm", MapModule},
    {"self_attn.q_proj", "attn_q", MapBiased},
    {"self_attn.k_proj", "attn_k", MapBiased},
    {"self_attn.v_proj", "attn_v", MapBiased},
    {"self_attn.o_proj", "attn_output", MapModule},
    {"self_attn.q_norm", "attn_q_norm", MapModule, Presence::kOptional},
    {"self_attn.k_norm", "attn_k_norm", MapModule, Presence::kOptional},
    {"mlp.gate_proj", "ffn_gate", MapModule, Presence::kRequired, InDenseLayers},
    {"mlp.up_proj", "ffn_up", MapModule, Presence::kRequired, InDenseLayers},
    {"mlp.down_proj", "ffn_down", MapModule, Presence::kRequired, InDenseLayers},
    {"mlp.gate", "ffn_gate_inp", MapModule, Presence::kRequired, InMixtures},
    {"mlp.gate.e_score_correction_bias", "exp_probs_b.bias", MapWhole, Presence::kRequired,
     InMixtures},
    {"mlp.experts.#.gate_proj", "ffn_gate_exps", MapExperts, Presence::kRequired, InMixtures},
    {"mlp.experts.gate_up_proj", "ffn_gate_exps", MapGateRows, Presence::kInstead},
    {"mlp.experts.#.up_proj", "ffn_up_exps", MapExperts, Presence::kRequired, InMixtures},
    {"mlp.experts.gate_up_proj", "ffn_up_exps", MapUpRows, Presence::kInstead},
    {"mlp.experts.#.down_proj", "ffn_down_exps", MapExperts, Presence::kRequired, InMixtures},
    {"mlp.experts.down_proj", "ffn_down_exps.weight", MapWhole, Presence::kInstead},
    {"mlp.shared_experts.gate_proj", "ffn_gate_shexp", MapModule, Presence::kRequired, InMixtures},
    {"mlp.shared_experts.up_proj", "ffn_up_shexp", MapModule, Presence::kRequired, InMixtures},
    {"mlp.shared_experts.down_proj", "ffn_down_shexp", MapModule, Presence::kRequired, InMixtures},
};

absl::Status ReadGlm4Moe(ConfigReader& config, HfModel* model) {
  RETURN_IF_ERROR(config.ExpectText("hidden_act", "silu"));
  RETURN_IF_ERROR(ReadShape(config, {.rms_eps = 1e-5}, model));
  RETURN_IF_ERROR(
      ReadMixture(config, {.length = "moe_intermediate_size", .normalised = true}, model));
  config.Set("expert_gating_func", static_cast<int64_t>(GatingFunction::kSigmoid));
  RETURN_IF_ERROR(ReadSharedMixture(config, {.leading_dense = 1}, model));
  return ReadRope(config, {.partial = 0.5}, model);
}

constexpr std::string_view kTypes[] = {"glm4_moe"};

}  // namespace

extern const HfFamily kHfGlm4Moe;

const HfFamily kHfGlm4Moe = {.model_types = kTypes,
                             .architecture = "glm4moe",
                             .read = ReadGlm4Moe,
                             .prefixes = kPrefixes,
                             .layer = "layers.",
                             .globals = kGlobals,
                             .layers = kLayers,
                             .skips_later_layers = true};

}  // namespace conclave::engine
