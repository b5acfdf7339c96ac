// The config.json of a Hugging Face model, as the metadata a GGUF file of that model would have.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "engine/weights/directory.h"

namespace conclave::engine {

// How the matrices of a checkpoint are stored.
enum class HfQuantization { kNone, kFp8, kGptq, kAwq };

// Llama 3.1's change of the rotation's frequencies.
struct Llama3Rope {
  double factor = 1, low = 1, high = 4;
  int64_t original_context = 8192;
  double base = 10000;
};

// What the weights are bound by; all ranges are checked.
struct HfModel {
  std::string_view architecture;   // general.architecture: "llama", "qwen3moe", …
  bool permutes_qk = false;        // halves of a head rotate there, adjacent elements here
  bool tied = false;               // the embedding table is the output head
  std::string_view expert_prefix;  // "mlp" or "block_sparse_moe"
  std::string_view gate = "gate_proj", up = "up_proj", down = "down_proj";  // of an expert
  int64_t num_layers = 0, hidden = 0, num_heads = 0, num_kv_heads = 0, head_dim = 0;
  int64_t num_experts = 0;
  std::optional<Llama3Rope> llama3;
  HfQuantization quantization = HfQuantization::kNone;
  int64_t group_size = 0;     // of GPTQ and AWQ; -1 = the whole row
  int64_t fp8_block[2] = {};  // rows and columns under one scale
  bool gptq_v2 = false;       // zero points are stored as they are, not less one
};

// Adds to `metadata`. Messages begin with the field. UNIMPLEMENTED for a model_type, an activation,
// a scaling of positions or a quantisation that is not known.
absl::StatusOr<HfModel> ReadHfConfig(const base::JsonValue& config, DirectorySource* metadata);

}  // namespace conclave::engine
