// From a model file to a tokenizer.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
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

// A token that is looked for in the text itself, before a model cuts the rest (added_tokens of a
// tokenizer.json).
struct AddedToken {
  TokenId id = -1;
  bool single_word = false;  // not where a letter, digit or mark touches it
  bool lstrip = false;       // takes the spaces in front with it
  bool rstrip = false;       // and those behind
  bool normalized = false;   // looked for in the normalised text, itself normalised
};

// All a tokenizer is made of, whatever file it came from.
struct TokenizerSpec {
  // "gpt2" (byte-level BPE), "llama" (SPM), "bert" (WordPiece) or "t5" (Unigram).
  std::string model;
  std::string pre;                  // of gpt2: "llama-bpe", "qwen2", …; see pretokenize.cc
  std::vector<std::string> tokens;  // by id
  std::vector<int32_t> types;       // TokenType by id; empty = all normal
  std::vector<float> scores;        // by id; llama and t5 only
  std::vector<std::string> merges;  // "left right", best first; gpt2 only
  TokenId bos = -1;                 // CLS of bert
  TokenId eos = -1;                 // SEP of bert
  TokenId unknown = -1;
  std::vector<TokenId> end_of_generation;  // besides eos and the well-known names
  bool add_bos = false;
  bool add_eos = false;
  bool add_space_prefix = false;      // llama and t5 only
  bool ignore_merges = false;         // gpt2: a word that is a token is not cut up
  bool lower_case = true;             // bert only
  std::optional<bool> strip_accents;  // bert only; absent = with lower_case
  // bert only: what marks pieces that begin a word ("▁"), or, if empty, those that go on with one.
  std::string word_prefix;
  std::string continuation_prefix = "##";
  std::string charsmap;                  // t5 only: precompiled_charsmap
  bool remove_extra_whitespaces = true;  // t5 only
  // The tokens found in text; absent = all that are control or user-defined by type.
  std::optional<std::vector<AddedToken>> added;
  // What goes around a text instead of BOS and EOS; both or none.
  std::optional<std::vector<TokenId>> prefix, suffix;
};

// INVALID_ARGUMENT names the key and the entry that is wrong; UNIMPLEMENTED an unknown model or
// pre-tokeniser.
absl::StatusOr<std::unique_ptr<Tokenizer>> MakeTokenizer(TokenizerSpec spec);

// From metadata: tokenizer.ggml.*, or the whole of a tokenizer.json in tokenizer.huggingface.json,
// whose special tokens those keys then correct.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const ModelSource& source);

// What the files beside a tokenizer.json say of its tokens; -1 and absent = nothing.
struct SpecialTokenIds {
  TokenId bos = -1;
  TokenId eos = -1;
  std::string bos_text, eos_text;  // before the ids; empty = nothing
  std::vector<TokenId> end_of_generation;
  std::optional<bool> add_bos, add_eos;  // instead of what the file's post_processor says
};

// From the files of a Hugging Face model: the text of a tokenizer.json, or of a vocab.txt
// (WordPiece, one token per line). INVALID_ARGUMENT and UNIMPLEMENTED name the JSON path.
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizerJson(std::string_view json,
                                                             const SpecialTokenIds& special = {});
absl::StatusOr<std::unique_ptr<Tokenizer>> LoadVocabTxt(std::string_view text, bool lower_case);

}  // namespace conclave::engine
