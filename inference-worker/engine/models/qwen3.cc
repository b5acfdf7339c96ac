// Qwen 3, dense: no biases, RMS norm of each query and key head before rotation.
#include "engine/models/architecture.h"
#include "engine/models/blocks/decoder.h"

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Model>> OpenQwen3(Binder& binder, Kernels& kernels) {
  ASSIGN_OR_RETURN(HParams hparams, ReadHParams(binder.source(), "qwen3"));
  return Decoder::Open(
      std::move(hparams),
      {.rope_style = RopeStyle::kNeox, .qkv_bias = BiasRule::kNone, .qk_norm = true}, binder,
      kernels);
}

}  // namespace conclave::engine
