// Llama 2 and 3, Mistral and Mixtral. Rows of queries and keys are put in pairs; Mixtral keeps its
// experts apart (w1 the gate, w3 up, w2 down) or, where transformers wrote them as it holds them,
// in one stack.
#include <vector>

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
    {"self_attn.q_proj", "attn_q", MapPairedQueries},
    {"self_attn.k_proj", "attn_k", MapPairedKeys},
    {"self_attn.v_proj", "attn_v", MapBiased},
    {"self_attn.o_proj", "attn_output", MapBiased},
    {"self_attn.rotary_emb.inv_freq", "", MapNothing, Presence::kOptional},
    {"mlp.gate_proj", "ffn_gate", MapModule, Presence::kRequired, InDenseLayers},
    {"mlp.up_proj", "ffn_up", MapModule, Presence::kRequired, InDenseLayers},
    {"mlp.down_proj", "ffn_down", MapModule, Presence::kRequired, InDenseLayers},
    {"block_sparse_moe.gate", "ffn_gate_inp", MapModule, Presence::kRequired, InMixtures},
    {"mlp.gate", "ffn_gate_inp", MapModule, Presence::kInstead},
    {"block_sparse_moe.experts.#.w1", "ffn_gate_exps", MapExperts, Presence::kRequired, InMixtures},
    {"block_sparse_moe.experts.gate_up_proj", "ffn_gate_exps", MapGateRows, Presence::kInstead},
    {"mlp.experts.gate_up_proj", "ffn_gate_exps", MapGateRows, Presence::kInstead},
    {"block_sparse_moe.experts.#.w3", "ffn_up_exps", MapExperts, Presence::kRequired, InMixtures},
    {"block_sparse_moe.experts.gate_up_proj", "ffn_up_exps", MapUpRows, Presence::kInstead},
    {"mlp.experts.gate_up_proj", "ffn_up_exps", MapUpRows, Presence::kInstead},
    {"block_sparse_moe.experts.#.w2", "ffn_down_exps", MapExperts, Presence::kRequired, InMixtures},
    {"block_sparse_moe.experts.down_proj", "ffn_down_exps.weight", MapWhole, Presence::kInstead},
    {"mlp.experts.down_proj", "ffn_down_exps.weight", MapWhole, Presence::kInstead},
};

absl::Status ReadLlama(ConfigReader& config, HfModel* model) {
  RETURN_IF_ERROR(config.ExpectText("hidden_act", "silu"));
  RETURN_IF_ERROR(config.ExpectFlag("mlp_bias", false));
  RETURN_IF_ERROR(ReadShape(config, {}, model));
  return ReadRope(config, {.whole_heads = true}, model);
}

absl::Status ReadMistral(ConfigReader& config, HfModel* model) {
  RETURN_IF_ERROR(config.ExpectText("hidden_act", "silu"));
  RETURN_IF_ERROR(ReadShape(config, {}, model));
  if (!config.Get("sliding_window").missing()) {
    ASSIGN_OR_RETURN(const int64_t window, config.Int("sliding_window", 1, kConfigSizeMax));
    SetWindow(config, window, std::vector<bool>(static_cast<size_t>(model->num_layers), true), 0);
  }
  return ReadRope(config, {.whole_heads = true}, model);
}

absl::Status ReadMixtral(ConfigReader& config, HfModel* model) {
  RETURN_IF_ERROR(ReadMistral(config, model));
  return ReadMixture(config, {.length = "intermediate_size", .always = true}, model);
}

constexpr std::string_view kLlamaTypes[] = {"llama"};
constexpr std::string_view kMistralTypes[] = {"mistral"};
constexpr std::string_view kMixtralTypes[] = {"mixtral"};

constexpr HfFamily Llama(std::span<const std::string_view> types,
                         absl::Status (*read)(ConfigReader&, HfModel*)) {
  return {.model_types = types,
          .architecture = "llama",
          .read = read,
          .prefixes = kPrefixes,
          .layer = "layers.",
          .globals = kGlobals,
          .layers = kLayers};
}

}  // namespace

extern const HfFamily kHfLlama, kHfMistral, kHfMixtral;

const HfFamily kHfLlama = Llama(kLlamaTypes, ReadLlama);
const HfFamily kHfMistral = Llama(kMistralTypes, ReadMistral);
const HfFamily kHfMixtral = Llama(kMixtralTypes, ReadMixtral);

}  // namespace conclave::engine
