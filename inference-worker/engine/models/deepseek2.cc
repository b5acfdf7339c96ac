// DeepSeek-V2, -V2-Lite, -V3, -R1 and Kimi-K2: multi-head latent attention, of whose heads the last
// rope_dim elements rotate in adjacent pairs; a first layer or more without mixture; shared
// experts. V2 routes by softmax, unnormalised, scaled, in V2 itself within the 3 best of 8 groups;
// V3 by sigmoid with a correction of the choice, within the 4 best groups of 8 by their two best
// experts, normalised, times 2.5; K2 likewise in one group. V3: 61 layers, hidden 7168, 128 heads,
// latent 512 + 64, 256 experts of 2048, 8 used (arXiv 2405.04434, 2412.19437).
#include <string>

#include "engine/models/architecture.h"
#include "engine/models/blocks/decoder.h"

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Model>> OpenDeepseek2(const Loading& load) {
  ASSIGN_OR_RETURN(HParams hparams,
                   ReadHParams(load.binder.source(), "deepseek2", {.router_renormalize = false}));
  if (hparams.kv_lora == 0) {
    return base::InvalidArgument(std::string(load.binder.source().path()) +
                                 ": deepseek2.attention.kv_lora_rank: missing or 0");
  }
  return Decoder::Open(std::move(hparams),
                       {.rope_style = RopeStyle::kNorm, .selection_bias = BiasRule::kOptional},
                       load);
}

}  // namespace conclave::engine
