// The numbers that describe a model, read from metadata and checked against each other before
// anything is allocated. A file is outside input: each refusal names the key.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "engine/weights/source.h"

namespace conclave::engine {

enum class RopeScaling { kNone, kLinear, kYarn };

struct RopeParams {
  int32_t dim = 0;  // leading elements of a head that rotate; even
  double base = 10000.0;
  RopeScaling scaling = RopeScaling::kNone;
  double factor = 1.0;            // how many times longer the context became
  int32_t original_context = 0;   // YaRN only
  double attention_factor = 1.0;  // YaRN only
  double beta_fast = 32.0;        // YaRN only
  double beta_slow = 1.0;         // YaRN only
};

struct HParams {
  std::string architecture;
  int32_t num_layers = 0;
  int32_t context_length = 0;
  int32_t vocab_size = 0;
  int32_t hidden = 0;     // embedding length
  int32_t num_heads = 0;  // a multiple of num_kv_heads
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;     // of queries and keys
  int32_t value_dim = 0;    // of values
  int32_t ffn = 0;          // dense feed-forward length
  int32_t num_experts = 0;  // 0 = dense
  int32_t num_experts_used = 0;
  int32_t expert_ffn = 0;  // feed-forward length of one expert
  bool expert_weights_norm = true;
  float rms_eps = 1e-5f;
  RopeParams rope;
};

// Reads "<architecture>.…". INVALID_ARGUMENT for what is missing, out of range or contradictory.
absl::StatusOr<HParams> ReadHParams(const ModelSource& source, std::string_view architecture);

}  // namespace conclave::engine
