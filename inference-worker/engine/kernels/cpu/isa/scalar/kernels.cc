// The scalar table: the common sources over this folder's vector.
#define CONCLAVE_ISA scalar
// Sums live in arrays of registers; a call that is not inlined puts them in memory.
#define CONCLAVE_INLINE inline

#include <bit>
#include <cstdint>

#include "engine/kernels/cpu/cpu_features.h"
#include "engine/kernels/cpu/isa/isa.h"
#include "engine/quant/half.h"

#include "engine/kernels/cpu/isa/scalar/vec.inl"

#include "engine/kernels/cpu/isa/common/math.inl"

#include "engine/kernels/cpu/isa/common/multiply.inl"

#include "engine/kernels/cpu/isa/common/rows.inl"

#include "engine/kernels/cpu/isa/common/attention.inl"

namespace conclave::engine {

const IsaTable& ScalarTable() {
  static constexpr IsaTable kTable = {
      .name = "scalar",
      .supported = +[] { return true; },
      .multiply = scalar::Multiply,
      .quantize_int8 = scalar::QuantizeInt8,
      .rms_norm = scalar::RmsNorm,
      .layer_norm = scalar::LayerNorm,
      .add = scalar::AddTo,
      .add_scaled = scalar::AddScaled,
      .scale = scalar::Scale,
      .sigmoid = scalar::SigmoidOf,
      .activate = scalar::Activate,
      .activate_mul = scalar::ActivateMul,
      .softmax = scalar::Softmax,
      .largest_by_block = scalar::LargestByBlock,
      .weigh_by_block = scalar::WeighByBlock,
      .rope = scalar::Rope,
      .store_half = scalar::StoreHalves,
      .unpack_keys = scalar::UnpackKeys,
      .attend = scalar::Attend,
  };
  return kTable;
}

}  // namespace conclave::engine
