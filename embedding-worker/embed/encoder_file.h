// The files of an embedding model, opened: a GGUF file, or a folder as Hugging Face and
// sentence-transformers lay it out, which then looks like the GGUF file of the same model.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "embed/pooling.h"
#include "engine/request.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/weights/source.h"

namespace conclave::embed {

using engine::TokenId;

// What goes around a text, and between the two of a pair: prefix text suffix; prefix text middle
// text suffix. Some rerankers want a pair in words instead, which the template's pieces are.
struct TextFrame {
  std::vector<TokenId> prefix, middle, suffix;
  struct Template {
    std::string head, middle;     // before the query, before the document
    std::vector<TokenId> suffix;  // begins with a special token
  };
  std::optional<Template> pair_template;

  int32_t size() const { return static_cast<int32_t>(prefix.size() + suffix.size()); }
};

struct EncoderFile {
  std::shared_ptr<const engine::ModelSource> source;
  std::unique_ptr<engine::Tokenizer> tokenizer;
  TextFrame frame;
  std::string format;              // "gguf", "safetensors"
  std::optional<Pooling> pooling;  // absent = as most of its architecture are
  int32_t tokens_max = 0;          // 0 = the model's context
};

// Errors as of OpenEncoder.
absl::StatusOr<EncoderFile> OpenEncoderFile(const std::string& path);

}  // namespace conclave::embed
