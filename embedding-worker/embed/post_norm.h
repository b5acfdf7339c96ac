// The bidirectional encoder with norms after each block that the BERT family is:
//   x = LN(E_word + E_type [+ E_pos]);  per layer: x = LN(x + W_o · attention(x)),
//   x = LN(x + ffn(x));  then pooling, or the score of a reranker.
// An architecture file says which variant of it a model is. Keys and tensor names are GGUF's.
#pragma once

#include <memory>
#include <string_view>

#include "base/status.h"
#include "embed/encoder.h"

namespace conclave::embed {

struct PostNormTraits {
  std::string_view architecture;
  bool positions = false;  // a table of learned positions; else q and k rotate by halves
  bool biases = false;     // in every linear layer
  bool gated = false;      // ffn = W_down(silu(W_gate x) · W_up x); else W_down · gelu(W_up x)
};

absl::StatusOr<std::unique_ptr<Encoder>> OpenPostNorm(const PostNormTraits& traits,
                                                      EncoderFile file,
                                                      const EncoderOptions& options);

}  // namespace conclave::embed
