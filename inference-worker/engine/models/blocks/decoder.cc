#include "engine/models/blocks/decoder.h"

#include <string>
#include <utility>

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Model>> Decoder::Open(HParams hparams, const DecoderTraits& traits,
                                                     Binder& binder, Kernels& kernels) {
  ASSIGN_OR_RETURN(Embedding embedding, Embedding::Bind(binder, kernels, hparams));
  ASSIGN_OR_RETURN(Rope rope, Rope::Bind(binder, hparams.rope, traits.rope_style));
  std::unique_ptr<Decoder> decoder(
      new Decoder(std::move(hparams), std::move(embedding), std::move(rope)));
  const HParams& h = decoder->hparams_;
  for (int32_t i = 0; i < h.num_layers; ++i) {
    ASSIGN_OR_RETURN(Layer layer, BindLayer(binder, kernels, h, traits, i));
    decoder->layers_.push_back(std::move(layer));
  }
  ASSIGN_OR_RETURN(decoder->output_norm_,
                   RmsNorm::Bind(binder, kernels, "output_norm", h.hidden, h.rms_eps));
  ASSIGN_OR_RETURN(decoder->head_, BindOutputHead(binder, kernels, h));
  return decoder;
}

absl::StatusOr<Decoder::Layer> Decoder::BindLayer(Binder& binder, Kernels& kernels,
                                                  const HParams& h, const DecoderTraits& traits,
                                                  int32_t layer_index) {
  const std::string prefix = "blk." + std::to_string(layer_index) + ".";
  Layer layer;
  ASSIGN_OR_RETURN(layer.attention_norm,
                   RmsNorm::Bind(binder, kernels, prefix + "attn_norm", h.hidden, h.rms_eps));
  ASSIGN_OR_RETURN(layer.attention,
                   Attention::Bind(binder, kernels, h, prefix, traits.qkv_bias, traits.qk_norm));
  ASSIGN_OR_RETURN(layer.ffn_norm,
                   RmsNorm::Bind(binder, kernels, prefix + "ffn_norm", h.hidden, h.rms_eps));
  if (h.num_experts > 0) {
    ASSIGN_OR_RETURN(layer.moe, MoeFfn::Bind(binder, kernels, h, prefix));
  } else {
    ASSIGN_OR_RETURN(layer.dense, DenseFfn::Bind(binder, kernels, h, prefix));
  }
  return layer;
}

KvLayout Decoder::kv_layout(KvType type) const {
  return {.num_kv_heads = hparams_.num_kv_heads,
          .head_dim = hparams_.head_dim,
          .value_dim = hparams_.value_dim,
          .type = type};
}

int64_t Decoder::ScratchBytes(int64_t rows) const {
  return 2 * Arena::Bytes<float>(rows * hparams_.hidden) + AttentionScratch::Bytes(hparams_, rows) +
         MoeScratch::Bytes(hparams_, rows);
}

int64_t Decoder::packed_bytes() const {
  int64_t bytes = head_.bytes();
  for (const Layer& layer : layers_) {
    bytes += layer.attention.bytes();
    if (layer.dense.has_value()) bytes += layer.dense->bytes();
    if (layer.moe.has_value()) bytes += layer.moe->router_bytes() + layer.moe->expert_bytes();
  }
  return bytes;
}

int64_t Decoder::active_bytes_per_token() const {
  int64_t bytes = head_.bytes() + embedding_.row_bytes();
  for (const Layer& layer : layers_) {
    bytes += layer.attention.bytes();
    if (layer.dense.has_value()) bytes += layer.dense->bytes();
    if (layer.moe.has_value()) {
      bytes += layer.moe->router_bytes() +
               layer.moe->expert_bytes() / hparams_.num_experts * hparams_.num_experts_used;
    }
  }
  return bytes;
}

void Decoder::Forward(const StepContext& step) const {
  const int64_t hidden = hparams_.hidden;
  auto rows = static_cast<int64_t>(step.tokens.size());
  Kernels& kernels = step.kernels;
  step.arena.Reset();
  Scratch s{.x = step.arena.Take<float>(rows * hidden).data(),
            .block = step.arena.Take<float>(rows * hidden).data(),
            .attention = AttentionScratch::Take(step.arena, hparams_, rows),
            .moe = MoeScratch::Take(step.arena, hparams_, rows)};

  kernels.BeginStep(step.spans);
  rope_.Fill(kernels, step.positions, s.attention.cos_sin);
  embedding_.Apply(kernels, step.tokens, s.x, hidden);
  for (size_t i = 0; i < layers_.size(); ++i) {
    const Layer& layer = layers_[i];
    layer.attention_norm.Apply(kernels, s.x, hidden, rows, s.block, hidden);
    layer.attention.Apply(step, hparams_, rope_, static_cast<int32_t>(i), s.attention, s.block,
                          s.block);
    kernels.Add(s.block, rows * hidden, s.x);
    if (i + 1 == layers_.size()) {
      // The cache is complete; from here on only rows that give logits matter.
      const auto wanted = static_cast<int64_t>(step.logit_rows.size());
      if (wanted == 0) return;
      if (wanted < rows) {
        kernels.GatherRows(s.x, hidden, step.logit_rows, hidden, s.block, hidden);
        std::swap(s.x, s.block);
      }
      rows = wanted;
    }
    FeedForward(step, layer, s, rows);
  }
  output_norm_.Apply(kernels, s.x, hidden, rows, s.block, hidden);
  kernels.Matmul({head_.To(step.logits, hparams_.vocab_size)}, s.block, hidden, rows);
}

void Decoder::FeedForward(const StepContext& step, const Layer& layer, const Scratch& s,
                          int64_t rows) const {
  const int64_t hidden = hparams_.hidden;
  layer.ffn_norm.Apply(step.kernels, s.x, hidden, rows, s.block, hidden);
  if (layer.moe.has_value()) {
    layer.moe->Apply(step.kernels, hparams_, s.moe, s.block, rows, s.block);
  } else {
    layer.dense->Apply(step.kernels, hparams_, s.block, rows, s.block);
  }
  step.kernels.Add(s.block, rows * hidden, s.x);
}

}  // namespace conclave::engine
