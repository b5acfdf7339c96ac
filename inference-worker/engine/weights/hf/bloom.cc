// Bloom and Bloomz: layer norms with biases, one after the embedding, ALiBi. Queries, keys and
// values are one layer, its rows [heads][3][d] there and [3][heads][d] in GGUF.
#include "engine/weights/hf/config.h"
#include "engine/weights/hf/operations.h"

namespace conclave::engine {
namespace {

// Published files leave out the prefix that transformers writes.
constexpr std::string_view kPrefixes[] = {"transformer.", ""};

absl::Status MapHeadsApart(TensorMapper& mapper, const std::string& from, const std::string& to) {
  const HfModel& model = mapper.model();
  ASSIGN_OR_RETURN(const HfTensor weight, mapper.RequiredWeight(from));
  if (weight.shape.rank() != 2 || weight.shape[0] != 3 * model.num_heads * model.head_dim) {
    return mapper.Wrong(from + ".weight", "expected queries, keys and values of " +
                                              std::to_string(model.num_heads) + " heads, found " +
                                              weight.shape.ToString());
  }
  const int64_t heads = model.num_heads, d = model.head_dim;
  return MapReordered(mapper, from, to, [heads, d](int64_t row) {
    const int64_t part = row / (heads * d), head = row / d % heads;
    return (head * 3 + part) * d + row % d;
  });
}

constexpr TensorRule kGlobals[] = {
    {"word_embeddings", "token_embd", MapModule},
    {"word_embeddings_layernorm", "token_embd_norm", MapBiased},
    {"ln_f", "output_norm", MapBiased},
};

constexpr TensorRule kLayers[] = {
    {"input_layernorm", "attn_norm", MapBiased},
    {"self_attention.query_key_value", "attn_qkv", MapHeadsApart},
    {"self_attention.dense", "attn_output", MapBiased},
    {"post_attention_layernorm", "ffn_norm", MapBiased},
    {"mlp.dense_h_to_4h", "ffn_up", MapBiased},
    {"mlp.dense_4h_to_h", "ffn_down", MapBiased},
};

absl::Status ReadBloom(ConfigReader& config, HfModel* model) {
  RETURN_IF_ERROR(config.ExpectFlag("apply_residual_connection_post_layernorm", false));
  RETURN_IF_ERROR(config.CopyInt(config.AnyOf({"n_layer", "num_hidden_layers"}), "block_count", 1,
                                 kConfigLayersMax, &model->num_layers));
  RETURN_IF_ERROR(config.CopyInt(config.AnyOf({"hidden_size", "n_embed"}), "embedding_length", 1,
                                 kConfigSizeMax, &model->hidden));
  const std::string_view heads = config.AnyOf({"n_head", "num_attention_heads"});
  RETURN_IF_ERROR(
      config.CopyInt(heads, "attention.head_count", 1, model->hidden, &model->num_heads));
  if (model->hidden % model->num_heads != 0) {
    return config.Get(heads).Error("does not divide the hidden size");
  }
  model->num_kv_heads = model->num_heads;
  model->head_dim = model->hidden / model->num_heads;
  model->tied = true;
  config.Set("attention.head_count_kv", model->num_heads);
  config.Set("feed_forward_length", 4 * model->hidden);
  RETURN_IF_ERROR(config.CopyInt("vocab_size", "vocab_size", 1, kConfigSizeMax));
  // Nothing bounds positions; this is what the models were trained with.
  RETURN_IF_ERROR(config.CopyInt("seq_length", "context_length", 1, kConfigSizeMax, nullptr, 2048));
  ASSIGN_OR_RETURN(const double eps, config.Number("layer_norm_epsilon", 1e-12, 1, 1e-5));
  config.Set("attention.layer_norm_epsilon", eps);
  return absl::OkStatus();
}

constexpr std::string_view kTypes[] = {"bloom"};

}  // namespace

extern const HfFamily kHfBloom;

const HfFamily kHfBloom = {.model_types = kTypes,
                           .architecture = "bloom",
                           .read = ReadBloom,
                           .prefixes = kPrefixes,
                           .layer = "h.",
                           .globals = kGlobals,
                           .layers = kLayers};

}  // namespace conclave::engine
