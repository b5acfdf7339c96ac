#include "engine/tokenizer/unicode.h"

#include <algorithm>
#include <array>
#include <vector>

#include "engine/tokenizer/unicode_data.h"

namespace conclave::engine {
namespace {

using unicode_data::BaseForm;
using unicode_data::kBaseFormCount;
using unicode_data::kBaseForms;
using unicode_data::kCategoryRunCount;
using unicode_data::kCategoryRuns;
using unicode_data::kLowerRunCount;
using unicode_data::kLowerRuns;
using unicode_data::LowerRun;

constexpr uint32_t kScalarEnd = 0x110000;

// One byte per scalar: 1.1 MB once per process buys a look-up without a branch.
const std::vector<Category>& CategoryTable() {
  static const std::vector<Category>* table = [] {
    auto* filled = new std::vector<Category>(kScalarEnd);
    for (size_t i = 0; i < kCategoryRunCount; ++i) {
      const uint32_t first = kCategoryRuns[i] >> 5;
      const uint32_t end = i + 1 < kCategoryRunCount ? kCategoryRuns[i + 1] >> 5 : kScalarEnd;
      std::fill(filled->begin() + first, filled->begin() + end,
                static_cast<Category>(kCategoryRuns[i] & 31));
    }
    return filled;
  }();
  return *table;
}

bool IsContinuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

// What the lead byte says of the sequence: its length (0 = not a lead byte) and the range of the
// second byte, which is where overlong forms, surrogates and too large values show.
struct Lead {
  uint32_t length;
  unsigned char second_min;
  unsigned char second_max;
};

Lead LeadOf(unsigned char byte) {
  if (byte < 0x80) return {1, 0, 0};
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

// How many bytes from `at` on fit the sequence its lead byte promises (at least 1 when valid so
// far).
size_t FittingBytes(std::string_view text, size_t at, const Lead& lead) {
  size_t fitting = 1;
  while (fitting < lead.length && at + fitting < text.size()) {
    const auto byte = static_cast<unsigned char>(text[at + fitting]);
    const bool fits =
        fitting == 1 ? byte >= lead.second_min && byte <= lead.second_max : IsContinuation(byte);
    if (!fits) break;
    ++fitting;
  }
  return fitting;
}

}  // namespace

DecodedScalar DecodeUtf8(std::string_view text, size_t at) {
  const auto first = static_cast<unsigned char>(text[at]);
  if (first < 0x80) return {first, 1};
  const Lead lead = LeadOf(first);
  if (lead.length == 0 || FittingBytes(text, at, lead) < lead.length) return {kInvalidScalar, 1};
  uint32_t value = first & (0x7Fu >> lead.length);
  for (uint32_t i = 1; i < lead.length; ++i) {
    value = value << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3F);
  }
  return {value, lead.length};
}

void AppendUtf8(uint32_t scalar, std::string* out) {
  if (scalar < 0x80) {
    out->push_back(static_cast<char>(scalar));
  } else if (scalar < 0x800) {
    out->push_back(static_cast<char>(0xC0 | scalar >> 6));
    out->push_back(static_cast<char>(0x80 | (scalar & 0x3F)));
  } else if (scalar < 0x10000) {
    out->push_back(static_cast<char>(0xE0 | scalar >> 12));
    out->push_back(static_cast<char>(0x80 | (scalar >> 6 & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (scalar & 0x3F)));
  } else {
    out->push_back(static_cast<char>(0xF0 | scalar >> 18));
    out->push_back(static_cast<char>(0x80 | (scalar >> 12 & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (scalar >> 6 & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (scalar & 0x3F)));
  }
}

size_t IncompleteUtf8Suffix(std::string_view text) {
  for (size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    const size_t at = text.size() - back;
    const auto byte = static_cast<unsigned char>(text[at]);
    if (IsContinuation(byte)) continue;
    const Lead lead = LeadOf(byte);
    return lead.length > back && FittingBytes(text, at, lead) == back ? back : 0;
  }
  return 0;
}

Category CategoryOf(uint32_t scalar) {
  return scalar < kScalarEnd ? CategoryTable()[scalar] : Category::kCn;
}

bool IsWhiteSpace(uint32_t scalar) {
  return (scalar >= 0x09 && scalar <= 0x0D) || scalar == 0x20 || scalar == 0x85 ||
         (scalar >= 0xA0 && IsSeparator(CategoryOf(scalar)));
}

void AppendLower(uint32_t scalar, std::u32string* out) {
  if (scalar == 0x130) {  // İ is the only one with two
    out->append({U'i', U'\u0307'});
    return;
  }
  const LowerRun* end = kLowerRuns + kLowerRunCount;
  // The last run that begins at or before the scalar; runs with a step of two interleave, so the
  // one before it may hold it as well.
  const LowerRun* after = std::upper_bound(
      kLowerRuns, end, scalar, [](uint32_t s, const LowerRun& run) { return s < run.first; });
  for (const LowerRun* run = after; run != kLowerRuns && after - run < 3;) {
    --run;
    const uint32_t distance = scalar - run->first;
    if (distance % run->step == 0 && distance / run->step < run->count) {
      out->push_back(static_cast<char32_t>(static_cast<int64_t>(scalar) + run->delta));
      return;
    }
  }
  out->push_back(scalar);
}

void AppendBaseForm(uint32_t scalar, std::u32string* out) {
  constexpr uint32_t kHangulFirst = 0xAC00, kHangulEnd = 0xD7A4;
  constexpr uint32_t kVowels = 21, kTrails = 28;
  if (scalar >= kHangulFirst && scalar < kHangulEnd) {
    const uint32_t index = scalar - kHangulFirst;
    out->push_back(0x1100 + index / (kVowels * kTrails));
    out->push_back(0x1161 + index / kTrails % kVowels);
    if (index % kTrails != 0) out->push_back(0x11A7 + index % kTrails);
    return;
  }
  const BaseForm* end = kBaseForms + kBaseFormCount;
  const BaseForm* found = std::lower_bound(
      kBaseForms, end, scalar, [](const BaseForm& form, uint32_t s) { return form.scalar < s; });
  if (found == end || found->scalar != scalar) {
    if (CategoryOf(scalar) != Category::kMn) out->push_back(scalar);
    return;
  }
  for (uint32_t kept : found->kept) {
    if (kept != 0) out->push_back(kept);
  }
}

}  // namespace conclave::engine
