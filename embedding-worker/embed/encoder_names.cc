// From the configuration and tensor names of Hugging Face's encoders to those of GGUF.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "embed/encoder_folder.h"
#include "engine/weights/directory.h"

namespace conclave::embed {
namespace {

using base::JsonValue;
using engine::MetadataEntry;
using engine::ModelSource;
using engine::TensorEntry;
using engine::TensorView;

// A checkpoint under other names.
class NamedSource final : public ModelSource {
 public:
  explicit NamedSource(std::shared_ptr<const ModelSource> raw)
      : names_(std::string(raw->path())), raw_(std::move(raw)) {}

  std::string_view path() const override { return names_.path(); }
  std::span<const MetadataEntry> metadata() const override { return names_.metadata(); }
  std::span<const TensorEntry> tensors() const override { return names_.tensors(); }
  const MetadataEntry* FindMetadata(std::string_view key) const override {
    return names_.FindMetadata(key);
  }
  const TensorEntry* FindTensor(std::string_view name) const override {
    return names_.FindTensor(name);
  }
  void DoneWith(const TensorView& tensor) const override { raw_->DoneWith(tensor); }
  absl::Status Health() const override { return raw_->Health(); }

  engine::DirectorySource& names() { return names_; }
  const ModelSource& raw() const { return *raw_; }

 private:
  engine::DirectorySource names_;
  std::shared_ptr<const ModelSource> raw_;
};

// A layer's tensors: the part after the layer's prefix, and the GGUF name after "blk.N.".
struct LayerName {
  std::string_view from, to;
};
constexpr LayerName kBertLayer[] = {
    {"attention.self.query", "attn_q"},
    {"attention.self.key", "attn_k"},
    {"attention.self.value", "attn_v"},
    {"attention.output.dense", "attn_output"},
    {"attention.output.LayerNorm", "attn_output_norm"},
    {"intermediate.dense", "ffn_up"},
    {"output.dense", "ffn_down"},
    {"output.LayerNorm", "layer_output_norm"},
};
constexpr LayerName kNomicLayer[] = {
    {"attn.Wqkv", "attn_qkv"},     {"attn.out_proj", "attn_output"}, {"norm1", "attn_output_norm"},
    {"mlp.fc11", "ffn_up"},        {"mlp.fc12", "ffn_gate"},         {"mlp.fc2", "ffn_down"},
    {"norm2", "layer_output_norm"}};
constexpr int64_t kSizeMax = 1 << 22;

constexpr std::string_view kEncoderTypes[] = {"bert", "xlm-roberta", "roberta", "camembert",
                                              "nomic_bert"};

class Namer final {
 public:
  Namer(const JsonValue& config, NamedSource* source) : config_(config), source_(*source) {}

  absl::Status Run() {
    ASSIGN_OR_RETURN(const std::string type, config_.Get("model_type").AsString());
    if (type == "nomic_bert") return NomicBert();
    if (type == "bert") return Bert("bert.", 0);
    // RoBERTa's positions are counted from the one after the padding's.
    ASSIGN_OR_RETURN(const auto pad, config_.Get("pad_token_id").OptionalInt(0, 1 << 20));
    return Bert("roberta.", pad.value_or(1) + 1);
  }

 private:
  // --- keys ---
  void Set(std::string_view key, engine::MetadataValue value) {
    source_.names().AddMetadata(
        source_.names().Keep(absl::StrCat(architecture_, ".", base::Abs(key))), value);
  }
  absl::Status CopyInt(std::string_view field, std::string_view key, int64_t less = 0) {
    ASSIGN_OR_RETURN(const int64_t value, config_.Get(field).AsInt(1 + less, kSizeMax));
    Set(key, value - less);
    if (key == "block_count") layers_ = value;
    return absl::OkStatus();
  }
  absl::Status CopyEpsilon(std::string_view field) {
    ASSIGN_OR_RETURN(const auto eps, config_.Get(field).OptionalNumber(0, 1));
    Set("attention.layer_norm_epsilon", eps.value_or(1e-12));
    return absl::OkStatus();
  }
  // A field that may only say what it says by default.
  absl::Status Expect(std::string_view field, std::string_view wanted) {
    const JsonValue value = config_.Get(field);
    if (value.missing()) return absl::OkStatus();
    const std::string found = value.is_string() ? *value.AsString() : value.ToJson();
    if (found == wanted) return absl::OkStatus();
    return base::Unimplemented(absl::StrCat(base::Abs(field), ": ", found.substr(0, 64),
                                            " is not supported, only ", base::Abs(wanted)));
  }
  void Begin(const char* architecture) {
    architecture_ = architecture;
    source_.names().AddMetadata("general.architecture", std::string_view(architecture));
  }

