// Encoders: BERT, what shares its graph (RoBERTa, XLM-RoBERTa, CamemBERT), and nomic-embed-text.
// With a classifier over the text they are rerankers.
#include <algorithm>
#include <utility>

#include "engine/weights/hf/config.h"
#include "engine/weights/hf/operations.h"

namespace conclave::engine {
namespace {

bool Ranks(const HfModel& model, int64_t) { return model.ranks; }

// Without the rows that no token has.
absl::Status MapPositions(TensorMapper& mapper, const std::string& from, const std::string& to) {
  ASSIGN_OR_RETURN(HfTensor table, mapper.RequiredWeight(from));
  const int64_t skipped = mapper.model().skipped_positions;
  if (table.shape.rank() != 2 || table.shape[0] <= skipped) {
    return mapper.Wrong(from + ".weight", "expected more than " + std::to_string(skipped) +
                                              " rows, found " + table.shape.ToString());
  }
  const Shape kept({table.shape[0] - skipped, table.shape[1]});
  return mapper.Add(to + ".weight", SelectRows(std::move(table), kept,
                                               [skipped](int64_t row) { return row + skipped; }));
}

// --- BERT and RoBERTa ---------------------------------------------------------------------------

constexpr std::string_view kBertPrefixes[] = {"", "bert."};
constexpr std::string_view kRobertaPrefixes[] = {"", "roberta."};

// BERT's pooler is the first layer of its classifier.
constexpr TensorRule kBertGlobals[] = {
    {"embeddings.word_embeddings", "token_embd", MapModule},
    {"embeddings.position_embeddings", "position_embd", MapPositions},
    {"embeddings.token_type_embeddings", "token_types", MapModule},
    {"embeddings.LayerNorm", "token_embd_norm", MapBiased},
    {"embeddings.position_ids", "", MapNothing, Presence::kOptional},
    {"pooler.dense", "cls", MapBiased, Presence::kRequired, Ranks},
};
constexpr TensorRule kBertHeads[] = {
    {"classifier", "cls.output", MapBiased, Presence::kRequired, Ranks},
};

constexpr TensorRule kRobertaGlobals[] = {
    {"embeddings.word_embeddings", "token_embd", MapModule},
    {"embeddings.position_embeddings", "position_embd", MapPositions},
    {"embeddings.token_type_embeddings", "token_types", MapModule},
    {"embeddings.LayerNorm", "token_embd_norm", MapBiased},
    {"embeddings.position_ids", "", MapNothing, Presence::kOptional},
};
constexpr TensorRule kRobertaHeads[] = {
    {"classifier.dense", "cls", MapBiased, Presence::kRequired, Ranks},
    {"classifier.out_proj", "cls.output", MapBiased, Presence::kRequired, Ranks},
};

constexpr TensorRule kBertLayers[] = {
    {"attention.self.query", "attn_q", MapBiased},
    {"attention.self.key", "attn_k", MapBiased},
    {"attention.self.value", "attn_v", MapBiased},
    {"attention.output.dense", "attn_output", MapBiased},
    {"attention.output.LayerNorm", "attn_output_norm", MapBiased},
    {"intermediate.dense", "ffn_up", MapBiased},
    {"output.dense", "ffn_down", MapBiased},
    {"output.LayerNorm", "layer_output_norm", MapBiased},
};

// What was trained beside the model and is of no use to a vector.
constexpr std::string_view kBertSkipped[] = {"pooler.", "bert.pooler.", "cls.predictions.",
                                             "cls.seq_relationship."};
constexpr std::string_view kRobertaSkipped[] = {"pooler.", "roberta.pooler.", "lm_head."};

absl::Status ReadClassifier(ConfigReader& config, HfModel* model) {
  const base::JsonValue names = config.Get("architectures");
  if (!names.is_array() || names.size() == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string name, names.At(0).AsString());
  model->ranks = name.ends_with("ForSequenceClassification");
  if (model->ranks) config.Set("pooling_type", int64_t{4});
  return absl::OkStatus();
}

// Fields and keys that all encoders have, under the names the family gives them.
struct EncoderFields {
  std::string_view layers = "num_hidden_layers", hidden = "hidden_size",
                   heads = "num_attention_heads", ffn = "intermediate_size",
                   epsilon = "layer_norm_eps";
};
absl::Status ReadEncoderSizes(ConfigReader& config, const EncoderFields& fields, HfModel* model) {
  RETURN_IF_ERROR(
      config.CopyInt(fields.layers, "block_count", 1, kConfigLayersMax, &model->num_layers));
  RETURN_IF_ERROR(
      config.CopyInt(fields.hidden, "embedding_length", 1, kConfigSizeMax, &model->hidden));
  RETURN_IF_ERROR(
      config.CopyInt(fields.heads, "attention.head_count", 1, kConfigSizeMax, &model->num_heads));
  RETURN_IF_ERROR(config.CopyInt(fields.ffn, "feed_forward_length", 1, kConfigSizeMax));
  RETURN_IF_ERROR(config.CopyInt("vocab_size", "vocab_size", 1, kConfigSizeMax));
  ASSIGN_OR_RETURN(const double eps, config.Number(fields.epsilon, 0, 1, 1e-12));
  config.Set("attention.layer_norm_epsilon", eps);
  config.Set("attention.causal", false);
  ASSIGN_OR_RETURN(const int64_t types, config.Int("type_vocab_size", 1, kConfigSizeMax, 2));
  config.SetShared("tokenizer.ggml.token_type_count", types);
  return ReadClassifier(config, model);
}

absl::Status ReadBert(ConfigReader& config, HfModel* model) {
  RETURN_IF_ERROR(ReadEncoderSizes(config, {}, model));
  RETURN_IF_ERROR(config.ExpectText("hidden_act", "gelu"));
  RETURN_IF_ERROR(config.ExpectText("position_embedding_type", "absolute"));
  RETURN_IF_ERROR(config.ExpectFlag("is_decoder", false));
  const int64_t skipped = model->skipped_positions;
  ASSIGN_OR_RETURN(const int64_t positions,
                   config.Int("max_position_embeddings", 1 + skipped, kConfigSizeMax));
  config.Set("context_length", positions - skipped);
  return absl::OkStatus();
}

// Positions are counted from the one after the padding's.
absl::Status ReadRoberta(ConfigReader& config, HfModel* model) {
  ASSIGN_OR_RETURN(const int64_t pad, config.Int("pad_token_id", 0, kConfigSizeMax, 1));
  model->skipped_positions = pad + 1;
  return ReadBert(config, model);
}

// --- nomic-embed-text ---------------------------------------------------------------------------

constexpr std::string_view kNomicPrefixes[] = {"", "nomic_bert."};

constexpr TensorRule kNomicGlobals[] = {
    {"embeddings.word_embeddings", "token_embd", MapModule},
    {"embeddings.token_type_embeddings", "token_types", MapModule, Presence::kOptional},
    {"emb_ln", "token_embd_norm", MapBiased},
};

constexpr TensorRule kNomicLayers[] = {
    {"attn.Wqkv", "attn_qkv", MapModule},     {"attn.out_proj", "attn_output", MapModule},
    {"norm1", "attn_output_norm", MapBiased}, {"mlp.fc11", "ffn_up", MapModule},
    {"mlp.fc12", "ffn_gate", MapModule},      {"mlp.fc2", "ffn_down", MapModule},
    {"norm2", "layer_output_norm", MapBiased}};

constexpr std::string_view kNomicSkipped[] = {"pooler.", "cls.predictions."};

// As its authors write it.
absl::Status ReadPublishedNomic(ConfigReader& config, HfModel* model) {
  RETURN_IF_ERROR(ReadEncoderSizes(config,
                                   {.layers = "n_layer",
                                    .hidden = "n_embd",
                                    .heads = "n_head",
                                    .ffn = "n_inner",
                                    .epsilon = "layer_norm_epsilon"},
                                   model));
  RETURN_IF_ERROR(config.ExpectText("activation_function", "swiglu"));
  for (const char* flag : {"prenorm", "causal", "qkv_proj_bias", "mlp_fc1_bias", "mlp_fc2_bias",
                           "rotary_emb_interleaved", "use_rms_norm", "parallel_block"}) {
    RETURN_IF_ERROR(config.ExpectFlag(flag, false));
  }
  RETURN_IF_ERROR(config.ExpectNumber("moe_every_n_layers", 0));
  RETURN_IF_ERROR(config.ExpectNumber("rotary_emb_fraction", 1));
  ASSIGN_OR_RETURN(const double base, config.Number("rotary_emb_base", 1, 1e15, 10'000));
  config.Set("rope.freq_base", base);
  // What lies beyond the trained positions needs another rotation.
  ASSIGN_OR_RETURN(const int64_t positions, config.Int("n_positions", 1, kConfigSizeMax));
  ASSIGN_OR_RETURN(const int64_t trained,
                   config.Int("max_trained_positions", 1, kConfigSizeMax, 2048));
  config.Set("context_length", std::min(positions, trained));
  return absl::OkStatus();
}

// transformers has words of its own for config.json, and writes the authors' tensors all the same.
absl::Status ReadNomic(ConfigReader& config, HfModel* model) {
  if (!config.Get("n_embd").missing()) return ReadPublishedNomic(config, model);
  RETURN_IF_ERROR(ReadEncoderSizes(config, {}, model));
  RETURN_IF_ERROR(config.ExpectText("hidden_act", "silu"));
  RETURN_IF_ERROR(config.CopyInt("max_position_embeddings", "context_length", 1, kConfigSizeMax));
  model->head_dim = std::max<int64_t>(1, model->hidden / model->num_heads);
  return ReadRope(config, {.theta = 1'000, .whole_heads = true}, model);
}

constexpr std::string_view kBertTypes[] = {"bert"};
constexpr std::string_view kRobertaTypes[] = {"xlm-roberta", "roberta", "camembert"};
constexpr std::string_view kNomicTypes[] = {"nomic_bert"};

}  // namespace

extern const HfFamily kHfBert, kHfRoberta, kHfNomicBert;

const HfFamily kHfBert = {.model_types = kBertTypes,
                          .architecture = "bert",
                          .read = ReadBert,
                          .prefixes = kBertPrefixes,
                          .layer = "encoder.layer.",
                          .globals = kBertGlobals,
                          .layers = kBertLayers,
                          .heads = kBertHeads,
                          .decodes = false,
                          .skipped = kBertSkipped};
const HfFamily kHfRoberta = {.model_types = kRobertaTypes,
                             .architecture = "bert",
                             .read = ReadRoberta,
                             .prefixes = kRobertaPrefixes,
                             .layer = "encoder.layer.",
                             .globals = kRobertaGlobals,
                             .layers = kBertLayers,
                             .heads = kRobertaHeads,
                             .decodes = false,
                             .skipped = kRobertaSkipped};
const HfFamily kHfNomicBert = {.model_types = kNomicTypes,
                               .architecture = "nomic-bert",
                               .read = ReadNomic,
                               .prefixes = kNomicPrefixes,
                               .layer = "encoder.layers.",
                               .globals = kNomicGlobals,
                               .layers = kNomicLayers,
                               .decodes = false,
                               .skipped = kNomicSkipped};

}  // namespace conclave::engine
