// The values of made-up tensors: functions of (seed, tensor name, index).
#pragma once

#include <cstdint>
#include <string_view>

#include "engine/tensor/dtype.h"
#include "engine/weights/gguf_writer.h"

namespace conclave::engine {

// Whether values of this type can be made up.
bool CanMakeUp(DType dtype);

uint64_t TensorSeed(uint64_t seed, std::string_view name);

// value(i) = base + scale · u(i) for floats, u uniform in [-1, 1); blocks of that deviation around
// 0 for quants. Rows are `cols` values long.
GgufWriter::RowFiller MakeFiller(uint64_t tensor_seed, DType dtype, int64_t cols, float base,
                                 float scale);

}  // namespace conclave::engine
