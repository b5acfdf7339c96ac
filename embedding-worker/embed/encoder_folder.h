// A Hugging Face folder of an embedding model: config.json, safetensors, the tokenizer, and what
// sentence-transformers adds (modules.json, 1_Pooling/config.json, sentence_bert_config.json).
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "embed/encoder_file.h"

namespace conclave::embed {

// All of the file but its frame. Errors as of OpenEncoder.
absl::StatusOr<EncoderFile> OpenEncoderFolder(const std::string& path);

// Whether the model_type of a config.json is one of an encoder; others are the engine's decoders.
bool IsEncoderType(std::string_view model_type);

// Gives the checkpoint the keys and names of a GGUF file of the same model (encoder_names.cc).
// Tensors are those of `raw`, which the result keeps. Messages begin with the field or the tensor.
absl::StatusOr<std::shared_ptr<const engine::ModelSource>> NameEncoderTensors(
    const base::JsonValue& config, const std::string& tokenizer_json,
    std::shared_ptr<const engine::ModelSource> raw);

}  // namespace conclave::embed
