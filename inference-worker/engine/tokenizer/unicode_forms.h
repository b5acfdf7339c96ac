// The normal forms of Unicode (UAX #15), with the decompositions Hugging Face tokenizers knows.
#pragma once

#include <string>
#include <string_view>

namespace conclave::engine {

enum class UnicodeForm { kNfc, kNfd, kNfkc, kNfkd };

// Linear in the text but for sorting runs of marks. Bytes that are not UTF-8 stay as they are.
std::string ToForm(std::string_view text, UnicodeForm form);

// A text as scalars and back; a byte that is no UTF-8 is kRawByte | byte in between.
inline constexpr char32_t kRawByte = 0x80000000;
std::u32string ToScalars(std::string_view text);
std::string FromScalars(std::u32string_view scalars);

}  // namespace conclave::engine
