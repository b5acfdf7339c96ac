// A Hugging Face folder of an embedding model: what engine/weights/hf_folder.h makes of it, and
// what sentence-transformers says of the length of texts.
#pragma once

#include <string>

#include "base/status.h"
#include "embed/encoder_file.h"

namespace conclave::embed {

// Source, tokenizer and tokens_max. Errors as of OpenEncoder.
absl::StatusOr<EncoderFile> OpenEncoderFolder(const std::string& path);

}  // namespace conclave::embed
