// What tokenizers must know of Unicode: UTF-8, general categories, lower case, decompositions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace conclave::engine {

namespace unicode_data {
struct Script;
}

// One scalar value of a text and how many bytes it takes. Bytes that are not UTF-8 come one at a
// time as kInvalidScalar.
struct DecodedScalar {
  uint32_t value = 0;
  uint32_t length = 0;
};
inline constexpr uint32_t kInvalidScalar = 0xFFFFFFFF;
inline constexpr uint32_t kReplacementScalar = 0xFFFD;

// Precondition: at < text.size(). Refuses overlong forms, surrogates and values over U+10FFFF.
DecodedScalar DecodeUtf8(std::string_view text, size_t at);
void AppendUtf8(uint32_t scalar, std::string* out);

// How many bytes at the end of `text` begin a character that more bytes could still complete: 0–3.
size_t IncompleteUtf8Suffix(std::string_view text);

// The general categories, in the order of generate_unicode_data.py.
enum class Category : uint8_t {
  kCn,
  kCc,
  kCf,
  kCo,
  kCs,  // others
  kLl,
  kLm,
  kLo,
  kLt,
  kLu,  // letters
  kMc,
  kMe,
  kMn,  // marks
  kNd,
  kNl,
  kNo,  // numbers
  kPc,
  kPd,
  kPe,
  kPf,
  kPi,
  kPo,
  kPs,  // punctuation
  kSc,
  kSk,
  kSm,
  kSo,  // symbols
  kZl,
  kZp,
  kZs,  // separators
};

Category CategoryOf(uint32_t scalar);  // kCn for what is no scalar

inline bool IsLetter(Category c) { return c >= Category::kLl && c <= Category::kLu; }
inline bool IsMark(Category c) { return c >= Category::kMc && c <= Category::kMn; }
inline bool IsNumber(Category c) { return c >= Category::kNd && c <= Category::kNo; }
inline bool IsPunctuation(Category c) { return c >= Category::kPc && c <= Category::kPs; }
inline bool IsSymbol(Category c) { return c >= Category::kSc && c <= Category::kSo; }
inline bool IsSeparator(Category c) { return c >= Category::kZl; }

// The White_Space property: what \s matches in the pre-tokenisers' expressions.
bool IsWhiteSpace(uint32_t scalar);

// Appends the lower case of a scalar (U+0130 gives two), or the scalar itself.
void AppendLower(uint32_t scalar, std::u32string* out);

// Appends the full canonical (or compatibility) decomposition of a scalar, or the scalar itself.
void AppendDecomposition(uint32_t scalar, bool compatible, std::u32string* out);
// The canonical combining class; 0 for what is no mark.
uint8_t CombiningClassOf(uint32_t scalar);
// What two neighbours compose to canonically, or 0.
uint32_t ComposedOf(uint32_t first, uint32_t second);

// Letters, marks, numbers and connectors: \w of the pre-tokenisers' expressions.
bool IsWord(uint32_t scalar);
// The properties of these names.
bool IsAlphabetic(uint32_t scalar);
bool IsLowercase(uint32_t scalar);
bool IsUppercase(uint32_t scalar);
// nullptr when there is no such script, or no table of it.
const unicode_data::Script* FindScript(std::string_view name);
bool IsOfScript(uint32_t scalar, const unicode_data::Script& script);

// What the parts of Hugging Face tokenizers that use no expressions take for …
bool IsCutPunctuation(uint32_t scalar);  // Punctuation, BertPreTokenizer
bool IsNumeral(uint32_t scalar);         // Digits
bool IsAccent(uint32_t scalar);          // StripAccents
bool IsNonspacing(uint32_t scalar);      // BertNormalizer's accents
bool IsDroppedControl(uint32_t scalar);  // BertNormalizer's cleaning; NUL and U+FFFD among them
bool IsAddedTokenWord(uint32_t scalar);  // what may not touch an added token of `single_word`

}  // namespace conclave::engine
