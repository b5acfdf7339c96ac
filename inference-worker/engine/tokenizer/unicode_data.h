// The generated tables (unicode_data.cc, by generate_unicode_data.py). Read them through unicode.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace conclave::engine::unicode_data {

// Ascending; (first scalar of a run) << 5 | category, the categories numbered as in unicode.h.
extern const uint32_t kCategoryRuns[];
extern const size_t kCategoryRunCount;

// The scalars first, first + step, …, `count` of them, have the lower case scalar + delta.
struct LowerRun {
  uint32_t first;
  uint16_t count;
  uint16_t step;
  int32_t delta;
};
extern const LowerRun kLowerRuns[];
extern const size_t kLowerRunCount;

// The canonical decomposition without nonspacing marks, 0 where there is less than three scalars.
// Hangul syllables are left out: arithmetic does them.
struct BaseForm {
  uint32_t scalar;
  uint32_t kept[3];
};
extern const BaseForm kBaseForms[];
extern const size_t kBaseFormCount;

}  // namespace conclave::engine::unicode_data
