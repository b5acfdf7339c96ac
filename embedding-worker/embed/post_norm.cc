#include "embed/post_norm.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "embed/post_norm_weights.h"
#include "engine/kernels/kernels.h"

namespace conclave::embed {
namespace {

using engine::Kernels;

class PostNorm final : public Encoder {
 public:
  PostNorm(EncoderFile file, const PostNormTraits& traits, const PostNormShape& shape,
           PostNormWeights weights, std::unique_ptr<Kernels> kernels, int32_t tokens_max);

  const EncoderInfo& info() const override { return info_; }
  const engine::Tokenizer& tokenizer() const override { return *file_.tokenizer; }
  const TextFrame& frame() const override { return file_.frame; }
  void Encode(const EncoderBatch& batch, float* out) override;

 private:
  int64_t hidden() const { return shape_.hidden; }
  void Reserve(int64_t rows);
  void Embed(const EncoderBatch& batch);
  void AddTypes(const EncoderBatch& batch);
  void RunLayer(const PostNormLayer& layer, std::span<const int32_t> offsets, int64_t rows);
  void FeedForward(const PostNormLayer& layer, int64_t rows);
  void AddAndNorm(const NormWeights& norm, int64_t rows);
  void Score(std::span<const int32_t> offsets, float* out);

  const EncoderFile file_;  // holds the embedding tables
  const PostNormShape shape_;
  const PostNormWeights weights_;
  const std::unique_ptr<Kernels> kernels_;
  const bool gated_;
  const std::optional<engine::RopeTable> rope_;
  EncoderInfo info_;

