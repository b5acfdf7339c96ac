#include "engine/models/blocks/decoder.h"

#include <utility>

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Model>> Decoder::Open(HParams hparams, const DecoderTraits& traits,
                                                     const Loading& load) {
  Binder& binder = load.binder;
  Kernels& kernels = load.kernels;
  ASSIGN_OR_RETURN(Embedding embedding, Embedding::Bind(binder, kernels, hparams, traits));
  std::unique_ptr<Decoder> decoder(new Decoder(std::move(hparams), std::move(embedding)));
  const HParams& h = decoder->hparams_;
  if (!traits.alibi) {
    ASSIGN_OR_RETURN(decoder->rope_, Rope::Bind(binder, h.rope, traits.rope_style));
    if (traits.local_rope_base > 0 && h.window > 0) {
      decoder->local_rope_ = Rope::Plain(h.rope.dim, traits.local_rope_base, traits.rope_style);
    }
  }
  for (int32_t i = 0; i < h.num_layers; ++i) {
    ASSIGN_OR_RETURN(Layer layer, BindLayer(load, h, traits, i));
    decoder->layers_.push_back(std::move(layer));
  }
  ASSIGN_OR_RETURN(decoder->output_norm_,
                   Norm::Bind(binder, kernels, "output_norm", h.hidden, h.norm_eps, traits.norm));
  ASSIGN_OR_RETURN(decoder->head_, BindOutputHead(binder, kernels, h));
  return decoder;
}

absl::StatusOr<Decoder::Layer> Decoder::BindLayer(const Loading& load, const HParams& h,
                                                  const DecoderTraits& traits,
                                                  int32_t layer_index) {
  Binder& binder = load.binder;
  Kernels& kernels = load.kernels;
  const std::string prefix = "blk." + std::to_string(layer_index) + ".";
  const auto bind_norm = [&](std::string_view name) {
    return Norm::Bind(binder, kernels, prefix + std::string(name), h.hidden, h.norm_eps,
                      traits.norm);
  };
  Layer layer;
  layer.slides = h.slides[static_cast<size_t>(layer_index)];
  ASSIGN_OR_RETURN(layer.attention_norm, bind_norm("attn_norm"));
  if (h.kv_lora > 0) {
    ASSIGN_OR_RETURN(layer.attention, LatentAttention::Bind(load, h, layer_index, prefix));
  } else {
    ASSIGN_OR_RETURN(layer.attention,
                     Attention::Bind(binder, kernels, h, traits, layer_index, prefix));
  }
  ASSIGN_OR_RETURN(layer.ffn_norm, bind_norm(traits.ffn_norm));
  if (h.is_moe(layer_index)) {
    ASSIGN_OR_RETURN(layer.ffn, MoeFfn::Bind(binder, kernels, h, traits, layer_index, prefix));
  } else {
    ASSIGN_OR_RETURN(layer.ffn, DenseFfn::Bind(binder, kernels, h, traits, prefix, h.ffn));
  }
  if (traits.output_norms) {
    ASSIGN_OR_RETURN(layer.attention_output_norm, bind_norm("post_attention_norm"));
    ASSIGN_OR_RETURN(layer.ffn_output_norm, bind_norm("post_ffw_norm"));
  }
  return layer;
}

KvLayout Decoder::LayoutOf(const HParams& h, KvType type) {
  if (h.kv_lora > 0) return LatentAttention::Layout(h, type);
  return {.num_kv_heads = h.num_kv_heads,
          .head_dim = h.head_dim,
          .value_dim = h.value_dim,
          .type = type};
}

int64_t Decoder::ScratchBytesOf(const HParams& h, int64_t rows) {
  return 2 * Arena::Bytes<float>(rows * h.hidden) + 2 * Arena::Bytes<float>(rows * h.rope.dim) +
         (h.kv_lora > 0 ? LatentScratch::Bytes(h, rows) : AttentionScratch::Bytes(h, rows)) +
         MoeScratch::Bytes(h, rows);
}

Decoder::Scratch Decoder::TakeScratch(Arena& arena, int64_t rows) const {
  const HParams& h = hparams_;
  Scratch s{.x = arena.Take<float>(rows * h.hidden).data(),
            .block = arena.Take<float>(rows * h.hidden).data()};
  if (h.kv_lora > 0) {
    s.latent = LatentScratch::Take(arena, h, rows);
  } else {
    s.attention = AttentionScratch::Take(arena, h, rows);
  }
  s.moe = MoeScratch::Take(arena, h, rows);
  if (rope_.has_value()) {
    s.rotation = {.rope = &*rope_, .cos_sin = arena.Take<float>(rows * h.rope.dim).data()};
  }
  s.local_rotation = s.rotation;
  if (local_rope_.has_value()) {
    s.local_rotation = {.rope = &*local_rope_,
                        .cos_sin = arena.Take<float>(rows * h.rope.dim).data()};
  }
  return s;
}

