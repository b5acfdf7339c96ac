// GLM-4.5, 4.6, 4.7 and Air: biases on q, k and v; norms of query and key heads in the larger ones;
// the first half of a head rotates; a first layer or more without mixture; sigmoid routing with a
// correction of the choice; a shared expert. Air: 46 layers, hidden 4096, 96 query heads of 128
// over 8, 128 experts of 1408, 8 used. What predicts further tokens (NextN) is left out.
#include "engine/models/architecture.h"
#include "engine/models/blocks/decoder.h"

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Model>> OpenGlm4Moe(const Loading& load) {
  ASSIGN_OR_RETURN(HParams hparams, ReadMoeHParams(load.binder.source(), "glm4moe",
                                                   {.router_score = RouterScore::kSigmoid}));
  return Decoder::Open(std::move(hparams),
                       {.ffn_norm = "post_attention_norm",
                        .qkv_bias = BiasRule::kRequired,
                        .qk_norm = QkNorm::kOptionalHead,
                        .selection_bias = BiasRule::kRequired},
                       load);
}

}  // namespace conclave::engine
