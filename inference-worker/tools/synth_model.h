// Models with random weights, for tests and measurements: the right names, shapes, types and
// metadata of an architecture around numbers that mean nothing.
//
// Every value is a function of (seed, tensor name, index) alone, simple enough to be written again
// in another language: tests/golden/models/regenerate.py does, so that goldens need no weight
// files.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/tensor/dtype.h"
#include "engine/weights/gguf_writer.h"

namespace conclave::engine {

// Multi-head latent attention (deepseek2). Heads are head_dim wide, of which the last rope_dim
// rotate.
struct SynthLatent {
  int32_t kv_rank = 0;  // 0 = no latent attention
  int32_t q_rank = 0;   // 0 = queries straight from the hidden state
  int32_t value_dim = 0;
  bool whole_kv_b = false;  // attn_kv_b as in older files, instead of attn_k_b and attn_v_b
};

// How the matrices of a layer's experts lie in a file: one stack for each of gate, up and down; a
// tensor for each expert, as in the first Mixtral files; or gate and up of an expert in one.
enum class SynthExperts { kStacks, kApart, kGateUp };

// What there is to experts besides their number; 0 and false are not written.
struct SynthRouting {
  int32_t gating = 0;  // expert_gating_func: 1 softmax, 2 sigmoid
  bool weights_norm = false;
  float weights_scale = 0;
  bool correction_bias = false;
  int32_t num_groups = 0;
  int32_t num_groups_used = 0;
  int32_t leading_dense = 0;  // layers without experts before those with
  int32_t num_shared = 0;     // expert_shared_count
  int32_t shared_ffn = 0;     // of all shared experts together
  SynthExperts layout = SynthExperts::kStacks;
  double zipf = 0;  // > 0: some experts are chosen more often than others (synth_routing.h)
};

struct SynthSpec {
  std::string architecture = "llama";  // as general.architecture has it
  int32_t num_layers = 2;
  int32_t hidden = 64;
  int32_t num_heads = 4;
  int32_t num_kv_heads = 2;
  int32_t head_dim = 16;    // of queries and keys
  int32_t ffn = 96;         // dense feed-forward length
  int32_t num_experts = 0;  // 0 = dense
  int32_t num_experts_used = 0;
  int32_t expert_ffn = 0;
  int32_t vocab_size = 128;
  int32_t context_length = 512;
  float rope_base = 10000.0f;
  std::vector<float> rope_freqs;  // rope_freqs.weight; empty = none
  float yarn_factor = 0;          // 0 = no YaRN
  int32_t yarn_original_context = 0;
  float rms_eps = 1e-5f;        // of whichever norm the architecture has
  bool tied = false;            // no output.weight
  DType weights = DType::kF32;  // of attention and dense feed-forward
  DType experts = DType::kF32;
  DType embedding = DType::kF32;
  DType head = DType::kF32;
  float norm_spread = 0.25f;  // norm weights are 1 ± this
  uint64_t seed = 1;
  bool no_vocab = true;  // say that there is none; false where the caller writes one

  // For the architectures that have them.
  SynthLatent latent = {};
  SynthRouting routing = {};
  int32_t rope_dim = 0;           // elements of a head that rotate; 0 = all
  float yarn_beta_fast = 0;       // 0 = not written
  float yarn_log_multiplier = 0;  // a tenth of mscale_all_dim
  float rope_linear_factor = 0;   // of layers without a window
  float local_rope_base = 0;      // of layers with one; 0 = rope_base
  int32_t sliding_window = 0;
  bool head_norms = false;  // glm4moe: norms of query and key heads
  int32_t num_nextn = 0;    // glm4moe: blocks after the last layer that predict further tokens
  // Of matrices whose rows are no multiple of their type's block. Without it they are refused.
  std::optional<DType> fallback = std::nullopt;
};

// A tiny instance, for tests: an architecture ("deepseek2") or a variant of one ("deepseek2_lite").
// INVALID_ARGUMENT for one this cannot make.
absl::StatusOr<SynthSpec> TinySpec(std::string_view name);
std::vector<std::string> TinyNames();
// The same with rows of 256, which every type's blocks divide.
SynthSpec Widened(SynthSpec tiny);
// Large shapes by name: "qwen3moe-30b-a3b", "llama-1b", …
absl::StatusOr<SynthSpec> ShapeByName(std::string_view name);
std::vector<std::string> ShapeNames();

// INVALID_ARGUMENT for an architecture or type this cannot make. Rows are computed while the writer
// writes, so a model may be larger than memory.
absl::StatusOr<GgufWriter> MakeSynthModel(const SynthSpec& spec);

}  // namespace conclave::engine
