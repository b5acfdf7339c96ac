// Models with random weights, for tests and measurements: the right names, shapes, types and
// metadata of an architecture around numbers that mean nothing.
//
// Every value is a function of (seed, tensor name, index) alone, simple enough to be written again
// in another language: tests/golden/models/regenerate.py does, so that goldens need no weight
// files.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/tensor/dtype.h"
#include "engine/weights/gguf_writer.h"

namespace conclave::engine {

struct SynthSpec {
  std::string architecture = "llama";  // llama, qwen2, qwen3, qwen3moe
  int32_t num_layers = 2;
  int32_t hidden = 64;
  int32_t num_heads = 4;
  int32_t num_kv_heads = 2;
  int32_t head_dim = 16;
  int32_t ffn = 96;         // dense feed-forward length
  int32_t num_experts = 0;  // qwen3moe only
  int32_t num_experts_used = 0;
  int32_t expert_ffn = 0;
  int32_t vocab_size = 128;
  int32_t context_length = 512;
  float rope_base = 10000.0f;
  std::vector<float> rope_freqs;  // rope_freqs.weight; empty = none
  float yarn_factor = 0;          // 0 = no YaRN
  int32_t yarn_original_context = 0;
  float rms_eps = 1e-5f;
  bool tied = false;            // no output.weight
  DType weights = DType::kF32;  // of attention and dense feed-forward
  DType experts = DType::kF32;
  DType embedding = DType::kF32;
  DType head = DType::kF32;
  float norm_spread = 0.25f;  // norm weights are 1 ± this
  uint64_t seed = 1;
  bool no_vocab = true;  // say that there is none; false where the caller writes one
};

// A tiny instance of the architecture, for tests. INVALID_ARGUMENT for one this cannot make.
absl::StatusOr<SynthSpec> TinySpec(std::string_view architecture);
// Large shapes by name: "qwen3moe-30b-a3b", "llama-1b", "qwen3-0.6b".
absl::StatusOr<SynthSpec> ShapeByName(std::string_view name);
std::vector<std::string> ShapeNames();

// INVALID_ARGUMENT for an architecture or type this cannot make. Rows are computed while the writer
// writes, so a model may be larger than memory.
absl::StatusOr<GgufWriter> MakeSynthModel(const SynthSpec& spec);

}  // namespace conclave::engine
