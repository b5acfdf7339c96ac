// The avx2 table: the common sources over this folder's vector.
#define CONCLAVE_ISA avx2
// Sums live in arrays of registers; a call that is not inlined puts them in memory.
#define CONCLAVE_INLINE inline __attribute__((always_inline))

#include <immintrin.h>

#include <cstdint>

#include "engine/kernels/cpu/cpu_features.h"
#include "engine/kernels/cpu/isa/isa.h"

#include "engine/kernels/cpu/isa/avx2/vec.inl"

#include "engine/kernels/cpu/isa/common/math.inl"

#include "engine/kernels/cpu/isa/common/multiply.inl"

#include "engine/kernels/cpu/isa/common/rows.inl"

#include "engine/kernels/cpu/isa/common/attention.inl"

namespace conclave::engine {

const IsaTable& Avx2Table() {
  static constexpr IsaTable kTable = {
      .name = "avx2",
      .supported = CpuHasAvx2,
      .multiply = avx2::Multiply,
      .quantize_int8 = avx2::QuantizeInt8,
      .rms_norm = avx2::RmsNorm,
      .layer_norm = avx2::LayerNorm,
      .add = avx2::AddTo,
      .add_scaled = avx2::AddScaled,
      .scale = avx2::Scale,
      .sigmoid = avx2::SigmoidOf,
      .activate = avx2::Activate,
      .activate_mul = avx2::ActivateMul,
      .softmax = avx2::Softmax,
      .largest_by_block = avx2::LargestByBlock,
      .weigh_by_block = avx2::WeighByBlock,
      .rope = avx2::Rope,
      .store_half = avx2::StoreHalves,
      .unpack_keys = avx2::UnpackKeys,
      .attend = avx2::Attend,
  };
  return kTable;
}

}  // namespace conclave::engine
