// gpt-oss (model card, August 2025): biases everywhere; a sink per head; every other layer, the
// first included, slides; experts with the clamped unit, chosen by their logits and weighed by the
// softmax of the chosen. Its YaRN does not round the ends of the ramp to whole pairs. 120b: 36
// layers, hidden 2880, 64 query heads of 64 over 8, 128 experts of 2880, 4 used, window 128.
#include "engine/models/architecture.h"
#include "engine/models/blocks/decoder.h"

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Model>> OpenGptOss(const Loading& load) {
  ASSIGN_OR_RETURN(HParams hparams, ReadMoeHParams(load.binder.source(), "gpt-oss",
                                                   {.router_score = RouterScore::kSoftmaxOfSelected,
                                                    .router_renormalize = false,
                                                    .window_pattern = 2}));
  hparams.rope.truncate = false;
  return Decoder::Open(std::move(hparams),
                       {.ffn_norm = "post_attention_norm",
                        .qkv_bias = BiasRule::kRequired,
                        .attention_output_bias = BiasRule::kRequired,
                        .sinks = true,
                        .activation = Activation::kSwigluOai,
                        .expert_bias = BiasRule::kRequired},
                       load);
}

}  // namespace conclave::engine
