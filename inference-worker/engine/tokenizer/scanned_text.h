// A text by scalars, with what matchers ask of each: built once, then looked at from many places.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "engine/tokenizer/unicode.h"

namespace conclave::engine {

// Bytes that are not UTF-8 are scalars of their own, kInvalidScalar, of category Cn.
struct ScannedText {
  explicit ScannedText(std::string_view text) {
    scalars.reserve(text.size());
    categories.reserve(text.size());
    offsets.reserve(text.size() + 1);
    for (size_t at = 0; at < text.size();) {
      const DecodedScalar decoded = DecodeUtf8(text, at);
      scalars.push_back(decoded.value);
      categories.push_back(CategoryOf(decoded.value));
      offsets.push_back(at);
      at += decoded.length;
    }
    offsets.push_back(text.size());
  }

  bool Letter(size_t i) const { return IsLetter(categories[i]); }
  bool Number(size_t i) const { return IsNumber(categories[i]); }
  bool Mark(size_t i) const { return IsMark(categories[i]); }
  bool Punctuation(size_t i) const { return IsPunctuation(categories[i]); }
  bool Symbol(size_t i) const { return IsSymbol(categories[i]); }
  bool Space(size_t i) const { return IsWhiteSpace(scalars[i]); }
  bool Newline(size_t i) const { return scalars[i] == '\n' || scalars[i] == '\r'; }
  // [^\s\p{L}\p{N}]
  bool Other(size_t i) const { return !Space(i) && !Letter(i) && !Number(i); }

  std::vector<uint32_t> scalars;
  std::vector<Category> categories;
  std::vector<size_t> offsets;  // of scalar i in bytes; one more for the end
};

}  // namespace conclave::engine
