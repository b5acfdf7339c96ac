// MiniMax-M2: no biases; the whole row of q, and of k, is normed before it is cut into heads, of
// which the first half rotates; sigmoid routing with a correction of the choice, normalised; no
// shared expert. 62 layers, hidden 3072, 48 query heads of 128 over 8, 256 experts of 1536, 8 used.
#include "engine/models/architecture.h"
#include "engine/models/blocks/decoder.h"

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Model>> OpenMinimaxM2(const Loading& load) {
  ASSIGN_OR_RETURN(HParams hparams, ReadMoeHParams(load.binder.source(), "minimax-m2",
                                                   {.router_score = RouterScore::kSigmoid}));
  return Decoder::Open(std::move(hparams),
                       {.qk_norm = QkNorm::kRow, .selection_bias = BiasRule::kRequired}, load);
}

}  // namespace conclave::engine
