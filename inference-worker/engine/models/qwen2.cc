// Qwen 2 and 2.5: biases on q, k and v; halves of a head rotate.
#include "engine/models/architecture.h"
#include "engine/models/blocks/decoder.h"

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Model>> OpenQwen2(const Loading& load) {
  ASSIGN_OR_RETURN(HParams hparams, ReadHParams(load.binder.source(), "qwen2"));
  return Decoder::Open(std::move(hparams), {.qkv_bias = BiasRule::kRequired}, load);
}

}  // namespace conclave::engine
