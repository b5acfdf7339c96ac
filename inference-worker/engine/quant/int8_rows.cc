#include "engine/quant/int8_rows.h"

#include <cstddef>

namespace conclave::engine {
namespace {

int64_t Rounded(int64_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace

int64_t Int8Rows::Bytes(int64_t m, int64_t cols) {
  return Rounded(m * cols) + Rounded(m * (cols / 32) * 4) + Rounded(m * (cols / 16) * 4);
}

Int8Rows Int8Rows::In(void* memory, int64_t m, int64_t cols) {
  std::byte* bytes = static_cast<std::byte*>(memory);
  Int8Rows rows;
  rows.cols = cols;
  rows.q = reinterpret_cast<int8_t*>(bytes);
  rows.scales = reinterpret_cast<float*>(bytes + Rounded(m * cols));
  rows.negative_sums =
      reinterpret_cast<int32_t*>(bytes + Rounded(m * cols) + Rounded(m * (cols / 32) * 4));
  return rows;
}

}  // namespace conclave::engine
