#include "embed/causal.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/strings.h"
#include "engine/kernels/kernels.h"
#include "engine/kv/kv_store.h"
#include "engine/models/architecture.h"
#include "engine/tensor/arena.h"

namespace conclave::embed {
namespace {

using engine::AttentionSpan;
using engine::Kernels;
using engine::KvLayout;
using engine::KvStore;
using engine::Model;
using engine::PackedMatrix;

// Rows of one step. Steps of any size give the same bits, so this bounds scratch alone.
constexpr int32_t kStepRows = 1'024;
// Sequences share the memory of keys and values as long as they fit; short ones need this much.
constexpr int32_t kTokensMin = 4'096;

int32_t BlocksOf(int32_t tokens) {
  return (tokens + KvLayout::kBlockTokens - 1) / KvLayout::kBlockTokens;
}

struct CausalParts {
  std::unique_ptr<Kernels> kernels;
  std::unique_ptr<Model> model;
  std::unique_ptr<KvStore> kv;
  engine::Arena arena;
  PackedMatrix yes_no;  // [2][hidden] of a reranker
  int32_t tokens_max = 0;
};

class Causal final : public Encoder {
 public:
  Causal(EncoderFile file, CausalParts parts)
      : file_(std::move(file)), parts_(std::move(parts)), info_(DescribeFile(file_)) {
    info_.pooling = file_.pooling.value_or(Pooling::kLast);
    info_.dimensions = info_.ranks() ? 1 : hidden();
    info_.tokens_max = parts_.tokens_max;
    for (int32_t i = 0; i < parts_.kv->num_blocks(); ++i) blocks_.push_back(i);
  }

  const EncoderInfo& info() const override { return info_; }
  const engine::Tokenizer& tokenizer() const override { return *file_.tokenizer; }
  const TextFrame& frame() const override { return file_.frame; }
  void Encode(const EncoderBatch& batch, float* out) override;

 private:
  // One sequence's blocks of a wave and how far it has come.
  struct Lane {
    size_t sequence;
    int32_t first_block;
    int32_t done;
  };

  int32_t hidden() const { return parts_.model->hparams().hidden; }
  void EncodeWave(const EncoderBatch& batch, std::vector<Lane> lanes, float* out);
  // Takes rows of the lanes in order, at most kStepRows; true = there are more.
  void Step(const EncoderBatch& batch, std::vector<Lane>& lanes, size_t* first, float* out);
  void Write(const std::vector<size_t>& sequences, float* out);

  const EncoderFile file_;
  CausalParts parts_;
  EncoderInfo info_;
  std::vector<int32_t> blocks_;  // 0, 1, …: a lane's are a piece of it

