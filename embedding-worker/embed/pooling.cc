#include "embed/pooling.h"

#include <algorithm>
#include <cmath>

namespace conclave::embed {

std::optional<Pooling> PoolingOfType(int64_t type) {
  switch (type) {
    case 1:
      return Pooling::kMean;
    case 2:
      return Pooling::kCls;
    case 3:
      return Pooling::kLast;
    case 4:
      return Pooling::kRank;
    default:
      return std::nullopt;
  }
}

void Pool(Pooling pooling, const float* hidden, int64_t tokens, int64_t dim, float* out) {
  if (pooling == Pooling::kCls || pooling == Pooling::kRank) {
    std::copy_n(hidden, dim, out);
    return;
  }
  if (pooling == Pooling::kLast) {
    std::copy_n(hidden + (tokens - 1) * dim, dim, out);
    return;
  }
  for (int64_t d = 0; d < dim; ++d) {
    double sum = 0;
    for (int64_t t = 0; t < tokens; ++t) sum += static_cast<double>(hidden[t * dim + d]);
    out[d] = static_cast<float>(sum / static_cast<double>(tokens));
  }
}

void Normalize(std::span<float> vector) {
  double squares = 0;
  for (const float x : vector) squares += static_cast<double>(x) * static_cast<double>(x);
  if (!(squares > 0)) return;
  const double scale = 1.0 / std::sqrt(squares);
  for (float& x : vector) x = static_cast<float>(static_cast<double>(x) * scale);
}

}  // namespace conclave::embed
