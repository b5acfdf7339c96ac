#include "engine/models/blocks/embed.h"

#include <string>
#include <utility>

namespace conclave::engine {

absl::StatusOr<Embedding> Embedding::Bind(Binder& binder, Kernels& kernels,
                                          const HParams& hparams) {
  Embedding embedding;
  ASSIGN_OR_RETURN(const TensorView table,
                   binder.Get("token_embd.weight", Shape({hparams.vocab_size, hparams.hidden})));
  absl::StatusOr<RowTable> rows = kernels.PackRows(table);
  if (!rows.ok()) {
    return base::Annotate(rows.status(),
                          std::string(binder.source().path()) + ": token_embd.weight");
  }
  embedding.table_ = *std::move(rows);
  return embedding;
}

absl::StatusOr<Linear> BindOutputHead(Binder& binder, Kernels& kernels, const HParams& hparams) {
  const bool tied = binder.source().FindTensor("output.weight") == nullptr;
  return Linear::Bind(binder, kernels, tied ? "token_embd" : "output", hparams.vocab_size,
                      hparams.hidden, BiasRule::kNone);
}

}  // namespace conclave::engine
