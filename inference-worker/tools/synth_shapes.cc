// The numbers of models: tiny ones for tests, published ones for measurements.
#include <span>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "tools/synth_model.h"

namespace conclave::engine {
namespace {

struct NamedSpec {
  std::string_view name;
  SynthSpec spec;
};

// What the variants of deepseek2 have in common, in what is given of one.
SynthSpec Deepseek(SynthSpec spec) {
  spec.architecture = "deepseek2";
  spec.num_layers = 3;
  spec.num_kv_heads = spec.num_heads;
  spec.head_dim = 48;
  spec.rope_dim = 16;
  spec.latent.kv_rank = 32;
  spec.latent.value_dim = 16;
  spec.num_experts = 16;
  spec.num_experts_used = 4;
  spec.expert_ffn = 32;
  spec.routing.leading_dense = 1;
  spec.routing.num_shared = 2;
  spec.routing.shared_ffn = 64;
  spec.context_length = 2560;
  spec.rms_eps = 1e-6f;
  if (spec.yarn_factor == 0) {
    spec.yarn_factor = 40;
    spec.yarn_original_context = 64;
    spec.yarn_beta_fast = 32;
  }
  return spec;
}

// V3 and R1.
SynthSpec DeepseekV3(SynthExperts layout) {
  return Deepseek({.latent = {.q_rank = 32},
                   .routing = {.gating = 2,
                               .weights_norm = true,
                               .weights_scale = 2.5f,
                               .correction_bias = true,
                               .num_groups = 4,
                               .num_groups_used = 2,
                               .layout = layout},
                   .yarn_log_multiplier = 0.1f});
}

// Every sixth layer sees all.
SynthSpec Gemma3(int32_t num_layers) {
  return {.architecture = "gemma3",
          .num_layers = num_layers,
          .head_dim = 32,
          .rope_base = 1000000,
          .rms_eps = 1e-6f,
          .tied = true,
          .rope_linear_factor = 8,
          .local_rope_base = 10000,
          .sliding_window = 10};
}

// tests/golden/models/tiny_models.py has the same numbers. Windows are shorter than the prompts of
// tests, original contexts of YaRN so short that both ends of its ramp matter.
const NamedSpec kTiny[] = {
    {"llama", {.architecture = "llama"}},
    {"llama3_rope", {.architecture = "llama"}},  // its rope_freqs are in the golden file
    {"mistral", {.architecture = "llama", .sliding_window = 12}},
    {"mixtral",
     {.architecture = "llama", .num_experts = 8, .num_experts_used = 2, .expert_ffn = 96}},
    {"mixtral_apart",
     {.architecture = "llama",
      .num_experts = 8,
      .num_experts_used = 2,
      .expert_ffn = 96,
      .routing = {.layout = SynthExperts::kApart}}},
    {"qwen2", {.architecture = "qwen2"}},
    {"qwen3", {.architecture = "qwen3", .head_dim = 32}},
    {"yarn",
     {.architecture = "qwen3", .head_dim = 32, .yarn_factor = 4, .yarn_original_context = 128}},
    {"qwen2moe",
     {.architecture = "qwen2moe",
      .num_experts = 8,
      .num_experts_used = 2,
      .expert_ffn = 32,
      .routing = {.shared_ffn = 64}}},
    {"qwen3moe",
     {.architecture = "qwen3moe",
      .head_dim = 32,
      .num_experts = 8,
      .num_experts_used = 2,
      .expert_ffn = 32}},
    {"deepseek2", DeepseekV3(SynthExperts::kStacks)},
    {"deepseek2_gate_up", DeepseekV3(SynthExperts::kGateUp)},
    {"deepseek2_kimi",  // Kimi K2: one group
     Deepseek({.rope_base = 50000,
               .yarn_factor = 32,
               .yarn_original_context = 80,
               .latent = {.q_rank = 32},
               .routing = {.gating = 2,
                           .weights_norm = true,
                           .weights_scale = 2.827f,
                           .correction_bias = true,
                           .num_groups = 1,
                           .num_groups_used = 1},
               .yarn_beta_fast = 1,
               .yarn_log_multiplier = 0.1f})},
    {"deepseek2_v2",
     Deepseek({.latent = {.q_rank = 32},
               .routing = {.gating = 1, .weights_scale = 16, .num_groups = 4, .num_groups_used = 2},
               .yarn_log_multiplier = 0.0707f})},
    {"deepseek2_lite",  // V2-Lite
     Deepseek({.routing = {.gating = 1, .weights_scale = 1, .num_groups = 1, .num_groups_used = 1},
               .yarn_log_multiplier = 0.0707f})},
    {"deepseek2_kv_b",  // V2-Lite as older files have it
     Deepseek({.latent = {.whole_kv_b = true},
               .routing = {.weights_scale = 1},
               .yarn_log_multiplier = 0.0707f})},
    {"gpt-oss",
     {.architecture = "gpt-oss",
      .num_layers = 4,
      .num_experts = 8,
      .num_experts_used = 2,
      .expert_ffn = 96,
      .context_length = 8192,
      .rope_base = 150000,
      .yarn_factor = 32,
      .yarn_original_context = 256,
      .yarn_beta_fast = 32,
      .sliding_window = 8}},
    {"glm4moe",  // 4.5-Air
     {.architecture = "glm4moe",
      .num_layers = 3,
      .head_dim = 32,
      .num_experts = 8,
      .num_experts_used = 2,
      .expert_ffn = 32,
      .routing = {.gating = 2,
                  .weights_norm = true,
                  .weights_scale = 1,
                  .correction_bias = true,
                  .num_groups = 1,
                  .num_groups_used = 1,
                  .leading_dense = 1,
                  .num_shared = 1,
                  .shared_ffn = 32},
      .rope_dim = 16,
      .num_nextn = 1}},
    {"glm4moe_qk_norm",  // 4.5
     {.architecture = "glm4moe",
      .num_layers = 3,
      .head_dim = 32,
      .num_experts = 8,
      .num_experts_used = 2,
      .expert_ffn = 32,
      .routing = {.gating = 2,
                  .weights_norm = true,
                  .weights_scale = 2.5f,
                  .correction_bias = true,
                  .num_groups = 1,
                  .num_groups_used = 1,
                  .leading_dense = 1,
                  .num_shared = 1,
                  .shared_ffn = 32},
      .rope_dim = 16,
      .head_norms = true,
      .num_nextn = 1}},
    {"minimax-m2",
     {.architecture = "minimax-m2",
      .head_dim = 32,
      .ffn = 32,
      .num_experts = 8,
      .num_experts_used = 2,
      .expert_ffn = 32,
      .rms_eps = 1e-6f,
      .routing = {.gating = 2, .correction_bias = true},
      .rope_dim = 16}},
    {"bloom", {.architecture = "bloom", .num_kv_heads = 4, .ffn = 256, .tied = true}},
    {"bloom_6_heads",  // no power of two
     {.architecture = "bloom",
      .hidden = 96,
      .num_heads = 6,
      .num_kv_heads = 6,
      .ffn = 384,
      .tied = true}},
    {"gemma3", Gemma3(7)},
    {"gemma3_27b", Gemma3(62)},  // known by its layers: scores are scaled otherwise
};

// The published shapes; types are set by the caller.
const NamedSpec kShapes[] = {
    {"qwen3moe-30b-a3b",
     {.architecture = "qwen3moe",
      .num_layers = 48,
      .hidden = 2048,
      .num_heads = 32,
      .num_kv_heads = 4,
      .head_dim = 128,
      .ffn = 6144,
      .num_experts = 128,
      .num_experts_used = 8,
      .expert_ffn = 768,
      .vocab_size = 151936,
      .context_length = 32768,
      .rope_base = 1000000.0f,
      .rms_eps = 1e-6f,
      .norm_spread = 0}},
    {"llama-1b",
     {.architecture = "llama",
      .num_layers = 16,
      .hidden = 2048,
      .num_heads = 32,
      .num_kv_heads = 8,
      .head_dim = 64,
      .ffn = 8192,
      .vocab_size = 128256,
      .context_length = 32768,
      .rope_base = 500000.0f,
      .rms_eps = 1e-5f,
      .norm_spread = 0}},
    {"qwen3-0.6b",
     {.architecture = "qwen3",
      .num_layers = 28,
      .hidden = 1024,
      .num_heads = 16,
      .num_kv_heads = 8,
      .head_dim = 128,
      .ffn = 3072,
      .vocab_size = 151936,
      .context_length = 32768,
      .rope_base = 1000000.0f,
      .rms_eps = 1e-6f,
      .tied = true,
      .norm_spread = 0}},
    {"deepseek-v2-lite",
     {.architecture = "deepseek2",
      .num_layers = 27,
      .hidden = 2048,
      .num_heads = 16,
      .num_kv_heads = 16,
      .head_dim = 192,
      .ffn = 10944,
      .num_experts = 64,
      .num_experts_used = 6,
      .expert_ffn = 1408,
      .vocab_size = 102400,
      .context_length = 163840,
      .yarn_factor = 40,
      .yarn_original_context = 4096,
      .rms_eps = 1e-6f,
      .norm_spread = 0,
      .latent = {.kv_rank = 512, .value_dim = 128},
      .routing = {.gating = 1,
                  .weights_scale = 1,
                  .num_groups = 1,
                  .num_groups_used = 1,
                  .leading_dense = 1,
                  .num_shared = 2,
                  .shared_ffn = 2816},
      .rope_dim = 64,
      .yarn_beta_fast = 32,
      .yarn_log_multiplier = 0.0707f,
      .fallback = DType::kQ5_0}},  // rows of 10944, 1408 and 128
    {"gpt-oss-20b",
     {.architecture = "gpt-oss",
      .num_layers = 24,
      .hidden = 2880,
      .num_heads = 64,
      .num_kv_heads = 8,
      .head_dim = 64,
      .ffn = 2880,
      .num_experts = 32,
      .num_experts_used = 4,
      .expert_ffn = 2880,
      .vocab_size = 201088,
      .context_length = 131072,
      .rope_base = 150000,
      .yarn_factor = 32,
      .yarn_original_context = 4096,
      .norm_spread = 0,
      .yarn_beta_fast = 32,
      .sliding_window = 128,
      .fallback = DType::kQ8_0}},  // rows of 2880
    {"gpt-oss-120b",
     {.architecture = "gpt-oss",
      .num_layers = 36,
      .hidden = 2880,
      .num_heads = 64,
      .num_kv_heads = 8,
      .head_dim = 64,
      .ffn = 2880,
      .num_experts = 128,
      .num_experts_used = 4,
      .expert_ffn = 2880,
      .vocab_size = 201088,
      .context_length = 131072,
      .rope_base = 150000,
      .yarn_factor = 32,
      .yarn_original_context = 4096,
      .norm_spread = 0,
      .yarn_beta_fast = 32,
      .sliding_window = 128,
      .fallback = DType::kQ8_0}},  // rows of 2880
    {"deepseek-v3",
     {.architecture = "deepseek2",
      .num_layers = 61,
      .hidden = 7168,
      .num_heads = 128,
      .num_kv_heads = 128,
      .head_dim = 192,
      .ffn = 18432,
      .num_experts = 256,
      .num_experts_used = 8,
      .expert_ffn = 2048,
      .vocab_size = 129280,
      .context_length = 163840,
      .yarn_factor = 40,
      .yarn_original_context = 4096,
      .rms_eps = 1e-6f,
      .norm_spread = 0,
      .latent = {.kv_rank = 512, .q_rank = 1536, .value_dim = 128},
      .routing = {.gating = 2,
                  .weights_norm = true,
                  .weights_scale = 2.5f,
                  .correction_bias = true,
                  .num_groups = 8,
                  .num_groups_used = 4,
                  .leading_dense = 3,
                  .num_shared = 1,
                  .shared_ffn = 2048},
      .rope_dim = 64,
      .yarn_beta_fast = 32,
      .yarn_log_multiplier = 0.1f,
      .fallback = DType::kQ5_0}},  // rows of 128
};

absl::StatusOr<SynthSpec> Find(std::span<const NamedSpec> all, std::string_view what,
                               std::string_view name) {
  for (const NamedSpec& one : all) {
    if (one.name == name) return one.spec;
  }
  return base::InvalidArgument(
      absl::StrCat(base::Abs(what), ": \"", base::Abs(name), "\" is not known"));
}

std::vector<std::string> Names(std::span<const NamedSpec> all) {
  std::vector<std::string> names;
  for (const NamedSpec& one : all) names.emplace_back(one.name);
  return names;
}

}  // namespace

absl::StatusOr<SynthSpec> TinySpec(std::string_view name) {
  return Find(kTiny, "architecture", name);
}
std::vector<std::string> TinyNames() { return Names(kTiny); }

SynthSpec Widened(SynthSpec tiny) {
  constexpr int32_t kWidth = 256;
  const bool every_head = tiny.num_kv_heads == tiny.num_heads;
  const bool latent = tiny.latent.kv_rank > 0;
  tiny.hidden = tiny.ffn = kWidth;
  tiny.num_heads = kWidth / (latent ? tiny.latent.value_dim : tiny.head_dim);
  if (every_head) tiny.num_kv_heads = tiny.num_heads;
  if (tiny.num_experts > 0) tiny.expert_ffn = kWidth;
  if (tiny.routing.shared_ffn > 0) {
    tiny.routing.shared_ffn = kWidth * (tiny.routing.num_shared > 1 ? tiny.routing.num_shared : 1);
  }
  if (latent) {
    tiny.latent.kv_rank = kWidth;
    if (tiny.latent.q_rank > 0) tiny.latent.q_rank = kWidth;
    tiny.fallback = DType::kQ8_0;  // attn_k_b, whose rows are a part of a head
  }
  return tiny;
}

absl::StatusOr<SynthSpec> ShapeByName(std::string_view name) {
  return Find(kShapes, "shape", name);
}
std::vector<std::string> ShapeNames() { return Names(kShapes); }

}  // namespace conclave::engine
