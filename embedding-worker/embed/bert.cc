// BERT: word, position and type embeddings, then post-norm layers of bidirectional attention and an
// exact-GELU feed-forward, all with biases. Names and order are Hugging Face's BertModel.
//   x = LN(E_word + E_pos + E_type[0])
//   x = LN(x + W_o · attention(x)),  x = LN(x + W_2 · gelu(W_1 · x))      per layer
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "embed/encoder.h"
#include "engine/kernels/kernels.h"
#include "engine/weights/binder.h"
#include "engine/weights/safetensors.h"

namespace conclave::embed {
namespace {

using base::JsonValue;
using engine::Binder;
using engine::Kernels;
using engine::PackedMatrix;
using engine::TensorView;

struct Config {
  int32_t hidden = 0;
  int32_t layers = 0;
  int32_t heads = 0;
  int32_t ffn = 0;
  int32_t positions = 0;
  int32_t types = 0;
  int32_t vocab = 0;
  float eps = 1e-12f;
};

struct Norm {
  std::vector<float> weight;  // [hidden]
  std::vector<float> bias;
};

struct Linear {
  PackedMatrix weight;      // [out][in]
  std::vector<float> bias;  // [out]
};

struct Layer {
  Linear q, k, v, o;
  Norm attention_norm;
  Linear up, down;
  Norm output_norm;
};

absl::StatusOr<Config> ReadConfig(const JsonValue& root) {
  const auto integer = [&](const char* key, int64_t max, int32_t* place) -> absl::Status {
    ASSIGN_OR_RETURN(const int64_t value, root.Get(key).AsInt(1, max));
    *place = static_cast<int32_t>(value);
    return absl::OkStatus();
  };
  Config c;
  RETURN_IF_ERROR(integer("hidden_size", 16'384, &c.hidden));
  RETURN_IF_ERROR(integer("num_hidden_layers", 256, &c.layers));
  RETURN_IF_ERROR(integer("num_attention_heads", 1'024, &c.heads));
  RETURN_IF_ERROR(integer("intermediate_size", 1 << 18, &c.ffn));
  RETURN_IF_ERROR(integer("max_position_embeddings", 1 << 20, &c.positions));
  RETURN_IF_ERROR(integer("type_vocab_size", 1'024, &c.types));
  RETURN_IF_ERROR(integer("vocab_size", 4 << 20, &c.vocab));
  ASSIGN_OR_RETURN(const auto eps, root.Get("layer_norm_eps").OptionalNumber(0, 1));
  c.eps = static_cast<float>(eps.value_or(1e-12));
  if (c.hidden % c.heads != 0) {
    return root.Get("num_attention_heads").Error("does not divide hidden_size");
  }
  ASSIGN_OR_RETURN(const auto act, root.Get("hidden_act").OptionalString());
  if (act.value_or("gelu") != "gelu") {
    return base::Unimplemented(absl::StrCat("hidden_act: \"", *act, "\" is not supported"));
  }
  ASSIGN_OR_RETURN(const auto position, root.Get("position_embedding_type").OptionalString());
  if (position.value_or("absolute") != "absolute") {
    return base::Unimplemented("position_embedding_type: only absolute is supported");
  }
  return c;
}

// Fetches by name, under the prefix the file uses ("" or "bert.").
class Loader final {
 public:
  Loader(const engine::ModelSource& source, Kernels& kernels)
      : binder_(source),
        kernels_(kernels),
        prefix_(source.FindTensor("embeddings.word_embeddings.weight") ? "" : "bert.") {}

  absl::StatusOr<TensorView> Table(const std::string& name, int64_t rows, int64_t cols) {
    return binder_.Get(prefix_ + name, {rows, cols});
  }
  absl::StatusOr<Norm> LayerNorm(const std::string& name, int64_t n) {
    Norm norm;
    ASSIGN_OR_RETURN(norm.weight, binder_.GetVector(prefix_ + name + ".weight", n));
    ASSIGN_OR_RETURN(norm.bias, binder_.GetVector(prefix_ + name + ".bias", n));
    return norm;
  }
  absl::StatusOr<Linear> Dense(const std::string& name, int64_t out, int64_t in) {
    Linear linear;
    ASSIGN_OR_RETURN(const TensorView weight, binder_.Get(prefix_ + name + ".weight", {out, in}));
    ASSIGN_OR_RETURN(linear.weight, kernels_.Pack(weight));
    binder_.source().DoneWith(weight);
    ASSIGN_OR_RETURN(linear.bias, binder_.GetVector(prefix_ + name + ".bias", out));
    return linear;
  }

 private:
  Binder binder_;
  Kernels& kernels_;
  const std::string prefix_;
};

absl::StatusOr<Layer> LoadLayer(Loader& loader, const Config& c, int32_t index) {
  const std::string at = absl::StrCat("encoder.layer.", index, ".");
  Layer layer;
  ASSIGN_OR_RETURN(layer.q, loader.Dense(at + "attention.self.query", c.hidden, c.hidden));
  ASSIGN_OR_RETURN(layer.k, loader.Dense(at + "attention.self.key", c.hidden, c.hidden));
  ASSIGN_OR_RETURN(layer.v, loader.Dense(at + "attention.self.value", c.hidden, c.hidden));
  ASSIGN_OR_RETURN(layer.o, loader.Dense(at + "attention.output.dense", c.hidden, c.hidden));
  ASSIGN_OR_RETURN(layer.attention_norm,
                   loader.LayerNorm(at + "attention.output.LayerNorm", c.hidden));
  ASSIGN_OR_RETURN(layer.up, loader.Dense(at + "intermediate.dense", c.ffn, c.hidden));
  ASSIGN_OR_RETURN(layer.down, loader.Dense(at + "output.dense", c.hidden, c.ffn));
  ASSIGN_OR_RETURN(layer.output_norm, loader.LayerNorm(at + "output.LayerNorm", c.hidden));
  return layer;
}

class Bert final : public Encoder {
 public:
  static absl::StatusOr<std::unique_ptr<Encoder>> Open(ModelFolder folder,
                                                       const EncoderOptions& options);

  const EncoderInfo& info() const override { return info_; }
  const engine::Tokenizer& tokenizer() const override { return *tokenizer_; }
  void Encode(std::span<const TokenId> ids, std::span<const int32_t> offsets, float* out) override;

 private:
  Bert() = default;
  absl::Status Load();
  void Describe(const ModelFolder& folder);
  void Embed(std::span<const TokenId> ids, std::span<const int32_t> offsets);
  void RunLayer(const Layer& layer, std::span<const int32_t> offsets, int64_t rows);
  void AddAndNorm(const Norm& norm, int64_t rows);
  void Reserve(int64_t rows);

  Config config_;
  EncoderInfo info_;
  std::unique_ptr<engine::Tokenizer> tokenizer_;
  std::shared_ptr<const engine::ModelSource> source_;  // holds the embedding tables
  std::unique_ptr<Kernels> kernels_;
  engine::RowTable words_;      // [vocab][hidden]
  engine::RowTable positions_;  // [positions][hidden]
  std::vector<float> type0_;    // [hidden]: one segment, so always the first type
  Norm embedding_norm_;
  std::vector<Layer> layers_;

  // Scratch, grown to the largest batch.
  std::vector<float> x_;    // [rows][hidden]
  std::vector<float> y_;    // [rows][hidden]: what is added to x
  std::vector<float> qkv_;  // [rows][3 · hidden]
  std::vector<float> mid_;  // [rows][max(ffn, hidden)]
  std::vector<int32_t> position_ids_;
};

absl::StatusOr<std::unique_ptr<Encoder>> Bert::Open(ModelFolder folder,
                                                    const EncoderOptions& options) {
  auto bert = std::unique_ptr<Bert>(new Bert());
  auto config = ReadConfig(folder.config.root());
  if (!config.ok()) return base::Annotate(config.status(), folder.path + "/config.json");
  bert->config_ = *config;
  if (folder.tokenizer->vocab_size() > config->vocab) {
    return base::InvalidArgument(absl::StrCat(folder.path, ": the tokenizer has ",
                                              folder.tokenizer->vocab_size(), " tokens, the model ",
                                              config->vocab));
  }
  if (folder.tokenizer->bos() < 0 || folder.tokenizer->eos() < 0) {
    return base::InvalidArgument(
        absl::StrCat(folder.path, ": the tokenizer has no [CLS] or [SEP]"));
  }
  ASSIGN_OR_RETURN(bert->source_, engine::OpenSafetensors(folder.path));
  ASSIGN_OR_RETURN(bert->kernels_, engine::CreateCpuKernels({.num_threads = options.num_threads}));
  bert->Describe(folder);
  bert->tokenizer_ = std::move(folder.tokenizer);
  RETURN_IF_ERROR(bert->Load());
  return bert;
}

void Bert::Describe(const ModelFolder& folder) {
  info_.family = "bert";
  info_.dimensions = config_.hidden;
  info_.tokens_max =
      folder.tokens_max == 0 ? config_.positions : std::min(folder.tokens_max, config_.positions);
  info_.pooling = folder.pooling;
  info_.normalize = folder.normalize;
  for (const engine::TensorEntry& tensor : source_->tensors()) {
    info_.parameters += tensor.view.shape.elements();
    info_.weight_bytes += tensor.view.bytes();
  }
}

absl::Status Bert::Load() {
  const Config& c = config_;
  Loader loader(*source_, *kernels_);
  ASSIGN_OR_RETURN(const TensorView words,
                   loader.Table("embeddings.word_embeddings.weight", c.vocab, c.hidden));
  ASSIGN_OR_RETURN(const TensorView positions,
                   loader.Table("embeddings.position_embeddings.weight", c.positions, c.hidden));
  ASSIGN_OR_RETURN(const TensorView types,
                   loader.Table("embeddings.token_type_embeddings.weight", c.types, c.hidden));
  ASSIGN_OR_RETURN(words_, kernels_->PackRows(words));
  ASSIGN_OR_RETURN(positions_, kernels_->PackRows(positions));
  type0_.resize(static_cast<size_t>(c.hidden));
  const int32_t first = 0;
  ASSIGN_OR_RETURN(const engine::RowTable type_rows, kernels_->PackRows(types));
  kernels_->EmbedRows(type_rows, {&first, 1}, type0_.data(), c.hidden);
  ASSIGN_OR_RETURN(embedding_norm_, loader.LayerNorm("embeddings.LayerNorm", c.hidden));
  for (int32_t i = 0; i < c.layers; ++i) {
    ASSIGN_OR_RETURN(Layer layer, LoadLayer(loader, c, i));
    layers_.push_back(std::move(layer));
  }
  return absl::OkStatus();
}

void Bert::Reserve(int64_t rows) {
  const auto grow = [rows](std::vector<float>& buffer, int64_t columns) {
    const auto size = static_cast<size_t>(rows * columns);
    if (buffer.size() < size) buffer.resize(size);
  };
  grow(x_, config_.hidden);
  grow(y_, config_.hidden);
  grow(qkv_, int64_t{3} * config_.hidden);
  grow(mid_, std::max(config_.ffn, config_.hidden));
}

void Bert::Embed(std::span<const TokenId> ids, std::span<const int32_t> offsets) {
  const int64_t h = config_.hidden;
  const auto rows = static_cast<int64_t>(ids.size());
  position_ids_.clear();
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    for (int32_t p = 0; p < offsets[s + 1] - offsets[s]; ++p) position_ids_.push_back(p);
  }
  kernels_->EmbedRows(words_, ids, x_.data(), h);
  kernels_->EmbedRows(positions_, position_ids_, y_.data(), h);
  for (int64_t row = 0; row < rows; ++row) {
    float* const x = x_.data() + row * h;
    const float* const position = y_.data() + row * h;
    for (int64_t d = 0; d < h; ++d) x[d] = (x[d] + type0_[static_cast<size_t>(d)]) + position[d];
  }
  kernels_->LayerNorm(x_.data(), h, rows, h, embedding_norm_.weight.data(),
                      embedding_norm_.bias.data(), config_.eps, x_.data(), h);
}

// x = LN(x + y)
void Bert::AddAndNorm(const Norm& norm, int64_t rows) {
  const int64_t h = config_.hidden;
  kernels_->Add(y_.data(), rows * h, x_.data());
  kernels_->LayerNorm(x_.data(), h, rows, h, norm.weight.data(), norm.bias.data(), config_.eps,
                      x_.data(), h);
}

void Bert::RunLayer(const Layer& layer, std::span<const int32_t> offsets, int64_t rows) {
  const int64_t h = config_.hidden;
  const int64_t stride = 3 * h;
  float* const q = qkv_.data();
  kernels_->Matmul({{&layer.q.weight, layer.q.bias.data(), q, stride},
                    {&layer.k.weight, layer.k.bias.data(), q + h, stride},
                    {&layer.v.weight, layer.v.bias.data(), q + 2 * h, stride}},
                   x_.data(), h, rows);
  const int32_t head_dim = config_.hidden / config_.heads;
  kernels_->DenseAttention({.offsets = offsets,
                            .num_heads = config_.heads,
                            .head_dim = head_dim,
                            .scale = 1.0f / std::sqrt(static_cast<float>(head_dim)),
                            .q = q,
                            .k = q + h,
                            .v = q + 2 * h,
                            .stride = stride,
                            .out = mid_.data(),
                            .out_stride = h});
  kernels_->Matmul({{&layer.o.weight, layer.o.bias.data(), y_.data(), h}}, mid_.data(), h, rows);
  AddAndNorm(layer.attention_norm, rows);

  const int64_t ffn = config_.ffn;
  kernels_->Matmul({{&layer.up.weight, layer.up.bias.data(), mid_.data(), ffn}}, x_.data(), h,
                   rows);
  kernels_->Activate(engine::Activation::kGeluErf, mid_.data(), rows * ffn, mid_.data());
  kernels_->Matmul({{&layer.down.weight, layer.down.bias.data(), y_.data(), h}}, mid_.data(), ffn,
                   rows);
  AddAndNorm(layer.output_norm, rows);
}

void Bert::Encode(std::span<const TokenId> ids, std::span<const int32_t> offsets, float* out) {
  const int64_t h = config_.hidden;
  const auto rows = static_cast<int64_t>(ids.size());
  Reserve(rows);
  Embed(ids, offsets);
  for (const Layer& layer : layers_) RunLayer(layer, offsets, rows);
  for (size_t s = 0; s + 1 < offsets.size(); ++s) {
    Pool(info_.pooling, x_.data() + offsets[s] * h, offsets[s + 1] - offsets[s], h,
         out + static_cast<int64_t>(s) * h);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Encoder>> OpenBert(ModelFolder folder,
                                                  const EncoderOptions& options) {
  return Bert::Open(std::move(folder), options);
}

}  // namespace conclave::embed
