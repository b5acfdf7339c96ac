#include <cmath>

#include "base/check.h"
#include "engine/kernels/kernels.h"

namespace conclave::engine {

absl::StatusOr<Buffer> Kernels::PackVector(std::span<const float> values) {
  const auto bytes = static_cast<int64_t>(values.size_bytes());
  ASSIGN_OR_RETURN(Buffer buffer, memory().Allocate(bytes));
  if (bytes > 0) RETURN_IF_ERROR(memory().Upload(values.data(), bytes, buffer.data()));
  return buffer;
}

absl::Status Kernels::Require(Feature feature) const {
  if (Has(feature)) return absl::OkStatus();
  const char* what = "";
  switch (feature) {
    case Feature::kFfnBias:
      what = "biases in feed-forward networks";
      break;
    case Feature::kPlainFfn:
      what = "feed-forward networks without a gate";
      break;
    case Feature::kSwigluOai:
      what = "the gated unit of gpt-oss";
      break;
    case Feature::kGeneralRouter:
      what = "this kind of expert routing";
      break;
    case Feature::kSlidingWindow:
      what = "sliding windows";
      break;
    case Feature::kAttentionSinks:
      what = "attention sinks";
      break;
    case Feature::kAlibi:
      what = "ALiBi";
      break;
    case Feature::kLatentAttention:
      what = "latent attention";
      break;
    case Feature::kExpandedAttention:
      what = "expanded latent attention (numerics: fast)";
      break;
    case Feature::kGatedAdd:
      what = "shared experts with a gate";
      break;
    case Feature::kScale:
      what = "scaled embeddings";
      break;
    case Feature::kLayerNorm:
      what = "LayerNorm";
      break;
  }
  return base::Unimplemented(std::string(name()) + " has no " + what);
}

RopeTable::RopeTable(int32_t rope_dim, double base, double frequency_scale,
                     std::span<const float> factors)
    : rope_dim_(rope_dim) {
  CHECK(rope_dim > 0 && rope_dim % 2 == 0);
  CHECK(factors.empty() || static_cast<int32_t>(factors.size()) == rope_dim / 2);
  for (int32_t i = 0; i < rope_dim / 2; ++i) {
    const double frequency = std::pow(base, -2.0 * i / rope_dim) * frequency_scale;
    const double factor =
        factors.empty() ? 1.0 : static_cast<double>(factors[static_cast<size_t>(i)]);
    inverse_frequency_.push_back(static_cast<float>(frequency / factor));
  }
}

void RopeTable::Fill(std::span<const int32_t> positions, float* cos_sin, float magnitude) const {
  for (const int32_t position : positions) {
    for (const float frequency : inverse_frequency_) {
      // The angle is an fp32 product, as the models were trained with.
      const float angle = static_cast<float>(position) * frequency;
      *cos_sin++ = std::cos(angle) * magnitude;
      *cos_sin++ = std::sin(angle) * magnitude;
    }
  }
}

}  // namespace conclave::engine
