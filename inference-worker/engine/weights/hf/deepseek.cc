// DeepSeek V2, V3, R1, Kimi K2 and GLM 4.7 Flash: latent attention and shared experts. What GGUF
// keeps of kv_b_proj are two stacks, keys transposed, so that attention may run over the latents;
// each head of V2's layer is [nope rows of the key][rows of the value].
#include <utility>

#include "engine/weights/hf/config.h"
#include "engine/weights/hf/operations.h"

namespace conclave::engine {
namespace {

constexpr std::string_view kPrefixes[] = {"model."};

bool HasLowRankQueries(const HfModel& model, int64_t) { return model.low_rank_queries; }
bool HasWholeQueries(const HfModel& model, int64_t) { return !model.low_rank_queries; }
bool IsCorrected(const HfModel& model, int64_t layer) {
  return model.corrected_routing && InMixtures(model, layer);
}

// kv_b_proj as [heads][nope + value][latent].
absl::StatusOr<HfTensor> HeadsOfLatents(TensorMapper& mapper, const std::string& from) {
  const HfModel& model = mapper.model();
  const int64_t rows = model.nope_dim + model.value_dim;
  ASSIGN_OR_RETURN(HfTensor weight, mapper.RequiredWeight(from));
  if (weight.shape.rank() != 2 || weight.shape[0] != model.num_heads * rows) {
    return mapper.Wrong(from, "expected " + std::to_string(model.num_heads) + " heads of " +
                                  std::to_string(rows) + " rows, found " + weight.shape.ToString());
  }
  const Shape shape({model.num_heads, rows, weight.shape[1]});
  return Reshaped(std::move(weight), shape);
}

// Of each head the rows [first, first + count).
HfTensor RowsOfHeads(HfTensor heads, int64_t first, int64_t count) {
  const int64_t rows = heads.shape[1];
  const Shape shape({heads.shape[0], count, heads.shape[2]});
  return SelectRows(std::move(heads), shape,
                    [=](int64_t row) { return row / count * rows + first + row % count; });
}

absl::Status MapLatentKeys(TensorMapper& mapper, const std::string& from, const std::string& to) {
  ASSIGN_OR_RETURN(HfTensor heads, HeadsOfLatents(mapper, from));
  return mapper.Add(to, Transposed(RowsOfHeads(std::move(heads), 0, mapper.model().nope_dim)));
}

absl::Status MapLatentValues(TensorMapper& mapper, const std::string& from, const std::string& to) {
  ASSIGN_OR_RETURN(HfTensor heads, HeadsOfLatents(mapper, from));
  const HfModel& model = mapper.model();
  return mapper.Add(to, RowsOfHeads(std::move(heads), model.nope_dim, model.value_dim));
}

constexpr TensorRule kGlobals[] = {
    {"embed_tokens", "token_embd", MapModule},
    {"norm", "output_norm", MapModule},
};

constexpr TensorRule kLayers[] = {
    {"input_layernorm", "attn_norm", MapModule},
    {"post_attention_layernorm", "ffn_norm", MapModule},
    {"self_attn.q_proj", "attn_q", MapModule, Presence::kRequired, HasWholeQueries},
    {"self_attn.q_a_proj", "attn_q_a", MapModule, Presence::kRequired, HasLowRankQueries},
    {"self_attn.q_a_layernorm", "attn_q_a_norm", MapModule, Presence::kRequired, HasLowRankQueries},
    {"self_attn.q_b_proj", "attn_q_b", MapModule, Presence::kRequired, HasLowRankQueries},
    {"self_attn.kv_a_proj_with_mqa", "attn_kv_a_mqa", MapModule},
    {"self_attn.kv_a_layernorm", "attn_kv_a_norm", MapModule},
    {"self_attn.kv_b_proj", "attn_k_b.weight", MapLatentKeys},
    {"self_attn.kv_b_proj", "attn_v_b.weight", MapLatentValues},
    {"self_attn.o_proj", "attn_output", MapModule},
    {"self_attn.rotary_emb.inv_freq", "", MapNothing, Presence::kOptional},
    {"mlp.gate_proj", "ffn_gate", MapModule, Presence::kRequired, InDenseLayers},
    {"mlp.up_proj", "ffn_up", MapModule, Presence::kRequired, InDenseLayers},
    {"mlp.down_proj", "ffn_down", MapModule, Presence::kRequired, InDenseLayers},
    {"mlp.gate", "ffn_gate_inp", MapModule, Presence::kRequired, InMixtures},
    {"mlp.gate.e_score_correction_bias", "exp_probs_b.bias", MapWhole, Presence::kRequired,
     IsCorrected},
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

absl::Status ReadLatentAttention(ConfigReader& config, HfModel* model) {
  constexpr int64_t kDimMax = 1 << 20;
  int64_t latent = 0, rotated = 0;
  RETURN_IF_ERROR(config.CopyInt("kv_lora_rank", "attention.kv_lora_rank", 1, kDimMax, &latent));
  ASSIGN_OR_RETURN(rotated, config.Int("qk_rope_head_dim", 2, kDimMax));
  ASSIGN_OR_RETURN(model->nope_dim, config.Int("qk_nope_head_dim", 1, kDimMax));
  ASSIGN_OR_RETURN(model->value_dim, config.Int("v_head_dim", 1, kDimMax));
  // null says that queries are not of low rank, and must be said.
  model->low_rank_queries = !config.Get("q_lora_rank").is_null();
  if (model->low_rank_queries) {
    RETURN_IF_ERROR(config.CopyInt("q_lora_rank", "attention.q_lora_rank", 1, kDimMax));
  }
  // Attention over latents is attention with one head of keys and values.
  model->head_dim = model->nope_dim + rotated;
  model->num_kv_heads = 1;
  config.Set("attention.head_count_kv", model->num_kv_heads);
  config.Set("attention.key_length", latent + rotated);
  config.Set("attention.value_length", latent);
  config.Set("attention.key_length_mla", model->head_dim);
  config.Set("attention.value_length_mla", model->value_dim);
  return ReadRope(config, {.rotated = rotated, .scales_logits = true}, model);
}

absl::Status ReadCommon(ConfigReader& config, bool normalised, double rms_eps, HfModel* model) {
  RETURN_IF_ERROR(config.ExpectText("hidden_act", "silu"));
  RETURN_IF_ERROR(config.ExpectFlag("mlp_bias", false));
  RETURN_IF_ERROR(config.ExpectFlag("rope_interleave", true));
  RETURN_IF_ERROR(config.ExpectNumber("moe_layer_freq", 1));
  RETURN_IF_ERROR(config.ExpectNumber("ep_size", 1));
  RETURN_IF_ERROR(ReadSizes(config, {.rms_eps = rms_eps}, model));
  RETURN_IF_ERROR(ReadLatentAttention(config, model));
  return ReadMixture(config, {.length = "moe_intermediate_size", .normalised = normalised}, model);
}

absl::Status ReadDeepseek2(ConfigReader& config, HfModel* model) {
  RETURN_IF_ERROR(ReadCommon(config, false, 1e-6, model));
  // The published code normalises in place of scaling, transformers never does: say neither.
  RETURN_IF_ERROR(config.ExpectFlag("norm_topk_prob", false));
  RETURN_IF_ERROR(config.ExpectText("scoring_func", "softmax"));
  config.Set("expert_gating_func", static_cast<int64_t>(GatingFunction::kSoftmax));
  ASSIGN_OR_RETURN(const std::string method, config.Text("topk_method", "greedy"));
  const bool grouped = method == "group_limited_greedy";
  if (!grouped) RETURN_IF_ERROR(config.ExpectText("topk_method", "greedy"));
  return ReadSharedMixture(config, {.shared = 2, .groups = grouped ? 1 : 0}, model);
}

// Sigmoid, a correction bias, the best two experts of a group as its score.
absl::Status ReadCorrectedRouting(ConfigReader& config, const SharedMixtureDefaults& defaults,
                                  HfModel* model) {
  RETURN_IF_ERROR(config.ExpectText("scoring_func", "sigmoid"));
  RETURN_IF_ERROR(config.ExpectText("topk_method", "noaux_tc"));
  config.Set("expert_gating_func", static_cast<int64_t>(GatingFunction::kSigmoid));
  model->corrected_routing = true;
  return ReadSharedMixture(config, defaults, model);
}

absl::Status ReadDeepseek3(ConfigReader& config, HfModel* model) {
  RETURN_IF_ERROR(ReadCommon(config, true, 1e-6, model));
  return ReadCorrectedRouting(
      config, {.leading_dense = 3, .groups = 8, .groups_used = 4, .scale = 2.5}, model);
}

// GLM 4.7 Flash says for each layer what it is, where DeepSeek says how many are dense.
absl::Status ReadGlm4MoeLite(ConfigReader& config, HfModel* model) {
  RETURN_IF_ERROR(ReadCommon(config, true, 1e-5, model));
  const base::JsonValue types = config.Get("mlp_layer_types");
  int64_t dense = types.missing() ? 1 : 0;
  for (size_t i = 0; i < types.size(); ++i) {
    ASSIGN_OR_RETURN(const std::string type, types.At(i).AsString());
    if (type == "dense" && dense == static_cast<int64_t>(i)) {
      ++dense;
    } else if (type != "sparse") {
      return FieldNotSupported(types.At(i), "\"" + type.substr(0, 64) + "\" here");
    }
  }
  return ReadCorrectedRouting(config, {.leading_dense = dense, .scale = 1.8}, model);
}

constexpr std::string_view kDeepseek2Types[] = {"deepseek_v2"};
constexpr std::string_view kDeepseek3Types[] = {"deepseek_v3", "kimi_k2"};

constexpr std::string_view kGlm4MoeLiteTypes[] = {"glm4_moe_lite"};

constexpr HfFamily Deepseek(std::span<const std::string_view> types,
                            absl::Status (*read)(ConfigReader&, HfModel*)) {
  return {.model_types = types,
          .architecture = "deepseek2",
          .read = read,
          .prefixes = kPrefixes,
          .layer = "layers.",
          .globals = kGlobals,
          .layers = kLayers,
          .skips_later_layers = true};
}

}  // namespace

extern const HfFamily kHfDeepseek2, kHfDeepseek3, kHfGlm4MoeLite;

const HfFamily kHfDeepseek2 = Deepseek(kDeepseek2Types, ReadDeepseek2);
const HfFamily kHfDeepseek3 = Deepseek(kDeepseek3Types, ReadDeepseek3);
const HfFamily kHfGlm4MoeLite = Deepseek(kGlm4MoeLiteTypes, ReadGlm4MoeLite);

}  // namespace conclave::engine
