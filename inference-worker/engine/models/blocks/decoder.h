// The pre-norm decoder that most architectures are:
//   x = embed(tokens);  per layer: x += attention(norm(x)), x += ffn(norm(x));  logits =
//   head(norm(x))
// An architecture file says which variant of it a model is.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/status.h"
#include "engine/models/architecture.h"
#include "engine/models/blocks/attention.h"
#include "engine/models/blocks/dense_ffn.h"
#include "engine/models/blocks/embed.h"
#include "engine/models/blocks/latent_attention.h"
#include "engine/models/blocks/moe_ffn.h"
#include "engine/models/blocks/norm.h"
#include "engine/models/blocks/rope.h"
#include "engine/models/blocks/traits.h"

namespace conclave::engine {

// Attention is latent when hparams.kv_lora > 0; layers are mixtures of experts where
// hparams.is_moe says so.
class Decoder final : public Model {
 public:
  static absl::StatusOr<std::unique_ptr<Model>> Open(HParams hparams, const DecoderTraits& traits,
                                                     const Loading& load);

  // What only the numbers decide, for who plans before anything is loaded.
  static KvLayout LayoutOf(const HParams& hparams, KvType type);
  static int64_t ScratchBytesOf(const HParams& hparams, int64_t rows);

  KvLayout kv_layout(KvType type) const override { return LayoutOf(hparams_, type); }
  int64_t ScratchBytes(int64_t rows) const override { return ScratchBytesOf(hparams_, rows); }
  int64_t packed_bytes() const override;
  int64_t active_bytes_per_token() const override;
  void Forward(const StepContext& step) const override;

 private:
  struct Layer {
    Norm attention_norm;
    std::variant<Attention, LatentAttention> attention;
    std::optional<Norm> attention_output_norm;
    Norm ffn_norm;
    std::variant<DenseFfn, MoeFfn> ffn;
    std::optional<Norm> ffn_output_norm;
    bool slides = false;
  };
  struct Scratch {
    float* x = nullptr;      // [rows][hidden]: the residual stream
    float* block = nullptr;  // [rows][hidden]: what a block adds to it
    AttentionScratch attention;
    LatentScratch latent;
    MoeScratch moe;
    Rotation rotation;
    Rotation local_rotation;  // of sliding layers
  };

  Decoder(HParams hparams, Embedding embedding)
      : Model(std::move(hparams)), embedding_(std::move(embedding)) {}

  static absl::StatusOr<Layer> BindLayer(const Loading& load, const HParams& hparams,
                                         const DecoderTraits& traits, int32_t layer_index);
  Scratch TakeScratch(Arena& arena, int64_t rows) const;
  void Attend(const StepContext& step, const Layer& layer, const Scratch& scratch,
              int64_t rows) const;
  void FeedForward(const StepContext& step, const Layer& layer, const Scratch& scratch,
                   int64_t rows) const;

  Embedding embedding_;
  std::optional<Rope> rope_;
  std::optional<Rope> local_rope_;
  std::vector<Layer> layers_;
  Norm output_norm_;
  Linear head_;
};

}  // namespace conclave::engine
