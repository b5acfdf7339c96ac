#include "engine/chat/jinja_text.h"

#include <algorithm>
#include <iterator>

#include "absl/container/flat_hash_map.h"
#include "engine/chat/jinja_case_data.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine::jinja {
namespace {

uint32_t LowerOf(uint32_t scalar) {
  if (scalar < 0x80) return scalar >= 'A' && scalar <= 'Z' ? scalar + 32 : scalar;
  std::u32string lower;
  AppendLower(scalar, &lower);
  return lower.size() == 1 ? static_cast<uint32_t>(lower[0]) : scalar;
}

// The inverse of lower case. Where several letters share one (K and the Kelvin sign), the first.
const absl::flat_hash_map<uint32_t, uint32_t>& UpperTable() {
  static const auto* table = [] {
    auto* made = new absl::flat_hash_map<uint32_t, uint32_t>();
    for (uint32_t scalar = 0x80; scalar < 0x1F000; ++scalar) {
      const Category category = CategoryOf(scalar);
      if (category != Category::kLu && category != Category::kSo && category != Category::kNl) {
        continue;
      }
      const uint32_t lower = LowerOf(scalar);
      if (lower != scalar && lower >= 0x80) made->try_emplace(lower, scalar);
    }
    return made;
  }();
  return *table;
}

const SpecialCase* FindSpecialCase(uint32_t scalar) {
  const auto* found =
      std::lower_bound(std::begin(kSpecialCases), std::end(kSpecialCases), scalar,
                       [](const SpecialCase& row, uint32_t s) { return row.scalar < s; });
  return found != std::end(kSpecialCases) && found->scalar == scalar ? found : nullptr;
}

void AppendUpper(uint32_t scalar, bool title, std::string* out) {
  if (scalar < 0x80) {
    AppendUtf8(scalar >= 'a' && scalar <= 'z' ? scalar - 32 : scalar, out);
  } else if (const SpecialCase* special = FindSpecialCase(scalar)) {
    out->append(title ? special->title : special->upper);
  } else {
    const auto found = UpperTable().find(scalar);
    AppendUtf8(found == UpperTable().end() ? scalar : found->second, out);
  }
}

void AppendLowerUtf8(uint32_t scalar, std::string* out) {
  std::u32string lower;
  AppendLower(scalar, &lower);
  for (const char32_t part : lower) AppendUtf8(part, out);
}

// Calls visit(scalar, bytes) for each character; bytes that are not UTF-8 pass as they are.
template <typename Visit>
void ForEachCharacter(std::string_view text, Visit visit) {
  for (size_t at = 0; at < text.size();) {
    const DecodedScalar scalar = DecodeUtf8(text, at);
    visit(scalar.value, text.substr(at, scalar.length));
    at += scalar.length;
  }
}

std::string Upper(std::string_view text, bool title) {
  std::string out;
  ForEachCharacter(text, [&](uint32_t scalar, std::string_view bytes) {
    if (scalar == kInvalidScalar) {
      out.append(bytes);
    } else {
      AppendUpper(scalar, title, &out);
    }
  });
  return out;
}

bool IsCased(uint32_t scalar) {
  const Category c = CategoryOf(scalar);
  return c == Category::kLl || c == Category::kLu || c == Category::kLt;
}

// Digits that are no decimals: ² ³ ¹ and the other raised and lowered ones, circled digits.
bool IsSuperscript(uint32_t s) {
  return s == 0xB2 || s == 0xB3 || s == 0xB9 || s == 0x2070 || (s >= 0x2074 && s <= 0x2079) ||
         (s >= 0x2080 && s <= 0x2089) || (s >= 0x2460 && s <= 0x2468);
}

bool Is(uint32_t scalar, CharacterClass wanted) {
  const Category c = CategoryOf(scalar);
  switch (wanted) {
    case CharacterClass::kAlpha:
      return IsLetter(c);
    case CharacterClass::kDecimal:
      return c == Category::kNd;
    case CharacterClass::kDigit:
      return c == Category::kNd || IsSuperscript(scalar);
    case CharacterClass::kNumeric:
      return IsNumber(c);
    case CharacterClass::kAlnum:
      return IsLetter(c) || IsNumber(c);
    case CharacterClass::kSpace:
      return IsPythonSpace(scalar);
    case CharacterClass::kLower:
      return c == Category::kLl;
    case CharacterClass::kUpper:
      return c == Category::kLu;
  }
  return false;
}

// The character that ends at `end`, where it begins.
size_t CharacterBefore(std::string_view text, size_t end) {
  size_t at = end - 1;
  while (at > 0 && end - at < 4 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at + DecodeUtf8(text, at).length == end ? at : end - 1;
}

template <typename Predicate>
std::string_view DropFront(std::string_view text, Predicate drop) {
  while (!text.empty()) {
    const DecodedScalar scalar = DecodeUtf8(text, 0);
    if (!drop(scalar.value, text.substr(0, scalar.length))) break;
    text.remove_prefix(scalar.length);
  }
  return text;
}

template <typename Predicate>
std::string_view DropBack(std::string_view text, Predicate drop) {
  while (!text.empty()) {
    const size_t at = CharacterBefore(text, text.size());
    if (!drop(DecodeUtf8(text, at).value, text.substr(at))) break;
    text = text.substr(0, at);
  }
  return text;
}

}  // namespace

bool IsPythonSpace(uint32_t scalar) {
  return IsWhiteSpace(scalar) || (scalar >= 0x1C && scalar <= 0x1F);
}

std::string_view StripLeft(std::string_view text) {
  return DropFront(text, [](uint32_t scalar, std::string_view) { return IsPythonSpace(scalar); });
}
std::string_view StripRight(std::string_view text) {
  return DropBack(text, [](uint32_t scalar, std::string_view) { return IsPythonSpace(scalar); });
}
std::string_view StripLeft(std::string_view text, std::string_view set) {
  return DropFront(text, [set](uint32_t, std::string_view character) {
    return set.find(character) != std::string_view::npos;
  });
}
std::string_view StripRight(std::string_view text, std::string_view set) {
  return DropBack(text, [set](uint32_t, std::string_view character) {
    return set.find(character) != std::string_view::npos;
  });
}

int64_t CountCharacters(std::string_view text) {
  int64_t count = 0;
  for (size_t at = 0; at < text.size(); at += DecodeUtf8(text, at).length) ++count;
  return count;
}

size_t ByteOfCharacter(std::string_view text, int64_t index) {
  size_t at = 0;
  for (int64_t i = 0; i < index && at < text.size(); ++i) at += DecodeUtf8(text, at).length;
  return at;
}

std::string ToLower(std::string_view text) {
  std::string out;
  ForEachCharacter(text, [&](uint32_t scalar, std::string_view bytes) {
    if (scalar == kInvalidScalar) {
      out.append(bytes);
    } else {
      AppendLowerUtf8(scalar, &out);
    }
  });
  return out;
}

std::string ToUpper(std::string_view text) { return Upper(text, false); }

std::string Capitalize(std::string_view text) {
  const size_t first = ByteOfCharacter(text, 1);
  return Upper(text.substr(0, first), true) + ToLower(text.substr(first));
}

std::string TitleCase(std::string_view text) {
  std::string out;
  bool after_letter = false;
  ForEachCharacter(text, [&](uint32_t scalar, std::string_view bytes) {
    if (scalar == kInvalidScalar) {
      out.append(bytes);
    } else if (after_letter) {
      AppendLowerUtf8(scalar, &out);
    } else {
      AppendUpper(scalar, true, &out);
    }
    after_letter = scalar != kInvalidScalar && IsCased(scalar);
  });
  return out;
}

bool IsTitleCase(std::string_view text) {
  bool any = false, right = true, after_cased = false;
  ForEachCharacter(text, [&](uint32_t scalar, std::string_view) {
    const Category c = scalar == kInvalidScalar ? Category::kCn : CategoryOf(scalar);
    const bool upper = c == Category::kLu || c == Category::kLt, lower = c == Category::kLl;
    right = right && !(upper && after_cased) && !(lower && !after_cased);
    any = any || upper || lower;
    after_cased = upper || lower;
  });
  return any && right;
}

bool AllOf(std::string_view text, CharacterClass wanted) {
  // lower and upper ask for one such letter and none of the other case; the rest ask all
  // characters.
  const bool by_case = wanted == CharacterClass::kLower || wanted == CharacterClass::kUpper;
  bool all = true, any = false;
  ForEachCharacter(text, [&](uint32_t scalar, std::string_view) {
    const bool is = scalar != kInvalidScalar && Is(scalar, wanted);
    any = any || is;
    all = all && (is || (by_case && !IsCased(scalar)));
  });
  return any && all;
}

}  // namespace conclave::engine::jinja
