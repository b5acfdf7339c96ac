// Panels: the layout weights have while they are multiplied. A panel is 16 output rows side by
// side, so that one 64-byte register holds 16 rows × 4 consecutive inputs and no sum ever runs
// across lanes. Packing moves bits and changes no value: every format stays exact.
//
// A panel of K inputs is a plane of quants followed by a plane of scales. Written for row r (0..15)
// and group g of 32 inputs (step s of a group = its inputs 4s..4s+3):
//
//   kF32, kF16, kBF16  element k of row r at [k][r]; no scales.
// and for the others a plane of quants u with a plane of scales. Quants of a group are made of
//   bytes    [s 0..7][r][4 bytes]
//   nibbles  [j 0..3][r][4 bytes]: the low ones are step j, the high ones step j + 4
//   pairs    [h 0..1][r][4 bytes]: pair p (bits 2p, 2p + 1) of register h is step 4h + p
//   bits     [r][4 bytes]: bit s is step s
// the lower bits first. Scales are for a group, or for a super-group of 256 inputs with what its 8
// groups g add, or with two values for the halves h of a group:
//
//   kind        u                scales                                        y
//   kU8         bytes            d [r] fp16                                    d · (u − 128)
//   kU4         nibbles          d [r] fp16                                    d · (u − 8)
//   kU5         nibbles, bits    d [r] fp16                                    d · (u − 16)
//   kU4HalfMin  nibbles          d [r] fp16, m [r] fp16                        d·u − m
//   kU5HalfMin  nibbles, bits    d [r] fp16, m [r] fp16                        d·u − m
//   kU4Min      nibbles          d [r] fp16, dmin [r] fp16,
//                                g: sc [r] u8, m [r] u8                        d·sc·u − dmin·m
//   kU5Min      nibbles, bits    as kU4Min                                     d·sc·u − dmin·m
//   kU2Min      pairs            d [r] fp16, dmin [r] fp16,
//                                g: h: (sc | m << 4) [r] u8                    d·sc·u − dmin·m
//   kU3         pairs, bits      d [r] fp16, g: h: sc [r] int8                 d·sc·(u − 4)
//   kU6         nibbles, pairs   d [r] fp16, g: h: sc [r] int8                 d·sc·(u − 32)
//   kNl4        nibbles          d [r] fp16                                    d·kNl4Values[u]
//   kNl4Super   nibbles          d [r] fp16, g: sc [r] int8                    d·sc·kNl4Values[u]
//   kFp4        nibbles          e [r] u8                               2^(e − 128)·kFp4Values[u]
#pragma once

#include <cstdint>

namespace conclave::engine {

inline constexpr int kPanelRows = 16;
inline constexpr int kGroup = 32;        // inputs that share one scale of the activations
inline constexpr int kSuperGroup = 256;  // inputs of a K-family super-block

enum class PanelKind {
  kF32,
  kF16,
  kBF16,
  kU8,
  kU4,
  kU5,
  kU4HalfMin,
  kU5HalfMin,
  kU4Min,
  kU5Min,
  kU2Min,
  kU3,
  kU6,
  kNl4,
  kNl4Super,
  kFp4,
};

// What the nibbles of a non-linear kind stand for: dense about zero, where weights are.
inline constexpr int8_t kNl4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};
// Twice the values of E2M1, so that they are integers.
inline constexpr int8_t kFp4Values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

// Whether the kernels take int8 activations for this kind (int8_rows.h); fp32 otherwise.
constexpr bool TakesInt8(PanelKind kind) {
  return kind != PanelKind::kF32 && kind != PanelKind::kF16 && kind != PanelKind::kBF16;
}

// Bytes of the two planes of a panel of `cols` inputs (a multiple of the format's block).
constexpr int64_t PanelQuantBytes(PanelKind kind, int64_t cols) {
  switch (kind) {
    case PanelKind::kF32:
      return cols * 64;
    case PanelKind::kF16:
    case PanelKind::kBF16:
      return cols * 32;
    case PanelKind::kU8:
      return cols * 16;
    case PanelKind::kU4:
    case PanelKind::kU4HalfMin:
    case PanelKind::kU4Min:
    case PanelKind::kNl4:
    case PanelKind::kNl4Super:
    case PanelKind::kFp4:
      return cols * 8;
    case PanelKind::kU5:
    case PanelKind::kU5HalfMin:
    case PanelKind::kU5Min:
      return cols * 10;
    case PanelKind::kU2Min:
      return cols * 4;
    case PanelKind::kU3:
      return cols * 6;
    case PanelKind::kU6:
      return cols * 12;
  }
  return 0;
}
constexpr int64_t PanelScaleBytes(PanelKind kind, int64_t cols) {
  switch (kind) {
    case PanelKind::kF32:
    case PanelKind::kF16:
    case PanelKind::kBF16:
      return 0;
    case PanelKind::kU8:
    case PanelKind::kU4:
    case PanelKind::kU5:
    case PanelKind::kNl4:
      return cols / kGroup * 32;
    case PanelKind::kU4HalfMin:
    case PanelKind::kU5HalfMin:
      return cols / kGroup * 64;
    case PanelKind::kFp4:
      return cols / kGroup * 16;
    case PanelKind::kU4Min:
    case PanelKind::kU5Min:
    case PanelKind::kU2Min:
      return cols / kSuperGroup * (64 + 8 * 32);
    case PanelKind::kU3:
    case PanelKind::kU6:
      return cols / kSuperGroup * (32 + 8 * 32);
    case PanelKind::kNl4Super:
      return cols / kSuperGroup * (32 + 8 * 16);
  }
  return 0;
}
// Both, rounded up so that the next panel begins on a cache line.
constexpr int64_t PanelBytes(PanelKind kind, int64_t cols) {
  return (PanelQuantBytes(kind, cols) + PanelScaleBytes(kind, cols) + 63) / 64 * 64;
}

}  // namespace conclave::engine
