// Panels: the layout weights have while they are multiplied. A panel is 16 output rows side by
// side, so that one 64-byte register holds 16 rows × 4 consecutive inputs and no sum ever runs
// across lanes. Packing moves bits and changes no value: every format stays exact.
//
// A panel of K inputs is a plane of quants followed by a plane of scales. Written for row r (0..15)
// and group g of 32 inputs (step s of a group = its inputs 4s..4s+3):
//
//   kF32, kF16, kBF16  element k of row r at [k][r]; no scales.
//   kU8    quants [g][s 0..7][r][4 bytes]: value + 128, unsigned.     scales [g][r] fp16.
//          y = d · (u − 128)
//   kU4    quants [g][j 0..3][r][4 bytes]: low nibbles are step j, high nibbles step j + 4.
//          scales [g][r] fp16.                                        y = d · (u − 8)
//   kU4Min quants as kU4. Scales per 256 inputs: d [r] fp16, dmin [r] fp16, then for its 8 groups
//          sc [r] u8, m [r] u8.                                       y = d·sc·u − dmin·m
//   kU6    quants per group: nibbles as kU4 (256 bytes), then two registers of bit pairs
//          [h 0..1][r][4 bytes], where pair p (bits 2p, 2p+1) of register h belongs to step 4h + p.
//          Scales per 256 inputs: d [r] fp16, then for its 8 groups [half 0..1][r] int8, one per 16
//          inputs.                                                    y = d·sc·(u − 32)
#pragma once

#include <cstdint>

namespace conclave::engine {

inline constexpr int kPanelRows = 16;
inline constexpr int kGroup = 32;        // inputs that share one scale of the activations
inline constexpr int kSuperGroup = 256;  // inputs of a K-family super-block

enum class PanelKind { kF32, kF16, kBF16, kU8, kU4, kU4Min, kU6 };
inline constexpr int kNumPanelKinds = 7;

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
    case PanelKind::kU4Min:
      return cols * 8;
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
      return cols / kGroup * 32;
    case PanelKind::kU4Min:
      return cols / kSuperGroup * (64 + 8 * 32);
    case PanelKind::kU6:
      return cols / kSuperGroup * (32 + 8 * 32);
  }
  return 0;
}
// Both, rounded up so that the next panel begins on a cache line.
constexpr int64_t PanelBytes(PanelKind kind, int64_t cols) {
  return (PanelQuantBytes(kind, cols) + PanelScaleBytes(kind, cols) + 63) / 64 * 64;
}

}  // namespace conclave::engine
