// Qwen 1.5 and 2, mixture of experts: qwen2 attention; softmax over all experts, top-k, not
// renormalised; a shared expert that counts as much as the sigmoid of one more output of x says.
// 57B-A14B: 28 layers, hidden 3584, 64 experts of 2560, 8 used, shared 20480.
#include "engine/models/architecture.h"
#include "engine/models/blocks/decoder.h"

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Model>> OpenQwen2Moe(const Loading& load) {
  ASSIGN_OR_RETURN(HParams hparams,
                   ReadMoeHParams(load.binder.source(), "qwen2moe", {.router_renormalize = false}));
  if (hparams.shared_ffn == 0) hparams.shared_ffn = hparams.ffn;  // what older files leave out
  return Decoder::Open(std::move(hparams), {.qkv_bias = BiasRule::kRequired, .shared_gate = true},
                       load);
}

}  // namespace conclave::engine
