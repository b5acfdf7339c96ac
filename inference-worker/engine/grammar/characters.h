// Sets of characters as masks reckon with them, coarse beyond ASCII, and the form of UTF-8.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace conclave::engine::grammar {

// Any of the ASCII characters, and all or none of the others.
struct Characters {
  std::array<uint64_t, 2> ascii{};
  bool others = false;

  void AddAscii(uint8_t byte) { ascii[byte / 64] |= uint64_t{1} << (byte % 64); }
  void AddAll(const Characters& more) {
    ascii[0] |= more.ascii[0];
    ascii[1] |= more.ascii[1];
    others = others || more.others;
  }
  // Of a byte beyond ASCII: whether there are characters with such.
  bool has(uint8_t byte) const {
    return byte < 0x80 ? (ascii[byte / 64] >> (byte % 64) & 1) != 0 : others;
  }
  int num_ascii() const { return std::popcount(ascii[0]) + std::popcount(ascii[1]); }
  bool empty() const { return (ascii[0] | ascii[1]) == 0 && !others; }
  bool all_in(const Characters& set) const {
    return ((ascii[0] & ~set.ascii[0]) | (ascii[1] & ~set.ascii[1])) == 0 &&
           (!others || set.others);
  }
  bool none_in(const Characters& set) const {
    return ((ascii[0] & set.ascii[0]) | (ascii[1] & set.ascii[1])) == 0 && !(others && set.others);
  }
  friend auto operator<=>(const Characters&, const Characters&) = default;
};

// Characters beyond ASCII (Unicode 15, table 3-7), byte by byte, from place to place: 0 is between
// two characters; at 1, 2 and 3 so many bytes are missing; 4 to 7 are behind E0, ED, F0 and F4.
struct Utf8Edge {
  uint8_t first;
  uint8_t last;
  int to;
};
inline constexpr std::array<Utf8Edge, 8> kUtf8Starts = {{{0xC2, 0xDF, 1},
                                                         {0xE0, 0xE0, 4},
                                                         {0xE1, 0xEC, 2},
                                                         {0xED, 0xED, 5},
                                                         {0xEE, 0xEF, 2},
                                                         {0xF0, 0xF0, 6},
                                                         {0xF1, 0xF3, 3},
                                                         {0xF4, 0xF4, 7}}};
inline constexpr std::array<Utf8Edge, 8> kUtf8Nexts = {{{1, 0, 0},  // of place 0: none
                                                        {0x80, 0xBF, 0},
                                                        {0x80, 0xBF, 1},
                                                        {0x80, 0xBF, 2},
                                                        {0xA0, 0xBF, 1},
                                                        {0x80, 0x9F, 1},
                                                        {0x90, 0xBF, 2},
                                                        {0x80, 0x8F, 2}}};

}  // namespace conclave::engine::grammar
