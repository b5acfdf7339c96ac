#include "engine/tokenizer/unicode_forms.h"

#include <algorithm>

#include "engine/tokenizer/unicode.h"

namespace conclave::engine {
namespace {

// Puts runs of marks in the order of their classes; marks of one class keep theirs.
void OrderMarks(std::u32string* scalars) {
  for (size_t at = 0; at < scalars->size();) {
    if (CombiningClassOf((*scalars)[at]) == 0) {
      ++at;
      continue;
    }
    size_t end = at + 1;
    while (end < scalars->size() && CombiningClassOf((*scalars)[end]) != 0) ++end;
    std::stable_sort(scalars->begin() + static_cast<ptrdiff_t>(at),
                     scalars->begin() + static_cast<ptrdiff_t>(end), [](char32_t a, char32_t b) {
                       return CombiningClassOf(a) < CombiningClassOf(b);
                     });
    at = end;
  }
}

// Joins each starter with the marks behind it that are not blocked from it, in place.
void Compose(std::u32string* scalars) {
  size_t out = 0;
  size_t starter = std::u32string::npos;
  uint8_t last_class = 0;  // of what was kept behind the starter
  for (size_t at = 0; at < scalars->size(); ++at) {
    const char32_t scalar = (*scalars)[at];
    const uint8_t ccc = CombiningClassOf(scalar);
    const bool adjacent = starter != std::u32string::npos && starter + 1 == out;
    const bool reachable = starter != std::u32string::npos && (adjacent || last_class < ccc) &&
                           (adjacent || last_class != 0);
    if (reachable) {
      const uint32_t composed = ComposedOf((*scalars)[starter], scalar);
      if (composed != 0) {
        (*scalars)[starter] = composed;
        continue;
      }
    }
    if (ccc == 0) starter = out;
    last_class = ccc;
    (*scalars)[out++] = scalar;
  }
  scalars->resize(out);
}

// Nothing below U+00C0 decomposes canonically, nothing below U+0300 combines, and what lies between
// is composed already.
bool IsPlain(std::string_view text, UnicodeForm form) {
  const bool ascii = std::all_of(text.begin(), text.end(),
                                 [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (ascii || form != UnicodeForm::kNfc) return ascii;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0xCC; });
}

}  // namespace

std::u32string ToScalars(std::string_view text) {
  std::u32string scalars;
  scalars.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const DecodedScalar decoded = DecodeUtf8(text, at);
    scalars.push_back(decoded.value == kInvalidScalar
                          ? kRawByte | static_cast<unsigned char>(text[at])
                          : decoded.value);
    at += decoded.length;
  }
  return scalars;
}

std::string FromScalars(std::u32string_view scalars) {
  std::string text;
  text.reserve(scalars.size());
  for (const char32_t scalar : scalars) {
    if ((scalar & kRawByte) != 0) {
      text.push_back(static_cast<char>(scalar & 0xFF));
    } else {
      AppendUtf8(scalar, &text);
    }
  }
  return text;
}

std::string ToForm(std::string_view text, UnicodeForm form) {
  if (IsPlain(text, form)) return std::string(text);
  const bool compatible = form == UnicodeForm::kNfkc || form == UnicodeForm::kNfkd;
  std::u32string scalars;
  scalars.reserve(text.size());
  for (const char32_t scalar : ToScalars(text)) AppendDecomposition(scalar, compatible, &scalars);
  OrderMarks(&scalars);
  if (form == UnicodeForm::kNfc || form == UnicodeForm::kNfkc) Compose(&scalars);
  return FromScalars(scalars);
}

}  // namespace conclave::engine
