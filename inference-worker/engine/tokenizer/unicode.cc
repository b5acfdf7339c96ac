#include "engine/tokenizer/unicode.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>
#include <vector>

#include "engine/tokenizer/unicode_data.h"

namespace conclave::engine {
namespace {

using namespace unicode_data;  // the tables and their rows, used all over this file

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

bool InRanges(uint32_t scalar, const ScalarRange* ranges, size_t count) {
  const ScalarRange* after = std::upper_bound(
      ranges, ranges + count, scalar, [](uint32_t s, const ScalarRange& r) { return s < r.first; });
  return after != ranges && scalar <= std::prev(after)->last;
}

// Hangul syllables are lead × vowel × trail, in order.
constexpr uint32_t kHangulFirst = 0xAC00, kHangulEnd = 0xD7A4;
constexpr uint32_t kLeadFirst = 0x1100, kVowelFirst = 0x1161, kTrailFirst = 0x11A7;
constexpr uint32_t kLeads = 19, kVowels = 21, kTrails = 28;

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

void AppendDecomposition(uint32_t scalar, bool compatible, std::u32string* out) {
  if (scalar >= kHangulFirst && scalar < kHangulEnd) {
    const uint32_t index = scalar - kHangulFirst;
    out->push_back(kLeadFirst + index / (kVowels * kTrails));
    out->push_back(kVowelFirst + index / kTrails % kVowels);
    if (index % kTrails != 0) out->push_back(kTrailFirst + index % kTrails);
    return;
  }
  const Decomposition* end = kDecompositions + kDecompositionCount;
  const Decomposition* found =
      std::lower_bound(kDecompositions, end, scalar,
                       [](const Decomposition& d, uint32_t s) { return d.scalar < s; });
  if (found == end || found->scalar != scalar) {
    out->push_back(scalar);
    return;
  }
  const uint32_t* at = kDecomposed + found->offset;
  size_t count = found->canonical;
  if (compatible && found->compatible != 0) {
    at += count;
    count = found->compatible;
  }
  out->append(at, at + count);
}

uint8_t CombiningClassOf(uint32_t scalar) {
  if (scalar < kCombiningRuns[0].first) return 0;
  const CombiningRun* end = kCombiningRuns + kCombiningRunCount;
  const CombiningRun* after =
      std::upper_bound(kCombiningRuns, end, scalar,
                       [](uint32_t s, const CombiningRun& run) { return s < run.first; });
  return scalar <= std::prev(after)->last ? std::prev(after)->combining_class : 0;
}

uint32_t ComposedOf(uint32_t first, uint32_t second) {
  if (first >= kLeadFirst && first < kLeadFirst + kLeads && second >= kVowelFirst &&
      second < kVowelFirst + kVowels) {
    return kHangulFirst + ((first - kLeadFirst) * kVowels + second - kVowelFirst) * kTrails;
  }
  if (first >= kHangulFirst && first < kHangulEnd && (first - kHangulFirst) % kTrails == 0 &&
      second > kTrailFirst && second < kTrailFirst + kTrails) {
    return first + second - kTrailFirst;
  }
  const Composition* end = kCompositions + kCompositionCount;
  const std::pair wanted(first, second);
  const Composition* found = std::lower_bound(
      kCompositions, end, wanted,
      [](const Composition& c, const auto& pair) { return std::pair(c.first, c.second) < pair; });
  return found != end && found->first == first && found->second == second ? found->composed : 0;
}

bool IsWord(uint32_t scalar) {
  const Category c = CategoryOf(scalar);
  // The superscripts and fractions of Latin-1 as well, but no other numbers of category No.
  return IsMark(c) || c == Category::kNd || c == Category::kPc || IsAlphabetic(scalar) ||
         (c == Category::kNo && scalar < 0x100);
}

bool IsAlphabetic(uint32_t scalar) {
  const Category c = CategoryOf(scalar);
  return (IsLetter(c) || c == Category::kNl) !=
         InRanges(scalar, kAlphabeticExceptions, kAlphabeticExceptionCount);
}

bool IsLowercase(uint32_t scalar) {
  return (CategoryOf(scalar) == Category::kLl) !=
         InRanges(scalar, kLowercaseExceptions, kLowercaseExceptionCount);
}

bool IsUppercase(uint32_t scalar) {
  return (CategoryOf(scalar) == Category::kLu) !=
         InRanges(scalar, kUppercaseExceptions, kUppercaseExceptionCount);
}

const Script* FindScript(std::string_view name) {
  for (size_t i = 0; i < kScriptCount; ++i) {
    if (name == kScripts[i].name) return &kScripts[i];
  }
  return nullptr;
}

bool IsOfScript(uint32_t scalar, const Script& script) {
  return InRanges(scalar, script.ranges, script.count);
}

bool IsCutPunctuation(uint32_t scalar) {
  const bool ascii = (scalar >= 0x21 && scalar <= 0x2F) || (scalar >= 0x3A && scalar <= 0x40) ||
                     (scalar >= 0x5B && scalar <= 0x60) || (scalar >= 0x7B && scalar <= 0x7E);
  return (ascii || IsPunctuation(CategoryOf(scalar))) !=
         InRanges(scalar, kPunctuationExceptions, kPunctuationExceptionCount);
}

bool IsNumeral(uint32_t scalar) {
  return IsNumber(CategoryOf(scalar)) !=
         InRanges(scalar, kNumeralExceptions, kNumeralExceptionCount);
}

bool IsAccent(uint32_t scalar) {
  return IsMark(CategoryOf(scalar)) != InRanges(scalar, kMarkExceptions, kMarkExceptionCount);
}

bool IsNonspacing(uint32_t scalar) {
  return (CategoryOf(scalar) == Category::kMn) !=
         InRanges(scalar, kNonspacingExceptions, kNonspacingExceptionCount);
}

bool IsDroppedControl(uint32_t scalar) {
  if (scalar == '\t' || scalar == '\n' || scalar == '\r') return false;
  const Category c = CategoryOf(scalar);
  const bool control = scalar == 0 || scalar == kReplacementScalar || c == Category::kCc ||
                       c == Category::kCf || c == Category::kCo;
  return control != InRanges(scalar, kControlExceptions, kControlExceptionCount);
}

bool IsAddedTokenWord(uint32_t scalar) {
  const Category c = CategoryOf(scalar);
  return IsMark(c) || c == Category::kNd || c == Category::kPc || IsAlphabetic(scalar) ||
         scalar == 0x200C || scalar == 0x200D;
}

}  // namespace conclave::engine
