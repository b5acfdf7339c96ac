// BLOOM (arXiv 2211.05100): LayerNorm with bias everywhere, right after the embedding too; one
// matrix for q, k and v; ALiBi instead of rotation; a feed-forward of up, GELU (its tanh form) and
// down with biases; the head is the embedding table.
#include "engine/models/architecture.h"
#include "engine/models/blocks/decoder.h"

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Model>> OpenBloom(const Loading& load) {
  ASSIGN_OR_RETURN(HParams hparams, ReadHParams(load.binder.source(), "bloom"));
  return Decoder::Open(std::move(hparams),
                       {.norm = NormKind::kLayer,
                        .embedding_norm = true,
                        .alibi = true,
                        .qkv_bias = BiasRule::kRequired,
                        .attention_output_bias = BiasRule::kRequired,
                        .fused_qkv = true,
                        .activation = Activation::kGeluTanh,
                        .gated_ffn = false},
                       load);
}

}  // namespace conclave::engine
