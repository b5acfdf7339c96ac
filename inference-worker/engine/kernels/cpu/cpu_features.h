// What the processor can do and the system lets us use: both CPUID and the register state that the
// kernel saves (XCR0) must agree.
#pragma once

namespace conclave::engine {

// AVX2, FMA and F16C.
bool CpuHasAvx2();
// AVX-512 F, BW, DQ, VL and VNNI, besides the former.
bool CpuHasAvx512Vnni();

}  // namespace conclave::engine
