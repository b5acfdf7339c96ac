// Qwen 2 and 2.5, dense: biases on q, k and v; embeddings tied in the small ones.
#include "engine/models/architecture.h"
#include "engine/models/blocks/decoder.h"

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Model>> OpenQwen2(Binder& binder, Kernels& kernels) {
  ASSIGN_OR_RETURN(HParams hparams, ReadHParams(binder.source(), "qwen2"));
  return Decoder::Open(
      std::move(hparams),
      {.rope_style = RopeStyle::kNeox, .qkv_bias = BiasRule::kRequired, .qk_norm = false}, binder,
      kernels);
}

}  // namespace conclave::engine
