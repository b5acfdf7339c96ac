// The weights of a post-norm encoder: its shape read and checked, its tensors bound and packed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "embed/post_norm.h"
#include "engine/kernels/kernels.h"
#include "engine/weights/binder.h"

namespace conclave::embed {

struct PostNormShape {
  int32_t hidden = 0;
  int32_t layers = 0;
  int32_t heads = 0;
  int32_t ffn = 0;
  int32_t context = 0;
  int32_t vocab = 0;
  int32_t types = 0;  // of segments; 0 = they have no table
  float eps = 1e-12f;
  double rope_base = 10'000;  // unless there are learned positions

  int32_t head_dim() const { return hidden / heads; }
};

struct NormWeights {
  std::vector<float> weight;  // [hidden]
  std::vector<float> bias;
};

struct LinearWeights {
  engine::PackedMatrix weight;  // [out][in]
  std::vector<float> bias;      // [out]; may be empty

  engine::MatmulOutput To(float* y, int64_t y_stride) const {
    return {.weight = &weight,
            .bias = bias.empty() ? nullptr : bias.data(),
            .y = y,
            .y_stride = y_stride};
  }
};

struct PostNormLayer {
  std::optional<LinearWeights> qkv;      // the three in one, rows of q first
  std::optional<LinearWeights> q, k, v;  // or each
  LinearWeights o;
  NormWeights attention_norm;
  std::optional<LinearWeights> gate;
  LinearWeights up, down;
  NormWeights output_norm;
};

// Of a cross-encoder: out · tanh(dense · x), of the first token's x.
struct RankHead {
  LinearWeights dense;  // [hidden][hidden]
  LinearWeights out;    // [1][hidden]
};

struct PostNormWeights {
  engine::RowTable words;      // [vocab][hidden]
  engine::RowTable positions;  // [context][hidden], if any
  std::vector<float> types;    // [2][hidden]: of the first segment and of the second
  NormWeights embedding_norm;
  std::vector<PostNormLayer> layers;
  std::optional<RankHead> rank;
};

// INVALID_ARGUMENT names key or tensor.
absl::StatusOr<PostNormShape> ReadPostNormShape(const engine::ModelSource& source,
                                                const PostNormTraits& traits);
// UNIMPLEMENTED for a tensor that the architecture has not, or a head of several labels.
absl::StatusOr<PostNormWeights> BindPostNorm(const engine::ModelSource& source,
                                             const PostNormTraits& traits,
                                             const PostNormShape& shape, bool ranks,
                                             engine::Kernels& kernels);

}  // namespace conclave::embed
