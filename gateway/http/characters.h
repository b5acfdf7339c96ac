// Classes of characters of HTTP/1.1 that the gates share.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

namespace conclave::gateway {

// tchar of RFC 9110 §5.6.2.
inline constexpr std::array<bool, 256> kTokenChars = [] {
  std::array<bool, 256> table{};
  for (const char c : std::string_view("!#$%&'*+-.^_`|~0123456789"
                                       "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")) {
    table[static_cast<unsigned char>(c)] = true;
  }
  return table;
}();
inline bool IsTokenChar(char c) { return kTokenChars[static_cast<unsigned char>(c)]; }
inline bool IsToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), IsTokenChar);
}

}  // namespace conclave::gateway
