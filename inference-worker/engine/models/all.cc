// The array of architectures. A file in this folder exports one Open function; its row is here.
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "engine/models/architecture.h"

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Model>> OpenLlama(Binder& binder, Kernels& kernels);
absl::StatusOr<std::unique_ptr<Model>> OpenQwen2(Binder& binder, Kernels& kernels);
absl::StatusOr<std::unique_ptr<Model>> OpenQwen3(Binder& binder, Kernels& kernels);
absl::StatusOr<std::unique_ptr<Model>> OpenQwen3Moe(Binder& binder, Kernels& kernels);

namespace {

constexpr Architecture kArchitectures[] = {
    {"llama", OpenLlama},
    {"qwen2", OpenQwen2},
    {"qwen3", OpenQwen3},
    {"qwen3moe", OpenQwen3Moe},
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
