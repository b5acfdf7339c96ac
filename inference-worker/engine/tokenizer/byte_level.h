// The alphabet of byte-level vocabularies: printable bytes stand for themselves, the others for the
// scalars from U+0100 on, in order (GPT-2). ' ' is "Ġ".
#pragma once

#include <string>
#include <string_view>

namespace conclave::engine {

std::string_view ByteLevelText(unsigned char byte);
// Of a whole text, byte by byte.
std::string ByteLevelText(std::string_view bytes);
// The bytes a token's text stands for. Characters outside the alphabet stand for themselves.
std::string ByteLevelBytes(std::string_view text);
// The same with all of the text taken as it is when any of it is outside the alphabet, as the
// decoder of that name has it.
std::string ByteLevelTokenBytes(std::string_view text);

}  // namespace conclave::engine
