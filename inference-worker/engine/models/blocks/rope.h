// Rotary positions of a model: the table of frequencies, made once, and each step's angles.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/status.h"
#include "engine/kernels/kernels.h"
#include "engine/models/hparams.h"
#include "engine/weights/binder.h"

namespace conclave::engine {

class Rope final {
 public:
  // Takes the file's rope_freqs.weight (Llama 3.1) where there is one.
  static absl::StatusOr<Rope> Bind(Binder& binder, const RopeParams& params, RopeStyle style);
  // Rotates by `base` and nothing else.
  static Rope Plain(int32_t dim, double base, RopeStyle style) {
    return Rope(RopeTable(dim, base), style, 1.0f);
  }

  RopeStyle style() const { return style_; }
  int32_t dim() const { return table_.rope_dim(); }
  // Floats per row of what Fill writes.
  int64_t row_floats() const { return dim(); }
  void Fill(Kernels& kernels, std::span<const int32_t> positions, float* cos_sin) const {
    kernels.RopeAngles(table_, positions, magnitude_, cos_sin);
  }

 private:
  Rope(RopeTable table, RopeStyle style, float magnitude)
      : table_(std::move(table)), style_(style), magnitude_(magnitude) {}

  RopeTable table_;
  RopeStyle style_;
  float magnitude_;  // of cos and sin; 1 but for YaRN
};

// YaRN (Peng et al., 2023): pairs that turn often keep their frequency, those that turn seldom are
// slowed by `factor`, with a ramp between. Divisors of the plain frequencies, one per pair.
std::vector<float> YarnDivisors(const RopeParams& params);

}  // namespace conclave::engine