int64_t Decoder::packed_bytes() const {
  int64_t bytes = head_.bytes();
  for (const Layer& layer : layers_) {
    std::visit([&](const auto& attention) { bytes += attention.bytes(); }, layer.attention);
    std::visit([&](const auto& ffn) { bytes += ffn.bytes(); }, layer.ffn);
  }
  return bytes;
}

int64_t Decoder::active_bytes_per_token() const {
  int64_t bytes = packed_bytes() + embedding_.row_bytes();
  for (const Layer& layer : layers_) {
    if (const auto* moe = std::get_if<MoeFfn>(&layer.ffn)) {
      const int64_t used = moe->expert_bytes() / hparams_.num_experts * hparams_.num_experts_used;
      bytes += used - moe->expert_bytes();
    }
  }
  return bytes;
}

void Decoder::Forward(const StepContext& step) const {
  const int64_t hidden = hparams_.hidden;
  auto rows = static_cast<int64_t>(step.tokens.size());
  Kernels& kernels = step.kernels;
  step.arena.Reset();
  Scratch s = TakeScratch(step.arena, rows);

  kernels.BeginStep(step.spans);
  if (rope_.has_value()) rope_->Fill(kernels, step.positions, s.rotation.cos_sin);
  if (local_rope_.has_value()) {
    local_rope_->Fill(kernels, step.positions, s.local_rotation.cos_sin);
  }
  embedding_.Apply(kernels, step.tokens, hparams_, s.x);
  for (size_t i = 0; i < layers_.size(); ++i) {
    Attend(step, layers_[i], s, rows);
    if (i + 1 == layers_.size()) {
      // The cache is complete; from here on only rows that are wanted matter.
      const auto wanted = static_cast<int64_t>(step.output_rows.size());
      if (wanted == 0) return;
      if (wanted < rows) {
        kernels.GatherRows(s.x, hidden, step.output_rows, hidden, s.block, hidden);
        std::swap(s.x, s.block);
      }
      rows = wanted;
    }
    FeedForward(step, layers_[i], s, rows);
  }
  float* const out = step.hidden != nullptr ? step.hidden : s.block;
  output_norm_.Apply(kernels, s.x, hidden, rows, out, hidden);
  if (step.logits != nullptr) {
    kernels.Matmul({head_.To(step.logits, hparams_.vocab_size)}, out, hidden, rows);
  }
}

void Decoder::Attend(const StepContext& step, const Layer& layer, const Scratch& s,
                     int64_t rows) const {
  const int64_t hidden = hparams_.hidden;
  Kernels& kernels = step.kernels;
  layer.attention_norm.Apply(kernels, s.x, hidden, rows, s.block, hidden);
  const Rotation& rotation = layer.slides ? s.local_rotation : s.rotation;
  if (const auto* latent = std::get_if<LatentAttention>(&layer.attention)) {
    latent->Apply(step, hparams_, rotation, s.latent, s.block, s.block);
  } else {
    std::get<Attention>(layer.attention)
        .Apply(step, hparams_, rotation, s.attention, s.block, s.block);
  }
  if (layer.attention_output_norm.has_value()) {
    layer.attention_output_norm->Apply(kernels, s.block, hidden, rows, s.block, hidden);
  }
  kernels.Add(s.block, rows * hidden, s.x);
}

void Decoder::FeedForward(const StepContext& step, const Layer& layer, const Scratch& s,
                          int64_t rows) const {
  const int64_t hidden = hparams_.hidden;
  Kernels& kernels = step.kernels;
  layer.ffn_norm.Apply(kernels, s.x, hidden, rows, s.block, hidden);
  if (const auto* moe = std::get_if<MoeFfn>(&layer.ffn)) {
    moe->Apply(kernels, hparams_, s.moe, s.block, rows, s.block);
  } else {
    std::get<DenseFfn>(layer.ffn).Apply(kernels, hparams_, s.block, rows, s.block);
  }
  if (layer.ffn_output_norm.has_value()) {
    layer.ffn_output_norm->Apply(kernels, s.block, hidden, rows, s.block, hidden);
  }
  kernels.Add(s.block, rows * hidden, s.x);
}

}  // namespace conclave::engine
