// Qwen 3, dense: no biases; each query and key head is normed before it rotates; the size of a head
// is independent of the others.
#include "engine/models/architecture.h"
#include "engine/models/blocks/decoder.h"

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Model>> OpenQwen3(const Loading& load) {
  ASSIGN_OR_RETURN(HParams hparams, ReadHParams(load.binder.source(), "qwen3"));
  return Decoder::Open(std::move(hparams), {.qk_norm = QkNorm::kHead}, load);
}

}  // namespace conclave::engine
