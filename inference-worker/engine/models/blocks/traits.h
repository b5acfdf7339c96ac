// What tells one pre-norm decoder from another beside its numbers: an architecture file fills this
// in and nothing else.
#pragma once

#include <string_view>

#include "engine/kernels/types.h"
#include "engine/models/blocks/linear.h"
#include "engine/models/blocks/norm.h"

namespace conclave::engine {

enum class QkNorm {
  kNone,
  kHead,          // each head of q and k before rotation
  kOptionalHead,  // where the file has the weights
  kRow,           // all heads of a row as one vector
};

struct DecoderTraits {
  NormKind norm = NormKind::kRms;
  // Norms of both blocks' outputs before they are added (post_attention_norm, post_ffw_norm).
  bool output_norms = false;
  std::string_view ffn_norm = "ffn_norm";  // the tensor of the norm before the feed-forward

  bool embedding_norm = false;   // token_embd_norm
  float embedding_scale = 1.0f;  // of token embeddings

  RopeStyle rope_style = RopeStyle::kNeox;
  bool alibi = false;          // distances are taken from scores; nothing rotates
  double local_rope_base = 0;  // sliding layers rotate by this base, unscaled; 0 = as the others
  BiasRule qkv_bias = BiasRule::kNone;
  BiasRule attention_output_bias = BiasRule::kNone;
  bool fused_qkv = false;  // attn_qkv: the rows of q, of k, of v
  QkNorm qk_norm = QkNorm::kNone;
  bool sinks = false;  // attn_sinks

  Activation activation = Activation::kSilu;
  bool gated_ffn = true;                      // false: up and down with biases, no gate
  BiasRule expert_bias = BiasRule::kNone;     // of the router and the experts
  BiasRule selection_bias = BiasRule::kNone;  // exp_probs_b
  bool shared_gate = false;                   // the shared expert counts as much as a sigmoid says
};

}  // namespace conclave::engine
