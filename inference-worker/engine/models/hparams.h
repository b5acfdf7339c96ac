// The numbers that describe a model, read from metadata and checked against each other before
// anything is allocated. A file is outside input: each refusal names the key.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/kernels/types.h"
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
  bool truncate = true;           // YaRN only: the ramp begins and ends at whole pairs
  // YaRN only: 0.1 · mscale_all_dim of DeepSeek's files. Not 0: it is the scores that grow with the
  // context, not the cosines.
  double log_multiplier = 0.0;
};

// How a mixture chooses and weighs its experts (RouterArgs of the kernels).
struct RouterParams {
  RouterScore score = RouterScore::kSoftmax;
  int32_t num_groups = 1;
  int32_t num_groups_used = 1;
  bool renormalize = true;
  double scale = 1.0;
};

// What a file need not say, because the architecture does.
struct HParamDefaults {
  RouterScore router_score = RouterScore::kSoftmax;
  bool router_renormalize = true;
  // Of so many layers the last sees everything, the others slide; 1 = none slides, 0 = all do.
  int32_t window_pattern = 1;
};

struct HParams {
  std::string architecture;
  int32_t num_layers = 0;  // without those that predict further tokens (nextn_predict_layers)
  int32_t context_length = 0;
  int32_t vocab_size = 0;
  int32_t hidden = 0;     // embedding length
  int32_t num_heads = 0;  // a multiple of num_kv_heads
  int32_t num_kv_heads = 0;
  int32_t head_dim = 0;      // of queries and keys
  int32_t value_dim = 0;     // of values
  double score_scale = 0;    // of attention scores; usually 1/sqrt(head_dim)
  int32_t window = 0;        // tokens that sliding layers see; 0 = none slides
  std::vector<bool> slides;  // per layer
  // Multi-head latent attention: keys and values come out of `kv_lora` numbers per token, queries
  // out of `q_lora` (0: straight from hidden). kv_lora = 0: other attention.
  int32_t kv_lora = 0;
  int32_t q_lora = 0;
  int32_t ffn = 0;          // dense feed-forward length
  int32_t num_experts = 0;  // 0 = dense
  int32_t num_experts_used = 0;
  int32_t expert_ffn = 0;        // feed-forward length of one expert
  int32_t shared_ffn = 0;        // of the experts that every token goes to, together; 0 = none
  int32_t num_dense_layers = 0;  // so many first layers are no mixtures
  RouterParams router;
  float norm_eps = 1e-5f;
  RopeParams rope;

  bool is_moe(int32_t layer) const { return num_experts > 0 && layer >= num_dense_layers; }
};

// Reads "<architecture>.…". INVALID_ARGUMENT for what is missing, out of range or contradictory,
// UNIMPLEMENTED for what is not known.
absl::StatusOr<HParams> ReadHParams(const ModelSource& source, std::string_view architecture,
                                    const HParamDefaults& defaults = {});

// The same for an architecture that is always a mixture: without expert_count the file is refused.
absl::StatusOr<HParams> ReadMoeHParams(const ModelSource& source, std::string_view architecture,
                                       const HParamDefaults& defaults = {});

}  // namespace conclave::engine
