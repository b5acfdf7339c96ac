#include "engine/options.h"

#include "absl/strings/str_cat.h"

namespace conclave::engine {
namespace {

absl::Status Within(const char* field, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return base::InvalidArgument(
      absl::StrCat(field, ": ", value, " is outside [", min, ", ", max, "]"));
}

}  // namespace

absl::Status EngineOptions::Validate() const {
  RETURN_IF_ERROR(Within("num_threads", num_threads, 0, 1024));
  RETURN_IF_ERROR(Within("context_length", context_length, 0, 1 << 24));
  RETURN_IF_ERROR(Within("max_sequences", max_sequences, 1, 4096));
  RETURN_IF_ERROR(Within("max_queued", max_queued, 1, 1 << 20));
  RETURN_IF_ERROR(Within("step_token_budget", step_token_budget, 16, 1 << 16));
  RETURN_IF_ERROR(Within("kv_bytes", kv_bytes, 0, int64_t{1} << 50));
  RETURN_IF_ERROR(Within("vram_budget", vram_budget, 0, int64_t{1} << 50));
  RETURN_IF_ERROR(Within("gpu_experts", gpu_experts, -1, 1 << 20));
  if (kv_type != "f16" && kv_type != "f32") {
    return base::InvalidArgument(absl::StrCat("kv_type: \"", kv_type, "\" is neither f16 nor f32"));
  }
  if (numerics != "exact" && numerics != "fast") {
    return base::InvalidArgument(
        absl::StrCat("numerics: \"", numerics, "\" is neither exact nor fast"));
  }
  RETURN_IF_ERROR(Within("expert_half_life", expert_half_life, 64, 1 << 24));
  if (!expert_placement.empty() && expert_placement != "static" && expert_placement != "dynamic") {
    return base::InvalidArgument(
        absl::StrCat("expert_placement: \"", expert_placement, "\" is neither static nor dynamic"));
  }
  if (expert_placement == "dynamic" && numerics == "exact") {
    return base::InvalidArgument(
        "expert_placement: dynamic moves last bits of answers while they run, which numerics exact "
        "rules out; set numerics to fast as well");
  }
  if (!device.empty() && device != "auto" && device != "cpu" && device != "cuda") {
    return base::InvalidArgument(
        absl::StrCat("device: \"", device, "\" is none of auto, cpu, cuda"));
  }
  if (!isa.empty() && isa != "scalar" && isa != "avx2" && isa != "avx512") {
    return base::InvalidArgument(
        absl::StrCat("isa: \"", isa, "\" is none of scalar, avx2, avx512"));
  }
  return absl::OkStatus();
}

}  // namespace conclave::engine
