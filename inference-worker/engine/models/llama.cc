// Llama 2 and 3, Mistral and everything else that files call "llama", mixtures of experts of the
// Mixtral kind included. RMS pre-norm; conversion has permuted q and k rows, hence adjacent pairs
// rotate; biases where the file has them; rope_freqs of Llama 3.1; a window, where there is one, in
// every layer (Mistral 7B v0.1).
#include "engine/models/architecture.h"
#include "engine/models/blocks/decoder.h"

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Model>> OpenLlama(const Loading& load) {
  ASSIGN_OR_RETURN(HParams hparams,
                   ReadHParams(load.binder.source(), "llama", {.window_pattern = 0}));
  return Decoder::Open(std::move(hparams),
                       {.rope_style = RopeStyle::kNorm,
                        .qkv_bias = BiasRule::kOptional,
                        .attention_output_bias = BiasRule::kOptional},
                       load);
}

}  // namespace conclave::engine