  // --- tensors ---
  const TensorEntry* Find(const std::string& name) const {
    return source_.raw().FindTensor(prefix_ + name);
  }
  void Copy(const std::string& from, const std::string& to) {
    for (const char* part : {".weight", ".bias"}) {
      if (const TensorEntry* entry = Find(from + part)) {
        source_.names().AddTensor(to + part, entry->view);
      }
    }
  }
  // The head lies beside the model, not under its prefix.
  void CopyHead(const std::string& from, const std::string& to) {
    const std::string prefix = std::exchange(prefix_, "");
    Copy(from, to);
    prefix_ = prefix;
  }
  void CopyLayers(const std::string& from, std::span<const LayerName> names) {
    for (int64_t i = 0; i < layers_; ++i) {
      for (const LayerName& name : names) {
        Copy(absl::StrCat(from, i, ".", base::Abs(name.from)),
             absl::StrCat("blk.", i, ".", base::Abs(name.to)));
      }
    }
  }
  void FindPrefix(const std::string& usual) {
    if (Find("embeddings.word_embeddings.weight") == nullptr) prefix_ = usual;
  }

  absl::Status Bert(const std::string& prefix, int64_t skipped_positions) {
    Begin("bert");
    RETURN_IF_ERROR(CopyInt("hidden_size", "embedding_length"));
    RETURN_IF_ERROR(CopyInt("num_hidden_layers", "block_count"));
    RETURN_IF_ERROR(CopyInt("num_attention_heads", "attention.head_count"));
    RETURN_IF_ERROR(CopyInt("intermediate_size", "feed_forward_length"));
    RETURN_IF_ERROR(CopyInt("max_position_embeddings", "context_length", skipped_positions));
    RETURN_IF_ERROR(CopyInt("vocab_size", "vocab_size"));
    RETURN_IF_ERROR(CopyEpsilon("layer_norm_eps"));
    RETURN_IF_ERROR(Expect("hidden_act", "gelu"));
    RETURN_IF_ERROR(Expect("position_embedding_type", "absolute"));
    FindPrefix(prefix);
    Copy("embeddings.word_embeddings", "token_embd");
    Copy("embeddings.token_type_embeddings", "token_types");
    Copy("embeddings.LayerNorm", "token_embd_norm");
    RETURN_IF_ERROR(CopyPositions(skipped_positions));
    CopyLayers("encoder.layer.", kBertLayer);
    RETURN_IF_ERROR(CopyRankHead());
    return absl::OkStatus();
  }

  absl::Status CopyPositions(int64_t skipped) {
    const TensorEntry* entry = Find("embeddings.position_embeddings.weight");
    if (entry == nullptr) return absl::OkStatus();
    TensorView view = entry->view;
    if (view.shape.rank() != 2 || view.shape[0] <= skipped) {
      return base::InvalidArgument(absl::StrCat(
          "embeddings.position_embeddings.weight: expected more than ", skipped, " rows"));
    }
    view.data += skipped * view.row_bytes();
    view.shape = {view.shape[0] - skipped, view.shape[1]};
    source_.names().AddTensor("position_embd.weight", view);
    return absl::OkStatus();
  }

  // BERT's is its pooler and a classifier; RoBERTa's has both under "classifier".
  absl::Status CopyRankHead() {
    const JsonValue names = config_.Get("architectures");
    if (!names.is_array() || names.size() == 0) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::string name, names.At(0).AsString());
    if (!name.ends_with("ForSequenceClassification")) return absl::OkStatus();
    Copy("pooler.dense", "cls");
    CopyHead("classifier", "cls.output");
    CopyHead("classifier.dense", "cls");
    CopyHead("classifier.out_proj", "cls.output");
    return absl::OkStatus();
  }

  absl::Status NomicBert() {
    Begin("nomic-bert");
    const bool published = config_.Get("n_embd").present();
    // Its authors' words, or those of transformers, which writes the authors' tensors all the same.
    RETURN_IF_ERROR(published ? NomicKeys() : NomicKeysOfTransformers());
    FindPrefix("nomic_bert.");
    Copy("embeddings.word_embeddings", "token_embd");
    Copy("embeddings.token_type_embeddings", "token_types");
    Copy("emb_ln", "token_embd_norm");
    CopyLayers("encoder.layers.", kNomicLayer);
    return absl::OkStatus();
  }

