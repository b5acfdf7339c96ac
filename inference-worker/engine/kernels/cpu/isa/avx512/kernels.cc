// The avx512 table: the common sources over this folder's vector.
#define CONCLAVE_ISA avx512
// Sums live in arrays of registers; a call that is not inlined puts them in memory.
#define CONCLAVE_INLINE inline __attribute__((always_inline))

#include <immintrin.h>

#include <cstdint>

#include "engine/kernels/cpu/cpu_features.h"
#include "engine/kernels/cpu/isa/isa.h"

#include "engine/kernels/cpu/isa/avx512/vec.inl"

#include "engine/kernels/cpu/isa/common/math.inl"

#include "engine/kernels/cpu/isa/common/multiply.inl"

#include "engine/kernels/cpu/isa/common/rows.inl"

#include "engine/kernels/cpu/isa/common/attention.inl"

namespace conclave::engine {

const IsaTable& Avx512Table() {
  static constexpr IsaTable kTable = {
      .name = "avx512",
      .supported = CpuHasAvx512Vnni,
      .multiply = avx512::Multiply,
      .quantize_int8 = avx512::QuantizeInt8,
      .rms_norm = avx512::RmsNorm,
      .layer_norm = avx512::LayerNorm,
      .add = avx512::AddTo,
      .add_scaled = avx512::AddScaled,
      .scale = avx512::Scale,
      .sigmoid = avx512::SigmoidOf,
      .activate = avx512::Activate,
      .activate_mul = avx512::ActivateMul,
      .softmax = avx512::Softmax,
      .largest_by_block = avx512::LargestByBlock,
      .weigh_by_block = avx512::WeighByBlock,
      .rope = avx512::Rope,
      .store_half = avx512::StoreHalves,
      .unpack_keys = avx512::UnpackKeys,
      .attend = avx512::Attend,
  };
  return kTable;
}

}  // namespace conclave::engine
