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
