// The array of architectures. A file in this folder exports one Open function; its row is here.
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "engine/models/architecture.h"

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Model>> OpenBloom(const Loading& load);
absl::StatusOr<std::unique_ptr<Model>> OpenDeepseek2(const Loading& load);
absl::StatusOr<std::unique_ptr<Model>> OpenGemma3(const Loading& load);
absl::StatusOr<std::unique_ptr<Model>> OpenGlm4Moe(const Loading& load);
absl::StatusOr<std::unique_ptr<Model>> OpenGptOss(const Loading& load);
absl::StatusOr<std::unique_ptr<Model>> OpenLlama(const Loading& load);
absl::StatusOr<std::unique_ptr<Model>> OpenMinimaxM2(const Loading& load);
absl::StatusOr<std::unique_ptr<Model>> OpenQwen2(const Loading& load);
absl::StatusOr<std::unique_ptr<Model>> OpenQwen2Moe(const Loading& load);
absl::StatusOr<std::unique_ptr<Model>> OpenQwen3(const Loading& load);
absl::StatusOr<std::unique_ptr<Model>> OpenQwen3Moe(const Loading& load);

namespace {

constexpr Architecture kArchitectures[] = {
    {"bloom", OpenBloom},          {"deepseek2", OpenDeepseek2}, {"gemma3", OpenGemma3},
    {"glm4moe", OpenGlm4Moe},      {"gpt-oss", OpenGptOss},      {"llama", OpenLlama},
    {"minimax-m2", OpenMinimaxM2}, {"qwen2", OpenQwen2},         {"qwen2moe", OpenQwen2Moe},
    {"qwen3", OpenQwen3},          {"qwen3moe", OpenQwen3Moe},
};

}  // namespace

std::span<const Architecture> AllArchitectures() { return kArchitectures; }

absl::StatusOr<std::unique_ptr<Model>> OpenModel(const ModelSource& source, Kernels& kernels,
                                                 Numerics numerics) {
  ASSIGN_OR_RETURN(const std::string_view name, source.Architecture());
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.name != name) continue;
    Binder binder(source);
    return architecture.open({.binder = binder, .kernels = kernels, .numerics = numerics});
  }
  std::string known;
  for (const Architecture& architecture : kArchitectures) {
    absl::StrAppend(&known, known.empty() ? "" : ", ", base::Abs(architecture.name));
  }
  return base::Unimplemented(absl::StrCat(base::Abs(source.path()), ": general.architecture: \"",
                                          base::Abs(name), "\" is not known (", known, ")"));
}

}  // namespace conclave::engine
