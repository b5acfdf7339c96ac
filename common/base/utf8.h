// What text from outside must be before it goes into JSON or a protobuf string.
#pragma once

#include <cstddef>
#include <string_view>

namespace conclave::base {

// Length of the well-formed UTF-8 sequence at the front of `text` (Unicode 15, table 3-7); 0 when
// there is none. `text` is not empty.
size_t Utf8SequenceLength(std::string_view text);

bool IsValidUtf8(std::string_view text);

// The front of `text`, at most `bytes_max` long and never cut inside a character.
std::string_view Utf8Prefix(std::string_view text, size_t bytes_max);

}  // namespace conclave::base
