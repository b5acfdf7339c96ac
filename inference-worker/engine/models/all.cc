// The array of architectures. A file in this folder exports one Open function; its row is here.
#include <cstdio>
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

// Tensors that change nothing here: tables of rotations, which keys say as well, and the heads of
// classifiers, which whoever scores by them binds.
bool IsIdle(std::string_view name) {
  return name.starts_with("rope_f") || name.starts_with("cls.") ||
         name.find(".attn_rot_embd.") != std::string_view::npos;
}

// A weight that nobody asked for (a bias, most often) would have changed what the model computes.
absl::Status CheckLeftovers(const Binder& binder, int32_t num_layers) {
  for (const std::string& name : binder.Leftovers()) {
    int32_t layer = -1;
    const bool runs =
        std::sscanf(name.c_str(), "blk.%d.", &layer) != 1 || (layer >= 0 && layer < num_layers);
    if (!runs || IsIdle(name)) continue;
    return base::Unimplemented(absl::StrCat(base::Abs(binder.source().path()), ": ", name,
                                            ": a tensor this architecture does not have"));
  }
  return absl::OkStatus();
}

}  // namespace

std::span<const Architecture> AllArchitectures() { return kArchitectures; }

absl::StatusOr<std::unique_ptr<Model>> OpenModel(const ModelSource& source, Kernels& kernels,
                                                 Numerics numerics) {
  ASSIGN_OR_RETURN(const std::string_view name, source.Architecture());
  for (const Architecture& architecture : kArchitectures) {
    if (architecture.name != name) continue;
    Binder binder(source);
    ASSIGN_OR_RETURN(
        std::unique_ptr<Model> model,
        architecture.open({.binder = binder, .kernels = kernels, .numerics = numerics}));
    RETURN_IF_ERROR(CheckLeftovers(binder, model->hparams().num_layers));
    return model;
  }
  std::string known;
  for (const Architecture& architecture : kArchitectures) {
    absl::StrAppend(&known, known.empty() ? "" : ", ", base::Abs(architecture.name));
  }
  return base::Unimplemented(absl::StrCat(base::Abs(source.path()), ": general.architecture: \"",
                                          base::Abs(name), "\" is not known (", known, ")"));
}

}  // namespace conclave::engine
