#include "engine/models/blocks/embed.h"

#include <string>
#include <utility>

namespace conclave::engine {

absl::StatusOr<Embedding> Embedding::Bind(Binder& binder, Kernels& kernels, const HParams& hparams,
                                          const DecoderTraits& traits) {
  Embedding embedding;
  ASSIGN_OR_RETURN(const TensorView table,
                   binder.Get("token_embd.weight", Shape({hparams.vocab_size, hparams.hidden})));
  absl::StatusOr<RowTable> rows = kernels.PackRows(table);
  if (!rows.ok()) {
    return base::Annotate(rows.status(),
                          std::string(binder.source().path()) + ": token_embd.weight");
  }
  embedding.table_ = *std::move(rows);
  embedding.scale_ = traits.embedding_scale;
  if (traits.embedding_scale != 1.0f) RETURN_IF_ERROR(kernels.Require(Feature::kScale));
  if (traits.embedding_norm) {
    ASSIGN_OR_RETURN(embedding.norm_, Norm::Bind(binder, kernels, "token_embd_norm", hparams.hidden,
                                                 hparams.norm_eps, traits.norm));
  }
  return embedding;
}

void Embedding::Apply(Kernels& kernels, std::span<const int32_t> ids, const HParams& hparams,
                      float* out) const {
  const auto rows = static_cast<int64_t>(ids.size());
  const int64_t hidden = hparams.hidden;
  kernels.EmbedRows(table_, ids, out, hidden);
  if (scale_ != 1.0f) kernels.Scale(scale_, rows * hidden, out);
  if (norm_.has_value()) norm_->Apply(kernels, out, hidden, rows, out, hidden);
}

absl::StatusOr<Linear> BindOutputHead(Binder& binder, Kernels& kernels, const HParams& hparams) {
  const bool tied = binder.source().FindTensor("output.weight") == nullptr;
  return Linear::Bind(binder, kernels, tied ? "token_embd" : "output", hparams.vocab_size,
                      hparams.hidden, BiasRule::kNone);
}

}  // namespace conclave::engine
