#include "engine/models/blocks/embed.h"

#include <string>

#include "engine/quant/format.h"

namespace conclave::engine {

absl::StatusOr<Embedding> Embedding::Bind(Binder& binder, const HParams& hparams) {
  Embedding embedding;
  ASSIGN_OR_RETURN(embedding.table_,
                   binder.Get("token_embd.weight", Shape({hparams.vocab_size, hparams.hidden})));
  if (FindFormat(embedding.table_.dtype) == nullptr) {
    return base::Unimplemented(std::string(binder.source().path()) + ": token_embd.weight: type " +
                               std::string(NameOf(embedding.table_.dtype)) + " is not supported");
  }
  return embedding;
}

absl::StatusOr<Linear> BindOutputHead(Binder& binder, Kernels& kernels, const HParams& hparams) {
  const bool tied = binder.source().FindTensor("output.weight") == nullptr;
  return Linear::Bind(binder, kernels, tied ? "token_embd" : "output", hparams.vocab_size,
                      hparams.hidden, BiasRule::kNone);
}

}  // namespace conclave::engine
