// How the K family and the non-linear formats choose their scales: least squares over a handful of
// candidates. For fixed levels q the best scale is Σxq / Σq² (with a minimum, the solution of two
// equations); for a fixed scale the best levels are the nearest ones. Candidates start from how far
// the extremes of a sub-block are clipped, and the best of them is polished by turns.
//
// All values count alike: what is least is the mean square error of the weights. Plain IEEE
// operations in a fixed order: the same file on every machine.
#pragma once

#include <cstdint>

#include "engine/quant/panel.h"

namespace conclave::engine {

// The integers a quant may stand for.
class Grid final {
 public:
  // All of low..high, both within ±127.
  static constexpr Grid Range(int low, int high) { return Grid(low, high, nullptr); }
  // Sixteen ascending values.
  static constexpr Grid Table(const int8_t (&values)[16]) {
    return Grid(values[0], values[15], values);
  }

  constexpr int low() const { return low_; }
  constexpr int high() const { return high_; }
  // The nearest of them, NaN included.
  float Nearest(float value) const;
  // Its place, counted from the lowest.
  int IndexOf(float nearest) const;

 private:
  constexpr Grid(int low, int high, const int8_t* values)
      : low_(low), high_(high), values_(values) {}

  int low_;
  int high_;
  const int8_t* values_;
};

// 1 / value, 0 where that is not finite.
float InverseOf(float value);

// The scale that serves x[0..n) best as scale · Nearest(x / scale); n at most 32.
float FitScale(const float* x, int n, const Grid& grid);

// A super-block with y = d · scale · q: an integer scale in scale_low..scale_high per sub-block.
struct SuperScales {
  uint16_t d = 0;                   // fp16
  int8_t scale[16] = {};            // per sub-block
  uint8_t index[kSuperGroup] = {};  // IndexOf each level
};
void FitSuper(const float* x, const Grid& grid, int sub_block, const Grid& scales,
              SuperScales& out);

// A super-block with y = d · scale · q − dmin · min, q in 0..levels, scale and min in 0..scale_max.
struct SuperScalesMin {
  uint16_t d = 0;
  uint16_t dmin = 0;
  uint8_t scale[16] = {};
  uint8_t min[16] = {};
  uint8_t level[kSuperGroup] = {};
};
void FitSuperMin(const float* x, int levels, int sub_block, int scale_max, SuperScalesMin& out);

}  // namespace conclave::engine