  // Scratch.
  std::vector<TokenId> tokens_;
  std::vector<int32_t> positions_, output_rows_;
  std::vector<AttentionSpan> spans_;
  std::vector<float> hidden_, words_;
};

void Causal::Encode(const EncoderBatch& batch, float* out) {
  std::vector<Lane> lanes;
  int32_t used = 0;
  for (size_t s = 0; s < batch.size(); ++s) {
    const int32_t blocks = BlocksOf(batch.offsets[s + 1] - batch.offsets[s]);
    if (used + blocks > parts_.kv->num_blocks()) {
      EncodeWave(batch, std::exchange(lanes, {}), out);
      used = 0;
    }
    lanes.push_back({.sequence = s, .first_block = used, .done = 0});
    used += blocks;
  }
  EncodeWave(batch, std::move(lanes), out);
}

void Causal::EncodeWave(const EncoderBatch& batch, std::vector<Lane> lanes, float* out) {
  for (size_t first = 0; first < lanes.size();) Step(batch, lanes, &first, out);
}

void Causal::Step(const EncoderBatch& batch, std::vector<Lane>& lanes, size_t* first, float* out) {
  tokens_.clear();
  positions_.clear();
  spans_.clear();
  output_rows_.clear();
  std::vector<size_t> finished;
  while (*first < lanes.size() && std::ssize(tokens_) < kStepRows) {
    Lane& lane = lanes[*first];
    const int32_t begin = batch.offsets[lane.sequence] + lane.done;
    const int32_t left = batch.offsets[lane.sequence + 1] - begin;
    const auto row = static_cast<int32_t>(tokens_.size());
    const int32_t count = std::min(left, kStepRows - row);
    spans_.push_back({.blocks = blocks_.data() + lane.first_block,
                      .position = lane.done,
                      .first_row = row,
                      .rows = count});
    for (int32_t i = 0; i < count; ++i) {
      tokens_.push_back(batch.ids[static_cast<size_t>(begin + i)]);
      positions_.push_back(lane.done + i);
    }
    lane.done += count;
    if (count < left) break;
    output_rows_.push_back(row + count - 1);
    finished.push_back(lane.sequence);
    ++*first;
  }
  hidden_.resize(finished.size() * static_cast<size_t>(hidden()));
  parts_.model->Forward({.kernels = *parts_.kernels,
                         .kv = *parts_.kv,
                         .arena = parts_.arena,
                         .tokens = tokens_,
                         .positions = positions_,
                         .spans = spans_,
                         .output_rows = output_rows_,
                         .hidden = hidden_.data()});
  Write(finished, out);
}

void Causal::Write(const std::vector<size_t>& sequences, float* out) {
  const auto h = static_cast<size_t>(hidden());
  if (!info_.ranks()) {
    for (size_t i = 0; i < sequences.size(); ++i) {
      std::copy_n(hidden_.data() + i * h, h, out + sequences[i] * h);
    }
    return;
  }
  words_.resize(2 * sequences.size());
  parts_.kernels->Matmul({{.weight = &parts_.yes_no, .y = words_.data(), .y_stride = 2}},
                         hidden_.data(), hidden(), std::ssize(sequences));
  for (size_t i = 0; i < sequences.size(); ++i) {
    out[sequences[i]] = words_[2 * i] - words_[2 * i + 1];
  }
}

absl::StatusOr<PackedMatrix> BindYesNo(const engine::ModelSource& source, int32_t hidden,
                                       Kernels& kernels) {
  ASSIGN_OR_RETURN(const std::string_view architecture, source.Architecture());
  const std::string labels = absl::StrCat(base::Abs(architecture), ".classifier.output_labels");
  if (source.Has(labels)) {
    ASSIGN_OR_RETURN(const std::vector<std::string_view> words, source.GetStrings(labels));
    if (words != std::vector<std::string_view>{"yes", "no"}) {
      return base::Unimplemented(absl::StrCat(base::Abs(source.path()), ": ", labels,
                                              ": only \"yes\", \"no\" is supported"));
    }
  }
  engine::Binder binder(source);
  ASSIGN_OR_RETURN(const engine::TensorView view, binder.Get("cls.output.weight", {2, hidden}));
  return kernels.Pack(view);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Encoder>> OpenCausal(EncoderFile file,
                                                    const EncoderOptions& options) {
  const engine::ModelSource& source = *file.source;
  const std::string path(source.path());
  const Pooling pooling = file.pooling.value_or(Pooling::kLast);
  if (pooling != Pooling::kLast && pooling != Pooling::kRank) {
    return base::Unimplemented(
        absl::StrCat(path, ": a decoder's vectors are pooled by the last token"));
  }
  CausalParts parts;
  ASSIGN_OR_RETURN(parts.kernels, engine::CreateCpuKernels({.num_threads = options.num_threads}));
  ASSIGN_OR_RETURN(parts.model, engine::OpenModel(source, *parts.kernels));
  const engine::HParams& hparams = parts.model->hparams();
  if (file.tokenizer->vocab_size() > hparams.vocab_size) {
    return base::InvalidArgument(absl::StrCat(path, ": the tokenizer has ",
                                              file.tokenizer->vocab_size(), " tokens, the model ",
                                              hparams.vocab_size));
  }
  if (pooling == Pooling::kRank) {
    ASSIGN_OR_RETURN(parts.yes_no, BindYesNo(source, hparams.hidden, *parts.kernels));
  }
  const KvLayout layout = parts.model->kv_layout(engine::KvType::kF32);
  RETURN_IF_ERROR(parts.kernels->CheckAttention(layout, hparams.num_heads));
  ASSIGN_OR_RETURN(parts.tokens_max, TokensMax(file, options, hparams.context_length));
  const int32_t blocks = BlocksOf(std::max(parts.tokens_max, kTokensMin));
  ASSIGN_OR_RETURN(KvStore kv,
                   KvStore::Create(layout, hparams.num_layers, blocks, parts.kernels->memory()));
  parts.kv = std::make_unique<KvStore>(std::move(kv));
  RETURN_IF_ERROR(parts.arena.Reserve(parts.model->ScratchBytes(kStepRows)));
  return std::make_unique<Causal>(std::move(file), std::move(parts));
}

}  // namespace conclave::embed
