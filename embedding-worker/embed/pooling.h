// From the vectors of all tokens to the one vector of a text.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace conclave::embed {

// kRank takes the first vector as kCls does; a head then makes a score of it.
enum class Pooling { kCls, kMean, kLast, kRank };

// As GGUF numbers them: 1 mean, 2 cls, 3 last, 4 rank; nothing for 0, "none".
std::optional<Pooling> PoolingOfType(int64_t type);

// `hidden` is [tokens][dim], tokens >= 1; `out` is [dim]. Sums run in double, first token first.
void Pool(Pooling pooling, const float* hidden, int64_t tokens, int64_t dim, float* out);

// Divides by the Euclidean length; a vector of zeros stays as it is.
void Normalize(std::span<float> vector);

}  // namespace conclave::embed
