// Qwen 3, mixture of experts: qwen3 attention; softmax over all experts, top-k, renormalised; no
// shared expert. 30B-A3B: 48 layers, hidden 2048, 128 experts of 768, 8 used.
#include "engine/models/architecture.h"
#include "engine/models/blocks/decoder.h"

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Model>> OpenQwen3Moe(const Loading& load) {
  ASSIGN_OR_RETURN(HParams hparams, ReadMoeHParams(load.binder.source(), "qwen3moe"));
  return Decoder::Open(std::move(hparams), {.qk_norm = QkNorm::kHead}, load);
}

}  // namespace conclave::engine
