// MiniMax M2: norms over whole rows of queries and keys, experts chosen by sigmoid with a
// correction bias, no shared expert. intermediate_size is an expert's.
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
    {"post_attention_layernorm", "ffn_norm", MapModule},
    {"self_attn.q_proj", "attn_q", MapModule},
    {"self_attn.k_proj", "attn_k", MapModule},
    {"self_attn.v_proj", "attn_v", MapModule},
    {"self_attn.o_proj", "attn_output", MapModule},
    {"self_attn.q_norm", "attn_q_norm", MapModule},
    {"self_attn.k_norm", "attn_k_norm", MapModule},
    {"block_sparse_moe.gate", "ffn_gate_inp", MapModule},
    {"mlp.gate", "ffn_gate_inp", MapModule, Presence::kInstead},
    {"block_sparse_moe.e_score_correction_bias", "exp_probs_b.bias", MapWhole},
    {"mlp.e_score_correction_bias", "exp_probs_b.bias", MapWhole, Presence::kInstead},
    {"block_sparse_moe.experts.#.w1", "ffn_gate_exps", MapExperts},
    {"mlp.experts.gate_up_proj", "ffn_gate_exps", MapGateRows, Presence::kInstead},
    {"block_sparse_moe.experts.#.w3", "ffn_up_exps", MapExperts},
    {"mlp.experts.gate_up_proj", "ffn_up_exps", MapUpRows, Presence::kInstead},
    {"block_sparse_moe.experts.#.w2", "ffn_down_exps", MapExperts},
    {"mlp.experts.down_proj", "ffn_down_exps.weight", MapWhole, Presence::kInstead},
};

// The first files call themselves "minimax", as do the older models of other architecture.
absl::Status ExpectM2(const ConfigReader& config) {
  ASSIGN_OR_RETURN(const std::string type, config.Text("model_type", ""));
  if (type == "minimax_m2") return absl::OkStatus();
  const base::JsonValue names = config.Get("architectures");
  if (names.size() == 1) {
    ASSIGN_OR_RETURN(const std::string name, names.At(0).AsString());
    if (name == "MiniMaxM2ForCausalLM") return absl::OkStatus();
  }
  return FieldNotSupported(names, "a \"minimax\" other than MiniMaxM2ForCausalLM");
}

absl::Status ReadMinimaxM2(ConfigReader& config, HfModel* model) {
  RETURN_IF_ERROR(ExpectM2(config));
  RETURN_IF_ERROR(config.ExpectText("hidden_act", "silu"));
  RETURN_IF_ERROR(config.ExpectFlag("use_qk_norm", true));
  RETURN_IF_ERROR(config.ExpectText("qk_norm_type", "per_layer"));
  RETURN_IF_ERROR(config.ExpectText("scoring_func", "sigmoid"));
  RETURN_IF_ERROR(config.ExpectNumber("shared_intermediate_size", 0));
  RETURN_IF_ERROR(ReadShape(config, {.head_dim = 128}, model));
  RETURN_IF_ERROR(ReadMixture(config, {.length = "intermediate_size", .always = true}, model));
  config.Set("expert_gating_func", static_cast<int64_t>(GatingFunction::kSigmoid));
  ASSIGN_OR_RETURN(const int64_t rotated, config.Int("rotary_dim", 2, kConfigSizeMax, 0));
  return ReadRope(config, {.theta = 5e6, .rotated = rotated}, model);
}

constexpr std::string_view kTypes[] = {"minimax_m2", "minimax"};

}  // namespace

extern const HfFamily kHfMinimaxM2;

const HfFamily kHfMinimaxM2 = {.model_types = kTypes,
                               .architecture = "minimax-m2",
                               .read = ReadMinimaxM2,
                               .prefixes = kPrefixes,
                               .layer = "layers.",
                               .globals = kGlobals,
                               .layers = kLayers,
                               .skips_later_layers = true};

}  // namespace conclave::engine
