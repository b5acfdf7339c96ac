#include "engine/quant/search.h"

#include <algorithm>
#include <cmath>

#include "engine/quant/half.h"

namespace conclave::engine {
namespace {

constexpr int kPolish = 4;  // turns of levels and scale after the best candidate

// To the nearest integer, ties to even, for |value| < 2^22: without a library call, so that loops
// become vectors.
float Rounded(float value) {
  constexpr float kMagic = 12582912.0f;  // 1.5 · 2^23
  return (value + kMagic) - kMagic;
}

// Within low..high; NaN becomes high.
float Within(float value, float low, float high) { return std::max(low, std::min(high, value)); }

int Integer(float value, float unit, int low, int high) {
  if (unit == 0) return 0;
  return static_cast<int>(
      Rounded(Within(value / unit, static_cast<float>(low), static_cast<float>(high))));
}

// Σ(x − scale · q)² with the nearest levels.
float ErrorOf(const float* x, int n, const Grid& grid, float scale) {
  const float inverse = InverseOf(scale);
  float error = 0;
  for (int i = 0; i < n; ++i) {
    const float difference = x[i] - scale * grid.Nearest(x[i] * inverse);
    error += difference * difference;
  }
  return error;
}

// One turn: levels by `inverse`, then the scale that suits them, and how much of Σx² it explains.
struct Turn {
  float scale = 0;
  float explained = 0;
};
Turn BestScale(const float* x, int n, const Grid& grid, float inverse) {
  float xq = 0;
  float qq = 0;
  for (int i = 0; i < n; ++i) {
    const float q = grid.Nearest(x[i] * inverse);
    xq += x[i] * q;
    qq += q * q;
  }
  if (!(qq > 0)) return {};
  return {xq / qq, xq * (xq / qq)};
}

struct Affine {
  float scale = 0;
  float min = 0;  // y = scale · q − min
  float error = 0;
};

float LevelOf(float x, float min, float inverse, float levels) {
  return Rounded(Within((x + min) * inverse, 0, levels));
}

float ErrorOf(const float* x, int n, float scale, float min, float levels) {
  const float inverse = InverseOf(scale);
  float error = 0;
  for (int i = 0; i < n; ++i) {
    const float difference = x[i] - (scale * LevelOf(x[i], min, inverse, levels) - min);
    error += difference * difference;
  }
  return error;
}

// Levels by `guess`, then scale and minimum from the two normal equations; min is not negative.
Affine BestAffine(const float* x, int n, const Affine& guess, float levels) {
  const float inverse = InverseOf(guess.scale);
  float sum_x = 0, sum_q = 0, xq = 0, qq = 0;
  for (int i = 0; i < n; ++i) {
    const float q = LevelOf(x[i], guess.min, inverse, levels);
    sum_x += x[i];
    sum_q += q;
    xq += x[i] * q;
    qq += q * q;
  }
  const float count = static_cast<float>(n);
  const float determinant = count * qq - sum_q * sum_q;
  Affine best;
  if (determinant > 0) {
    best.scale = (count * xq - sum_x * sum_q) / determinant;
    best.min = (best.scale * sum_q - sum_x) / count;
  }
  if (!(determinant > 0) || best.min < 0 || best.scale < 0) {
    best.scale = qq > 0 ? std::max(0.0f, xq / qq) : 0;
    best.min = 0;
  }
  best.error = ErrorOf(x, n, best.scale, best.min, levels);
  return best;
}

Affine FitAffine(const float* x, int n, float levels) {
  const auto [least, most] = std::minmax_element(x, x + n);
  const float min = std::max(0.0f, -*least);
  const float range = std::max(0.0f, *most + min);
  Affine best = {range / levels, min, 0};
  best.error = ErrorOf(x, n, best.scale, best.min, levels);
  // From a step that leaves the ends unused to one that clips them by a step and a quarter on each
  // side; the fewer levels, the more clipping pays.
  for (float clipped = -0.75f; clipped <= 2.5f; clipped += 0.25f) {
    if (clipped >= levels - 0.5f) break;
    const float scale = range / (levels + clipped);
    const Affine guess = {scale, std::max(0.0f, min - scale * clipped / 2), 0};
    const Affine found = BestAffine(x, n, guess, levels);
    if (found.error < best.error) best = found;
  }
  for (int turn = 0; turn < kPolish; ++turn) {
    const Affine found = BestAffine(x, n, best, levels);
    if (!(found.error < best.error)) break;
    best = found;
  }
  return best;
}

}  // namespace

float InverseOf(float value) {
  const float inverse = 1 / value;
  return std::isfinite(inverse) ? inverse : 0;
}

float Grid::Nearest(float value) const {
  if (values_ == nullptr) {
    return Rounded(Within(value, static_cast<float>(low_), static_cast<float>(high_)));
  }
  return values_[IndexOf(value)];
}

int Grid::IndexOf(float value) const {
  if (values_ == nullptr) return static_cast<int>(value) - low_;
  // The number of midpoints below the value.
  int index = 0;
  for (int i = 0; i < 15; ++i) {
    index += 2 * value > static_cast<float>(values_[i] + values_[i + 1]) ? 1 : 0;
  }
  return index;
}

float FitScale(const float* x, int n, const Grid& grid) {
  float extreme = 0;
  for (int i = 0; i < n; ++i) {
    if (std::fabs(x[i]) > std::fabs(extreme)) extreme = x[i];
  }
  if (extreme == 0) return 0;
  Turn best;
  // The extreme at either end of the grid, or up to a fifth beyond or short of it.
  for (const int end : {grid.low(), grid.high()}) {
    for (float part = 0.8f; part < 1.25f; part += 0.05f) {
      const Turn turn = BestScale(x, n, grid, static_cast<float>(end) * part / extreme);
      if (turn.explained > best.explained) best = turn;
    }
  }
  for (int i = 0; i < kPolish && best.scale != 0; ++i) {
    const Turn turn = BestScale(x, n, grid, InverseOf(best.scale));
    if (!(turn.explained > best.explained)) break;
    best = turn;
  }
  return best.scale;
}

void FitSuper(const float* x, const Grid& grid, int sub_block, const Grid& scales,
              SuperScales& out) {
  const int num = kSuperGroup / sub_block;
  float ideal[16];
  float extreme = 0;
  for (int s = 0; s < num; ++s) {
    ideal[s] = FitScale(x + s * sub_block, sub_block, grid);
    if (std::fabs(ideal[s]) > std::fabs(extreme)) extreme = ideal[s];
  }
  // The extreme scale takes the low end, which reaches one step further.
  out.d = FloatToHalf(extreme / static_cast<float>(scales.low()));
  const float d = HalfToFloat(out.d);
  for (int s = 0; s < num; ++s) {
    const float* sub = x + s * sub_block;
    const int near = Integer(ideal[s], d, scales.low(), scales.high());
    int best = near;
    float least = ErrorOf(sub, sub_block, grid, d * static_cast<float>(near));
    for (const int scale : {near - 1, near + 1}) {
      if (scale < scales.low() || scale > scales.high()) continue;
      const float error = ErrorOf(sub, sub_block, grid, d * static_cast<float>(scale));
      if (error < least) {
        least = error;
        best = scale;
      }
    }
    out.scale[s] = static_cast<int8_t>(best);
    const float inverse = InverseOf(d * static_cast<float>(best));
    for (int i = 0; i < sub_block; ++i) {
      out.index[s * sub_block + i] =
          static_cast<uint8_t>(grid.IndexOf(grid.Nearest(sub[i] * inverse)));
    }
  }
}

void FitSuperMin(const float* x, int levels, int sub_block, int scale_max, SuperScalesMin& out) {
  const int num = kSuperGroup / sub_block;
  const float top = static_cast<float>(levels);
  Affine ideal[16];
  float largest_scale = 0;
  float largest_min = 0;
  for (int s = 0; s < num; ++s) {
    ideal[s] = FitAffine(x + s * sub_block, sub_block, top);
    largest_scale = std::max(largest_scale, ideal[s].scale);
    largest_min = std::max(largest_min, ideal[s].min);
  }
  out.d = FloatToHalf(largest_scale / static_cast<float>(scale_max));
  out.dmin = FloatToHalf(largest_min / static_cast<float>(scale_max));
  const float d = HalfToFloat(out.d);
  const float dmin = HalfToFloat(out.dmin);
  for (int s = 0; s < num; ++s) {
    const float* sub = x + s * sub_block;
    const int near_scale = Integer(ideal[s].scale, d, 0, scale_max);
    const int near_min = Integer(ideal[s].min, dmin, 0, scale_max);
    // Rounding either moves the best of the other: the neighbours are tried together.
    int best_scale = near_scale;
    int best_min = near_min;
    float least = INFINITY;
    for (int sc = std::max(0, near_scale - 1); sc <= std::min(scale_max, near_scale + 1); ++sc) {
      for (int m = std::max(0, near_min - 1); m <= std::min(scale_max, near_min + 1); ++m) {
        const float error =
            ErrorOf(sub, sub_block, d * static_cast<float>(sc), dmin * static_cast<float>(m), top);
        if (!(error < least)) continue;
        least = error;
        best_scale = sc;
        best_min = m;
      }
    }
    out.scale[s] = static_cast<uint8_t>(best_scale);
    out.min[s] = static_cast<uint8_t>(best_min);
    const float inverse = InverseOf(d * static_cast<float>(best_scale));
    const float min = dmin * static_cast<float>(best_min);
    for (int i = 0; i < sub_block; ++i) {
      out.level[s * sub_block + i] = static_cast<uint8_t>(LevelOf(sub[i], min, inverse, top));
    }
  }
}

}  // namespace conclave::engine
