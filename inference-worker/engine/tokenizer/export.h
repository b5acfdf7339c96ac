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
  std::string model;  // "gpt2", "llama", "t5" or "bert"
  std::string pre;    // of gpt2
  std::vector<std::string> tokens;
  std::vector<int32_t> types;  // TokenType
  std::vector<std::string> merges;
  std::vector<float> scores;                     // of llama, merges by rank; of t5
  std::string charsmap;                          // of t5
  bool remove_extra_whitespaces = false;         // t5
  bool lower_case = true, strip_accents = true;  // bert
  TokenId bos = -1, eos = -1, eot = -1, unknown = -1;
  bool add_bos = false, add_eos = false, add_space_prefix = false;
  std::string note;  // what GGUF cannot say, where text may get other ids for it; empty = nothing
};

// Of a source with tokenizer.huggingface.json. UNIMPLEMENTED names what GGUF has no words for:
// cutting rules of no known family, a normaliser that changes more than NFC does.
absl::StatusOr<ExportedVocabulary> ExportVocabulary(const ModelSource& source);

}  // namespace conclave::engine
