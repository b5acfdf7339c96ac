// A tokenizer.json as the keys a GGUF file has for it, where such a file can say the same.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "engine/request.h"

namespace conclave::engine {

class ModelSource;  // weights/source.h

struct ExportedVocabulary {
  std::string model;  // "gpt2" or "llama"
  std::string pre;    // of gpt2
  std::vector<std::string> tokens;
  std::vector<int32_t> types;  // TokenType
  std::vector<std::string> merges;
  std::vector<float> scores;  // of llama: merges by rank
  TokenId bos = -1, eos = -1, eot = -1, unknown = -1;
  bool add_bos = false, add_eos = false, add_space_prefix = false;
};

// Of a source with tokenizer.huggingface.json. UNIMPLEMENTED for a tokenizer GGUF has no words for:
// cutting rules of no known family, or a model that is not BPE.
absl::StatusOr<ExportedVocabulary> ExportVocabulary(const ModelSource& source);

}  // namespace conclave::engine
