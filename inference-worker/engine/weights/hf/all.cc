// The array of families. A file in this folder defines one or a few; their rows are here.
#include <string>

#include "engine/weights/hf/family.h"

namespace conclave::engine {

extern const HfFamily kHfLlama, kHfMistral, kHfMixtral, kHfQwen2, kHfQwen2Moe, kHfQwen3,
    kHfQwen3Moe, kHfDeepseek2, kHfDeepseek3, kHfGptOss, kHfGlm4Moe, kHfGlm4MoeLite, kHfMinimaxM2,
    kHfGemma3, kHfBloom, kHfBert, kHfRoberta, kHfNomicBert;

namespace {

constexpr const HfFamily* kFamilies[] = {
    &kHfLlama,        // llama.cc
    &kHfMistral,      // llama.cc
    &kHfMixtral,      // llama.cc
    &kHfQwen2,        // qwen.cc
    &kHfQwen2Moe,     // qwen.cc
    &kHfQwen3,        // qwen.cc
    &kHfQwen3Moe,     // qwen.cc
    &kHfDeepseek2,    // deepseek.cc
    &kHfDeepseek3,    // deepseek.cc
    &kHfGlm4MoeLite,  // deepseek.cc
    &kHfGlm4Moe,      // glm4_moe.cc
    &kHfGptOss,       // gpt_oss.cc
    &kHfMinimaxM2,    // minimax_m2.cc
    &kHfGemma3,       // gemma3.cc
    &kHfBloom,        // bloom.cc
    &kHfBert,         // encoders.cc
    &kHfRoberta,      // encoders.cc
    &kHfNomicBert,    // encoders.cc
};

}  // namespace

std::span<const HfFamily* const> AllHfFamilies() { return kFamilies; }

absl::StatusOr<const HfFamily*> FindHfFamily(const base::JsonValue& config) {
  ASSIGN_OR_RETURN(const std::string type, config.Get("model_type").AsString());
  std::string known;
  for (const HfFamily* family : kFamilies) {
    for (const std::string_view name : family->model_types) {
      if (name == type) return family;
      known += (known.empty() ? "" : ", ") + std::string(name);
    }
  }
  return base::Unimplemented("model_type: \"" + type.substr(0, 64) + "\" is not known (" + known +
                             ")");
}

}  // namespace conclave::engine
