// BERT (Devlin et al., 2018), exact GELU as Hugging Face's BertModel has it, and what shares its
// graph: RoBERTa and XLM-RoBERTa, whose files have the rows of the padding positions cut off.
#include "embed/post_norm.h"

namespace conclave::embed {

absl::StatusOr<std::unique_ptr<Encoder>> OpenBert(EncoderFile file, const EncoderOptions& options) {
  return OpenPostNorm({.architecture = "bert", .positions = true, .biases = true}, std::move(file),
                      options);
}

}  // namespace conclave::embed
