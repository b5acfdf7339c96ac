// The array of architectures. A file in this folder exports one Open function; its row is here.
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "engine/models/architecture.h"

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Model>> OpenBloom(Binder& binder, Kernels& kernels);
absl::StatusOr<std::unique_ptr<Model>> OpenDeepseek2(Binder& binder, Kernels& kernels);
absl::StatusOr<std::unique_ptr<Model>> OpenGemma3(Binder& binder, Kernels& kernels);
absl::StatusOr<std::unique_ptr<Model>> OpenGlm4Moe(Binder& binder, Kernels& kernels);
absl::StatusOr<std::unique_ptr<Model>> OpenGptOss(Binder& binder, Kernels& kernels);
absl::StatusOr<std::unique_ptr<Model>> OpenLlama(Binder& binder, Kernels& kernels);
absl::StatusOr<std::unique_ptr<Model>> OpenMinimaxM2(Binder& binder, Kernels& kernels);
absl::StatusOr<std::unique_ptr<Model>> OpenQwen2(Binder& binder, Kernels& kernels);
absl::StatusOr<std::unique_ptr<Model>> OpenQwen2Moe(Binder& binder, Kernels& kernels);
absl::StatusOr<std::unique_ptr<Model>> OpenQwen3(Binder& binder, Kernels& kernels);
absl::StatusOr<std::unique_ptr<Model>> OpenQwen3Moe(Binder& binder, Kernels& kernels);

namespace {

constexpr Architecture kArchitectures[] = {
    {"bloom", OpenBloom},          {"deepseek2", OpenDeepseek2}, {"gemma3", OpenGemma3},
    {"glm4moe", OpenGlm4Moe},      {"gpt-oss", OpenGptOss},      {"llama", OpenLlama},
    {"minimax-m2", OpenMinimaxM2}, {"qwen2", OpenQwen2},         {"qwen2moe", OpenQwen2Moe},
    {"qwen3", OpenQwen3},          {"qwen3moe", OpenQwen3Moe},
};

}  // namespace

std::span<const Architecture> AllArchitectures() { return kArchitectures; }

absl::StatusOr<std::unique_ptr<Model>> OpenModel(const ModelSource& source, Kernels& kernels) {
  ASSIGN_OR_RETURN(const std::string_view name, source.Architecture());
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.name != name) continue;
    Binder binder(source);
    return architecture.open(binder, kernels);
  }
  std::string known;
  for (const Architecture& architecture : kArchitectures) {
    absl::StrAppend(&known, known.empty() ? "" : ", ", base::Abs(architecture.name));
  }
  return base::Unimplemented(absl::StrCat(base::Abs(source.path()), ": general.architecture: \"",
                                          base::Abs(name), "\" is not known (", known, ")"));
}

}  // namespace conclave::engine
