// From a model file to a tokenizer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/tokenizer/tokenizer.h"

namespace conclave::engine {

class ModelSource;  // weights/source.h

// How a vocabulary entry behaves; the numbers are those of GGUF's tokenizer.ggml.token_type.
enum class TokenType : int32_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

// All a tokenizer is made of, whatever file it came from.
struct TokenizerSpec {
  std::string model;                // "gpt2" (byte-level BPE), "llama" (SPM) or "bert" (WordPiece)
  std::string pre;                  // of gpt2: "llama-bpe", "qwen2", …; see pretokenize.cc
  std::vector<std::string> tokens;  // by id
  std::vector<int32_t> types;       // TokenType by id; empty = all normal
  std::vector<float> scores;        // by id; llama only
  std::vector<std::string> merges;  // "left right", best first; gpt2 only
  TokenId bos = -1;                 // CLS of bert
  TokenId eos = -1;                 // SEP of bert
  TokenId unknown = -1;
  std::vector<TokenId> end_of_generation;  // besides eos and the well-known names
  bool add_bos = false;
  bool add_eos = false;
  bool add_space_prefix = false;  // llama only
  bool ignore_merges = false;     // gpt2: a word that is a token is not cut up
  bool lower_case = true;         // bert only, with accents stripped
  // bert only: what marks pieces that begin a word ("▁"), or, if empty, those that go on with one.
  std::string word_prefix;
  std::string continuation_prefix = "##";
};

// INVALID_ARGUMENT names the key and the entry that is wrong; UNIMPLEMENTED an unknown model or
// pre-tokeniser.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(TokenizerSpec spec);

// From GGUF metadata (tokenizer.ggml.*).
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const ModelSource& source);

// From the files of a Hugging Face model: the text of a tokenizer.json, or of a vocab.txt
// (WordPiece, one token per line).
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizerJson(std::string_view json);
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadVocabTxt(std::string_view text, bool lower_case);

}  // namespace conclave::engine