  // Scratch, grown to the largest batch.
  std::vector<float> x_;     // [rows][hidden]
  std::vector<float> y_;     // [rows][hidden]: what is added to x
  std::vector<float> qkv_;   // [rows][3 · hidden]
  std::vector<float> mid_;   // [rows][max(ffn, hidden)]
  std::vector<float> turn_;  // [rows][head_dim]: cos and sin
  std::vector<int32_t> position_ids_;
};

// Attention takes as much memory for each sequence of a call as for the longest: one long text
// among two hundred short ones would take gigabytes. At least one sequence.
size_t SequencesOfCall(std::span<const int32_t> offsets) {
  constexpr int64_t kPaddedRowsMax = 8'192;
  int64_t longest = 0;
  size_t count = 0;
  for (; count + 1 < offsets.size(); ++count) {
    longest = std::max<int64_t>(longest, offsets[count + 1] - offsets[count]);
    if (count > 0 && longest * static_cast<int64_t>(count + 1) > kPaddedRowsMax) break;
  }
  return count;
}

std::optional<engine::RopeTable> MakeRope(const PostNormTraits& traits,
                                          const PostNormShape& shape) {
  if (traits.positions) return std::nullopt;
  return engine::RopeTable(shape.head_dim(), shape.rope_base);
}

PostNorm::PostNorm(EncoderFile file, const PostNormTraits& traits, const PostNormShape& shape,
                   PostNormWeights weights, std::unique_ptr<Kernels> kernels, int32_t tokens_max)
    : file_(std::move(file)),
      shape_(shape),
      weights_(std::move(weights)),
      kernels_(std::move(kernels)),
      gated_(traits.gated),
      rope_(MakeRope(traits, shape)),
      info_(DescribeFile(file_)) {
  info_.pooling = file_.pooling.value_or(Pooling::kMean);
  info_.dimensions = info_.ranks() ? 1 : shape_.hidden;
  info_.tokens_max = tokens_max;
}

void PostNorm::Reserve(int64_t rows) {
  const auto grow = [rows](std::vector<float>& buffer, int64_t columns) {
    const auto size = static_cast<size_t>(rows * columns);
    if (buffer.size() < size) buffer.resize(size);
  };
  grow(x_, hidden());
  grow(y_, hidden());
  grow(qkv_, 3 * hidden());
  grow(mid_, std::max<int64_t>(shape_.ffn, hidden()));
  if (rope_.has_value()) grow(turn_, shape_.head_dim());
}

// x += E_type of the segment: the second text of a pair is another than the first.
void PostNorm::AddTypes(const EncoderBatch& batch) {
  if (shape_.types == 0) return;
  const int64_t h = hidden();
  for (size_t s = 0; s < batch.size(); ++s) {
    const int32_t end = batch.offsets[s + 1];
    const int32_t second = batch.seconds.empty() ? end : batch.seconds[s];
    for (int32_t row = batch.offsets[s]; row < end; ++row) {
      const float* const type = weights_.types.data() + (row < second ? 0 : h);
      float* const x = x_.data() + row * h;
      for (int64_t d = 0; d < h; ++d) x[d] += type[d];
    }
  }
}

void PostNorm::Embed(const EncoderBatch& batch) {
  const int64_t h = hidden();
  const auto rows = static_cast<int64_t>(batch.ids.size());
  position_ids_.clear();
  for (size_t s = 0; s < batch.size(); ++s) {
    for (int32_t p = 0; p < batch.offsets[s + 1] - batch.offsets[s]; ++p) {
      position_ids_.push_back(p);
    }
  }
  kernels_->EmbedRows(weights_.words, batch.ids, x_.data(), h);
  AddTypes(batch);
  if (rope_.has_value()) {
    kernels_->RopeAngles(*rope_, position_ids_, 1.0f, turn_.data());
  } else {
    kernels_->EmbedRows(weights_.positions, position_ids_, y_.data(), h);
    kernels_->Add(y_.data(), rows * h, x_.data());
  }
  const NormWeights& norm = weights_.embedding_norm;
  kernels_->LayerNorm(x_.data(), h, rows, h, norm.weight.data(), norm.bias.data(), shape_.eps,
                      x_.data(), h);
}

// x = LN(x + y)
void PostNorm::AddAndNorm(const NormWeights& norm, int64_t rows) {
  const int64_t h = hidden();
  kernels_->Add(y_.data(), rows * h, x_.data());
  kernels_->LayerNorm(x_.data(), h, rows, h, norm.weight.data(), norm.bias.data(), shape_.eps,
                      x_.data(), h);
}

void PostNorm::RunLayer(const PostNormLayer& layer, std::span<const int32_t> offsets,
                        int64_t rows) {
  const int64_t h = hidden(), stride = 3 * h;
  const int32_t head_dim = shape_.head_dim();
  float* const q = qkv_.data();
  if (layer.qkv.has_value()) {
    kernels_->Matmul({layer.qkv->To(q, stride)}, x_.data(), h, rows);
  } else {
    kernels_->Matmul(
        {layer.q->To(q, stride), layer.k->To(q + h, stride), layer.v->To(q + 2 * h, stride)},
        x_.data(), h, rows);
  }
  if (rope_.has_value()) {
    for (float* const part : {q, q + h}) {
      kernels_->Rope(engine::RopeStyle::kNeox, part, stride, rows, shape_.heads, head_dim, head_dim,
                     turn_.data());
    }
  }
  for (size_t first = 0; first + 1 < offsets.size();) {
    const size_t count = SequencesOfCall(offsets.subspan(first));
    kernels_->DenseAttention({.offsets = offsets.subspan(first, count + 1),
                              .num_heads = shape_.heads,
                              .head_dim = head_dim,
                              .scale = 1.0f / std::sqrt(static_cast<float>(head_dim)),
                              .q = q,
                              .k = q + h,
                              .v = q + 2 * h,
                              .stride = stride,
                              .out = mid_.data(),
                              .out_stride = h});
    first += count;
  }
  kernels_->Matmul({layer.o.To(y_.data(), h)}, mid_.data(), h, rows);
  AddAndNorm(layer.attention_norm, rows);
  FeedForward(layer, rows);
  AddAndNorm(layer.output_norm, rows);
}

// y = ffn(x)
void PostNorm::FeedForward(const PostNormLayer& layer, int64_t rows) {
  const int64_t h = hidden(), ffn = shape_.ffn;
  if (gated_) {
    kernels_->Ffn({.gate = &layer.gate->weight,
                   .up = &layer.up.weight,
                   .down = &layer.down.weight,
                   .activation = engine::Activation::kSilu},
                  x_.data(), h, rows, y_.data(), h);
    return;
  }
  kernels_->Matmul({layer.up.To(mid_.data(), ffn)}, x_.data(), h, rows);
  kernels_->Activate(engine::Activation::kGeluErf, mid_.data(), rows * ffn, mid_.data());
  kernels_->Matmul({layer.down.To(y_.data(), h)}, mid_.data(), ffn, rows);
}

// The head over the first token of each sequence.
void PostNorm::Score(std::span<const int32_t> offsets, float* out) {
  const int64_t h = hidden();
  const auto count = static_cast<int64_t>(offsets.size()) - 1;
  const RankHead& head = *weights_.rank;
  kernels_->GatherRows(x_.data(), h, offsets.first(offsets.size() - 1), h, y_.data(), h);
  kernels_->Matmul({head.dense.To(mid_.data(), h)}, y_.data(), h, count);
  for (int64_t i = 0; i < count * h; ++i) {
    float& value = mid_[static_cast<size_t>(i)];
    value = std::tanh(value);
  }
  kernels_->Matmul({head.out.To(out, 1)}, mid_.data(), h, count);
}

void PostNorm::Encode(const EncoderBatch& batch, float* out) {
  const int64_t h = hidden();
  const auto rows = static_cast<int64_t>(batch.ids.size());
  Reserve(rows);
  Embed(batch);
  for (const PostNormLayer& layer : weights_.layers) RunLayer(layer, batch.offsets, rows);
  if (info_.ranks()) return Score(batch.offsets, out);
  for (size_t s = 0; s < batch.size(); ++s) {
    const int32_t first = batch.offsets[s];
    Pool(info_.pooling, x_.data() + first * h, batch.offsets[s + 1] - first, h,
         out + static_cast<int64_t>(s) * h);
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Encoder>> OpenPostNorm(const PostNormTraits& traits,
                                                      EncoderFile file,
                                                      const EncoderOptions& options) {
  const engine::ModelSource& source = *file.source;
  ASSIGN_OR_RETURN(const PostNormShape shape, ReadPostNormShape(source, traits));
  const std::string path(source.path());
  if (file.tokenizer->vocab_size() > shape.vocab) {
    return base::InvalidArgument(absl::StrCat(path, ": the tokenizer has ",
                                              file.tokenizer->vocab_size(), " tokens, the model ",
                                              shape.vocab));
  }
  if (file.frame.prefix.empty() || file.frame.suffix.empty()) {
    return base::InvalidArgument(
        absl::StrCat(path, ": the tokenizer puts no [CLS] and [SEP] around a text"));
  }
  ASSIGN_OR_RETURN(const int32_t tokens_max, TokensMax(file, options, shape.context));
  ASSIGN_OR_RETURN(std::unique_ptr<Kernels> kernels,
                   engine::CreateCpuKernels({.num_threads = options.num_threads}));
  RETURN_IF_ERROR(kernels->CheckAttention({.num_kv_heads = shape.heads,
                                           .head_dim = shape.head_dim(),
                                           .value_dim = shape.head_dim(),
                                           .type = engine::KvType::kF32},
                                          shape.heads));
  const bool ranks = file.pooling == Pooling::kRank;
  ASSIGN_OR_RETURN(PostNormWeights weights, BindPostNorm(source, traits, shape, ranks, *kernels));
  return std::make_unique<PostNorm>(std::move(file), traits, shape, std::move(weights),
                                    std::move(kernels), tokens_max);
}

}  // namespace conclave::embed
