#include "engine/kernels/cpu/cpu_features.h"

#include <cpuid.h>

#include <cstdint>

namespace conclave::engine {
namespace {

struct Features {
  bool avx2 = false;
  bool avx512 = false;
};

constexpr bool Bit(uint32_t word, int bit) { return ((word >> bit) & 1u) != 0; }

uint32_t SavedState() {
  uint32_t low = 0;
  uint32_t high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

Features Detect() {
  Features found;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return found;
  const bool osxsave = Bit(c, 27);
  const bool fma = Bit(c, 12);
  const bool f16c = Bit(c, 29);
  if (!osxsave) return found;
  const uint32_t saved = SavedState();
  const bool ymm_saved = (saved & 0x6u) == 0x6u;    // XMM, YMM
  const bool zmm_saved = (saved & 0xe6u) == 0xe6u;  // and masks, ZMM 0..15, ZMM 16..31
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return found;
  found.avx2 = ymm_saved && fma && f16c && Bit(b, 5);
  const bool f = Bit(b, 16), dq = Bit(b, 17), bw = Bit(b, 30), vl = Bit(b, 31), vnni = Bit(c, 11);
  found.avx512 = found.avx2 && zmm_saved && f && dq && bw && vl && vnni;
  return found;
}

const Features& Cached() {
  static const Features features = Detect();
  return features;
}

}  // namespace

bool CpuHasAvx2() { return Cached().avx2; }
bool CpuHasAvx512Vnni() { return Cached().avx512; }

}  // namespace conclave::engine
