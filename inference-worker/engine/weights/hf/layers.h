// The quantised linear layers of checkpoints as matrices [out][in] in types GGUF has. What is exact
// in such a type stays exact; anything else is rounded once, to the type the reference rounds to.
#pragma once

#include <cstdint>

#include "base/status.h"
#include "engine/tensor/tensor_view.h"
#include "engine/weights/hf/tensor.h"

namespace conclave::engine {

// Messages of these begin with the part: "scales: expected [2][32], found …".

// e4m3 with a scale per block of rows and columns (0 = all there are); as bf16, to which the
// reference rounds too.
absl::StatusOr<HfTensor> Fp8Matrix(const TensorView& weight, const TensorView& scales,
                                   const int64_t block[2]);

struct Int4Tensors {
  TensorView weights, zeros, scales;
  TensorView groups;  // g_idx of GPTQ; empty = in order
};
// GPTQ: eight weights of a column in a word. Q4_0, exactly, where all zero points are 8 and groups
// hold whole blocks in order; else fp16.
absl::StatusOr<HfTensor> GptqMatrix(const Int4Tensors& tensors, int64_t group_size, bool v2);
// AWQ: eight columns in a word, in the order 0 2 4 6 1 3 5 7. As fp16, to which the reference
// rounds too.
absl::StatusOr<HfTensor> AwqMatrix(const Int4Tensors& tensors, int64_t group_size);

// compressed-tensors, "pack-quantized": eight weights of a row in a word, each more 8; a scale per
// group of a row and no zero points. Q4_0, exactly, where groups hold whole blocks and every scale
// is an fp16 number (all are looked at); else bf16.
struct PackedTensors {
  TensorView packed, scales;
  TensorView shape;  // [2] integers: out, in
};
absl::StatusOr<HfTensor> PackedMatrix(const PackedTensors& tensors, int64_t group_size);

// gpt-oss: [experts][rows][blocks][16] bytes, elements 2j and 2j + 1 in byte j, and a power of two
// per block. MXFP4, exactly: the same codes in the order j, j + 16.
absl::StatusOr<HfTensor> Mxfp4Stack(const TensorView& blocks, const TensorView& scales);

}  // namespace conclave::engine
