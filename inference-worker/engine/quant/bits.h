// Moving bits between the layouts of files and of panels.
#pragma once

#include <cstdint>
#include <cstring>

#include "engine/quant/half.h"

namespace conclave::engine {

// Row r's nibbles of a group from a block whose byte j holds elements j and j + 16: those bytes are
// already steps 0..3 in the low and 4..7 in the high nibbles.
inline void PutNibbles(const uint8_t (&q)[16], uint8_t* group, int r) {
  for (int j = 0; j < 4; ++j) std::memcpy(group + j * 64 + r * 4, q + 4 * j, 4);
}

// Row r's bits of a group from 32 bits in the order of the elements: step s of the group gives its
// four bits to bit s of four bytes.
inline void PutBits(uint32_t bits, uint8_t* plane, int r) {
  uint32_t word = 0;
  for (int s = 0; s < 8; ++s) {
    const uint32_t four = (bits >> (4 * s)) & 15;
    word |= ((four * 0x00204081u) & 0x01010101u) << s;  // bit i to byte i
  }
  Store(plane + r * 4, word);
}

// The same from 32 bytes of which bit `bit` counts.
inline void PutBitsOfBytes(const uint8_t (&bytes)[32], int bit, uint8_t* plane, int r) {
  uint32_t word = 0;
  for (int s = 0; s < 8; ++s) {
    word |= ((Load<uint32_t>(bytes + 4 * s) >> bit) & 0x01010101u) << s;
  }
  Store(plane + r * 4, word);
}

// Row r's pairs of a group from 32 bytes of which the pair at `bit` counts: two registers, 64 bytes
// apart.
inline void PutPairsOfBytes(const uint8_t* bytes, int bit, uint8_t* plane, int r) {
  for (int h = 0; h < 2; ++h) {
    uint32_t word = 0;
    for (int p = 0; p < 4; ++p) {
      word |= ((Load<uint32_t>(bytes + (4 * h + p) * 4) >> bit) & 0x03030303u) << (2 * p);
    }
    Store(plane + h * 64 + r * 4, word);
  }
}

}  // namespace conclave::engine
