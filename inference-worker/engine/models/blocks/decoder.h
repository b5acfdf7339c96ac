// The pre-norm decoder that most architectures are:
//   x = embed(tokens);  per layer: x += attention(norm(x)), x += ffn(norm(x));  logits =
//   head(norm(x))
// An architecture file says which variant of it a model is.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/status.h"
#include "engine/models/architecture.h"
#include "engine/models/blocks/attention.h"
#include "engine/models/blocks/dense_ffn.h"
#include "engine/models/blocks/embed.h"
#include "engine/models/blocks/moe_ffn.h"
#include "engine/models/blocks/norm.h"
#include "engine/models/blocks/rope.h"

namespace conclave::engine {

struct DecoderTraits {
  RopeStyle rope_style = RopeStyle::kNeox;
  BiasRule qkv_bias = BiasRule::kNone;
  bool qk_norm = false;
};

// Layers are mixtures of experts when hparams.num_experts > 0.
class Decoder final : public Model {
 public:
  static absl::StatusOr<std::unique_ptr<Model>> Open(HParams hparams, const DecoderTraits& traits,
                                                     Binder& binder, Kernels& kernels);

  KvLayout kv_layout(KvType type) const override;
  int64_t ScratchBytes(int64_t rows) const override;
  int64_t packed_bytes() const override;
  int64_t active_bytes_per_token() const override;
  void Forward(const StepContext& step) const override;

 private:
  struct Layer {
    RmsNorm attention_norm;
    Attention attention;
    RmsNorm ffn_norm;
    std::optional<DenseFfn> dense;  // one of the two
    std::optional<MoeFfn> moe;
  };
  struct Scratch {
    float* x = nullptr;      // [rows][hidden]: the residual stream
    float* block = nullptr;  // [rows][hidden]: what a block adds to it
    AttentionScratch attention;
    MoeScratch moe;
  };

  Decoder(HParams hparams, Embedding embedding, Rope rope)
      : Model(std::move(hparams)), embedding_(std::move(embedding)), rope_(std::move(rope)) {}

  static absl::StatusOr<Layer> BindLayer(Binder& binder, Kernels& kernels, const HParams& hparams,
                                         const DecoderTraits& traits, int32_t layer_index);
  void FeedForward(const StepContext& step, const Layer& layer, const Scratch& scratch,
                   int64_t rows) const;

  Embedding embedding_;
  Rope rope_;
  std::vector<Layer> layers_;
  RmsNorm output_norm_;
  Linear head_;
};

}  // namespace conclave::engine
