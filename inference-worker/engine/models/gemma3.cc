// Gemma 3, text: embeddings times sqrt(hidden); norms before and after both blocks (files hold
// 1 + w); each query and key head normed; five layers with a window, which rotate by a base of
// their own, then one without; GELU (its tanh form) as the gate. 4B: 34 layers, hidden 2560, 8
// query heads of 256 over 4, window 1024.
#include <cmath>

#include "engine/models/architecture.h"
#include "engine/models/blocks/decoder.h"

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Model>> OpenGemma3(const Loading& load) {
  ASSIGN_OR_RETURN(HParams hparams,
                   ReadHParams(load.binder.source(), "gemma3", {.window_pattern = 6}));
  ASSIGN_OR_RETURN(const double local_base,
                   load.binder.source().GetFloat("gemma3.rope.freq_base_swa", 1.0, 1e15, 10000.0));
  // The 27B alone scales by the size its heads would have if they made up `hidden`.
  constexpr int32_t kLayersOf27B = 62;
  if (hparams.num_layers == kLayersOf27B) {
    hparams.score_scale = 1.0 / std::sqrt(static_cast<double>(hparams.hidden / hparams.num_heads));
  }
  const auto embedding_scale = static_cast<float>(std::sqrt(static_cast<double>(hparams.hidden)));
  return Decoder::Open(std::move(hparams),
                       {.output_norms = true,
                        .embedding_scale = embedding_scale,
                        .local_rope_base = local_base,
                        .qk_norm = QkNorm::kHead,
                        .activation = Activation::kGeluTanh},
                       load);
}

}  // namespace conclave::engine
