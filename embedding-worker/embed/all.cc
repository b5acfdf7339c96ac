// Every architecture of encoders.
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "embed/causal.h"
#include "embed/encoder.h"

namespace conclave::embed {

absl::StatusOr<std::unique_ptr<Encoder>> OpenBert(EncoderFile file, const EncoderOptions& options);
absl::StatusOr<std::unique_ptr<Encoder>> OpenNomicBert(EncoderFile file,
                                                       const EncoderOptions& options);

namespace {

constexpr EncoderKind kAll[] = {
    {"bert", OpenBert},
    {"nomic-bert", OpenNomicBert},
    {"qwen3", OpenCausal},  // Qwen3-Embedding, Qwen3-Reranker
};

}  // namespace

std::span<const EncoderKind> AllEncoders() { return kAll; }

absl::StatusOr<std::unique_ptr<Encoder>> OpenEncoder(const std::string& path,
                                                     const EncoderOptions& options) {
  ASSIGN_OR_RETURN(EncoderFile file, OpenEncoderFile(path));
  ASSIGN_OR_RETURN(const std::string_view name, file.source->Architecture());
  std::string known;
  for (const EncoderKind& kind : kAll) {
    if (kind.architecture == name) return kind.open(std::move(file), options);
    absl::StrAppend(&known, known.empty() ? "" : ", ", base::Abs(kind.architecture));
  }
  return base::Unimplemented(absl::StrCat(path, ": general.architecture: \"", base::Abs(name),
                                          "\" is not known here (", known, ")"));
}

}  // namespace conclave::embed
