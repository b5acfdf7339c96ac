// Python's string operations on UTF-8. Positions are bytes here; where Python counts characters,
// the functions that convert say so.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace conclave::engine::jinja {

// What Python's str.strip() takes for a space: White_Space and the four information separators.
bool IsPythonSpace(uint32_t scalar);

// Views without spaces at an end.
std::string_view StripLeft(std::string_view text);
std::string_view StripRight(std::string_view text);
// Views without any of the characters of `set` at an end.
std::string_view StripLeft(std::string_view text, std::string_view set);
std::string_view StripRight(std::string_view text, std::string_view set);

// len(): bytes that are not UTF-8 count one each.
int64_t CountCharacters(std::string_view text);
// The byte where character `index` begins; text.size() when there are not so many.
size_t ByteOfCharacter(std::string_view text, int64_t index);

std::string ToLower(std::string_view text);
std::string ToUpper(std::string_view text);
// str.capitalize(): the first character upper, the rest lower.
std::string Capitalize(std::string_view text);
// str.title(): each letter after a non-letter upper, the rest lower.
std::string TitleCase(std::string_view text);

// str.istitle(): upper case only after what has no case, lower case only after a cased letter.
bool IsTitleCase(std::string_view text);

enum class CharacterClass {
  kAlpha,
  kDecimal,
  kDigit,
  kNumeric,
  kAlnum,
  kSpace,
  kLower,
  kUpper,
};
// str.isalpha() and its kin; false for "".
bool AllOf(std::string_view text, CharacterClass wanted);

}  // namespace conclave::engine::jinja
