// Qwen 3, mixture of experts: qwen3 attention; softmax over all experts, top-k, renormalised; no
// shared expert. 30B-A3B: 48 layers, hidden 2048, 128 experts of 768, 8 used.
#include <string>

#include "engine/models/architecture.h"
#include "engine/models/blocks/decoder.h"

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Model>> OpenQwen3Moe(Binder& binder, Kernels& kernels) {
  ASSIGN_OR_RETURN(HParams hparams, ReadHParams(binder.source(), "qwen3moe"));
  if (hparams.num_experts == 0) {
    return base::InvalidArgument(std::string(binder.source().path()) +
                                 ": qwen3moe.expert_count: missing or 0");
  }
  return Decoder::Open(
      std::move(hparams),
      {.rope_style = RopeStyle::kNeox, .qkv_bias = BiasRule::kNone, .qk_norm = true}, binder,
      kernels);
}

}  // namespace conclave::engine
