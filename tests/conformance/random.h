// Seeded data for the conformance tests: the same on every machine.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "engine/quant/format.h"
#include "engine/tensor/tensor_view.h"

namespace conclave::engine {

// splitmix64: small, well mixed, defined to the bit (std distributions are not).
class Random final {
 public:
  explicit Random(uint64_t seed) : seed_(seed) {}
  // Number `index` of the sequence that starts with `seed`.
  static uint64_t At(uint64_t seed, uint64_t index) {
    uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  uint64_t Next() { return At(seed_, index_++); }
  // Uniform in [-1, 1), 24 bits.
  float Uniform() { return static_cast<float>(Next() >> 40) * 0x1p-23f - 1.0f; }
  std::vector<float> Floats(int64_t n, float scale = 1.0f) {
    std::vector<float> values(static_cast<size_t>(n));
    for (float& value : values) value = Uniform() * scale;
    return values;
  }

 private:
  uint64_t seed_;
  uint64_t index_ = 0;
};

// A quantised weight and the values its bytes stand for.
struct Weight {
  TensorView view;
  std::vector<std::byte> bytes;
  std::vector<float> values;  // dequantised, row-major

  Weight(const QuantFormat& format, const Shape& shape, uint64_t seed, float scale = 1.0f) {
    view.dtype = format.dtype;
    view.shape = shape;
    bytes.resize(static_cast<size_t>(view.bytes()));
    view.data = bytes.data();
    values = Random(seed).Floats(shape.elements(), scale);
    for (int64_t row = 0; row < view.rows(); ++row) {
      std::byte* target = bytes.data() + row * view.row_bytes();
      float* source = values.data() + row * view.cols();
      format.quantize_row(source, target, view.cols());
      format.dequantize_row(target, source, view.cols());
    }
  }
  Weight(const Weight&) = delete;
  Weight& operator=(const Weight&) = delete;
};

}  // namespace conclave::engine