  absl::Status NomicKeys() {
    RETURN_IF_ERROR(CopyInt("n_embd", "embedding_length"));
    RETURN_IF_ERROR(CopyInt("n_layer", "block_count"));
    RETURN_IF_ERROR(CopyInt("n_head", "attention.head_count"));
    RETURN_IF_ERROR(CopyInt("n_inner", "feed_forward_length"));
    RETURN_IF_ERROR(CopyInt("vocab_size", "vocab_size"));
    RETURN_IF_ERROR(CopyEpsilon("layer_norm_epsilon"));
    constexpr std::pair<const char*, const char*> kExpected[] = {
        {"activation_function", "swiglu"},   {"prenorm", "false"},      {"causal", "false"},
        {"qkv_proj_bias", "false"},          {"mlp_fc1_bias", "false"}, {"mlp_fc2_bias", "false"},
        {"rotary_emb_interleaved", "false"}, {"use_rms_norm", "false"}, {"parallel_block", "false"},
        {"moe_every_n_layers", "0"}};
    for (const auto& [field, wanted] : kExpected) RETURN_IF_ERROR(Expect(field, wanted));
    ASSIGN_OR_RETURN(const auto fraction, config_.Get("rotary_emb_fraction").OptionalNumber(0, 1));
    if (fraction.value_or(1) != 1) return config_.Get("rotary_emb_fraction").Error("must be 1");
    ASSIGN_OR_RETURN(const auto base, config_.Get("rotary_emb_base").OptionalNumber(1, 1e15));
    Set("rope.freq_base", base.value_or(10'000));
    // What lies beyond the trained positions needs another rotation.
    ASSIGN_OR_RETURN(const int64_t positions, config_.Get("n_positions").AsInt(1, kSizeMax));
    ASSIGN_OR_RETURN(const auto trained,
                     config_.Get("max_trained_positions").OptionalInt(1, kSizeMax));
    Set("context_length", std::min(positions, trained.value_or(2048)));
    return absl::OkStatus();
  }

  absl::Status NomicKeysOfTransformers() {
    RETURN_IF_ERROR(CopyInt("hidden_size", "embedding_length"));
    RETURN_IF_ERROR(CopyInt("num_hidden_layers", "block_count"));
    RETURN_IF_ERROR(CopyInt("num_attention_heads", "attention.head_count"));
    RETURN_IF_ERROR(CopyInt("intermediate_size", "feed_forward_length"));
    RETURN_IF_ERROR(CopyInt("max_position_embeddings", "context_length"));
    RETURN_IF_ERROR(CopyInt("vocab_size", "vocab_size"));
    RETURN_IF_ERROR(CopyEpsilon("layer_norm_eps"));
    RETURN_IF_ERROR(Expect("hidden_act", "silu"));
    const JsonValue rope = config_.Get("rope_parameters");
    ASSIGN_OR_RETURN(const auto type, rope.Get("rope_type").OptionalString());
    if (type.value_or("default") != "default") {
      return base::Unimplemented("rope_parameters.rope_type: only default is supported");
    }
    ASSIGN_OR_RETURN(const auto base, rope.Get("rope_theta").OptionalNumber(1, 1e15));
    Set("rope.freq_base", base.value_or(1'000));
    return absl::OkStatus();
  }

  const JsonValue config_;
  NamedSource& source_;
  std::string architecture_;
  std::string prefix_;
  int64_t layers_ = 0;
};

}  // namespace

bool IsEncoderType(std::string_view model_type) {
  return std::find(std::begin(kEncoderTypes), std::end(kEncoderTypes), model_type) !=
         std::end(kEncoderTypes);
}

absl::StatusOr<std::shared_ptr<const ModelSource>> NameEncoderTensors(
    const JsonValue& config, const std::string& tokenizer_json,
    std::shared_ptr<const ModelSource> raw) {
  auto source = std::make_shared<NamedSource>(std::move(raw));
  RETURN_IF_ERROR(Namer(config, source.get()).Run());
  if (!tokenizer_json.empty()) {
    source->names().AddMetadata("tokenizer.huggingface.json", source->names().Keep(tokenizer_json));
  }
  return std::shared_ptr<const ModelSource>(std::move(source));
}

}  // namespace conclave::embed
