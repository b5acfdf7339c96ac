// The element types a model file may hold. Values below 1000 are GGUF's type ids; the rest are
// those safetensors has and GGUF has not. Knowing a type's size is knowing how much of a file it
// takes; what its bytes mean is quant/'s business.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace conclave::engine {

enum class DType : uint32_t {
  kF32 = 0,
  kF16 = 1,
  kQ4_0 = 2,
  kQ4_1 = 3,
  kQ5_0 = 6,
  kQ5_1 = 7,
  kQ8_0 = 8,
  kQ8_1 = 9,
  kQ2_K = 10,
  kQ3_K = 11,
  kQ4_K = 12,
  kQ5_K = 13,
  kQ6_K = 14,
  kQ8_K = 15,
  kIQ2_XXS = 16,
  kIQ2_XS = 17,
  kIQ3_XXS = 18,
  kIQ1_S = 19,
  kIQ4_NL = 20,
  kIQ3_S = 21,
  kIQ2_S = 22,
  kIQ4_XS = 23,
  kI8 = 24,
  kI16 = 25,
  kI32 = 26,
  kI64 = 27,
  kF64 = 28,
  kIQ1_M = 29,
  kBF16 = 30,
  kTQ1_0 = 34,
  kTQ2_0 = 35,
  kMXFP4 = 39,
  kBool = 1000,
  kU8 = 1001,
  kU16 = 1002,
  kU32 = 1003,
  kU64 = 1004,
  kF8_E4M3 = 1005,
  kF8_E5M2 = 1006,
};

// Elements come in blocks that cannot be split: `block_elements` of them take `block_bytes`.
struct DTypeInfo {
  DType dtype;
  std::string_view name;  // "Q4_K"
  int32_t block_elements;
  int32_t block_bytes;
};

// Every type of the enumeration, once.
std::span<const DTypeInfo> AllDTypes();

// The facts of a known type.
const DTypeInfo& InfoOf(DType dtype);
inline std::string_view NameOf(DType dtype) { return InfoOf(dtype).name; }

// What a GGUF type id stands for; nullopt for one this build does not know (they are refused).
std::optional<DType> DTypeFromGguf(uint32_t type_id);

}  // namespace conclave::engine
