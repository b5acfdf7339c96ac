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

// What a scalar decomposes into, fully: `canonical` scalars of kDecomposed from `offset` on, and
// after them the `compatible` ones (0 = the same). Hangul syllables are left out: arithmetic does
// them.
struct Decomposition {
  uint32_t scalar;
  uint16_t offset;
  uint8_t canonical;
  uint8_t compatible;
};
extern const Decomposition kDecompositions[];
extern const size_t kDecompositionCount;
extern const uint32_t kDecomposed[];

struct CombiningRun {
  uint32_t first;
  uint32_t last;
  uint8_t combining_class;
};
extern const CombiningRun kCombiningRuns[];
extern const size_t kCombiningRunCount;

// Ascending by the pair.
struct Composition {
  uint32_t first;
  uint32_t second;
  uint32_t composed;
};
extern const Composition kCompositions[];
extern const size_t kCompositionCount;

// Where others see another category than kCategoryRuns; unicode.h says who.
struct ScalarRange {
  uint32_t first;
  uint32_t last;
};
extern const ScalarRange kPunctuationExceptions[];
extern const size_t kPunctuationExceptionCount;
extern const ScalarRange kNumeralExceptions[];
extern const size_t kNumeralExceptionCount;
extern const ScalarRange kMarkExceptions[];
extern const size_t kMarkExceptionCount;
extern const ScalarRange kNonspacingExceptions[];
extern const size_t kNonspacingExceptionCount;
extern const ScalarRange kControlExceptions[];
extern const size_t kControlExceptionCount;
extern const ScalarRange kAlphabeticExceptions[];
extern const size_t kAlphabeticExceptionCount;
extern const ScalarRange kLowercaseExceptions[];
extern const size_t kLowercaseExceptionCount;
extern const ScalarRange kUppercaseExceptions[];
extern const size_t kUppercaseExceptionCount;

struct Script {
  const char* name;
  const ScalarRange* ranges;
  size_t count;
};
extern const Script kScripts[];
extern const size_t kScriptCount;

}  // namespace conclave::engine::unicode_data
