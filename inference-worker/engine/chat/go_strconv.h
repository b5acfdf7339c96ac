// Go's strconv: numbers and quoted strings, as they are written and as they are read.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace conclave::engine::gotmpl {

// strconv.FormatFloat in the form e, f, g, E or G; a precision of -1 is the shortest that reads
// back the same.
std::string FormatFloat(double value, char form, int precision);
// fmt's # of a fraction: a decimal point, and zeros up to so many digits.
void KeepZeros(int digits, std::string* text);

// Between `quote`s, with escapes; `ascii`: for all that is not ASCII, too.
std::string Quoted(std::string_view text, char quote, bool ascii);
// Whether it can stand between ` as it is.
bool CanBackquote(std::string_view text);
bool IsPrintable(uint32_t scalar);

// Of a number literal: whether its underscores stand between digits, or behind a base.
bool UnderscoresFit(std::string_view text);
// An integer literal without underscores; false: it is none, or beyond 64 bits.
bool ReadInteger(std::string_view text, int64_t* value);

}  // namespace conclave::engine::gotmpl
