// The twelve bytes in which Q4_K and Q5_K keep eight pairs of 6-bit scale and minimum. Groups 0..3
// have theirs in the low six bits of bytes 0..3 and 4..7; groups 4..7 have four bits in bytes 8..11
// and the two high ones on top of the former.
#pragma once

#include <cstdint>

namespace conclave::engine {

struct ScaleMin {
  uint8_t scale;
  uint8_t min;
};

inline ScaleMin UnpackScale(const uint8_t* s, int group) {
  if (group < 4)
    return {static_cast<uint8_t>(s[group] & 63), static_cast<uint8_t>(s[group + 4] & 63)};
  return {static_cast<uint8_t>((s[group + 4] & 15) | (s[group - 4] >> 6) << 4),
          static_cast<uint8_t>((s[group + 4] >> 4) | (s[group] >> 6) << 4)};
}

inline void PackScale(uint8_t* s, int group, ScaleMin value) {
  if (group < 4) {
    s[group] = static_cast<uint8_t>((s[group] & 0xc0) | value.scale);
    s[group + 4] = static_cast<uint8_t>((s[group + 4] & 0xc0) | value.min);
    return;
  }
  s[group + 4] = static_cast<uint8_t>((value.scale & 15) | (value.min & 15) << 4);
  s[group - 4] = static_cast<uint8_t>((s[group - 4] & 63) | (value.scale >> 4) << 6);
  s[group] = static_cast<uint8_t>((s[group] & 63) | (value.min >> 4) << 6);
}

}  // namespace conclave::engine
