// The formats of JSON strings that can be promised, as regular expressions. Each is a part of what
// its RFC allows that every checker takes.
#pragma once

#include <string_view>

namespace conclave::engine::grammar {

// Empty when the format is not known.
std::string_view PatternOfFormat(std::string_view format);
// Hints to forms and programs, which any text satisfies.
bool FormatSaysNothing(std::string_view format);
// No text is of both.
bool FormatsApart(std::string_view a, std::string_view b);
// Their names, for a message.
std::string_view KnownFormats();

}  // namespace conclave::engine::grammar
