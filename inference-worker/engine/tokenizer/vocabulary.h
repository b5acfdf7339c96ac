// The tokens of a model: texts, types, special ones. What all tokenizers share.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "engine/tokenizer/load.h"
#include "engine/tokenizer/special_tokens.h"
#include "engine/tokenizer/tokenizer.h"

namespace conclave::engine {

// Immutable; thread-safe.
class Vocabulary final {
 public:
  // Takes tokens, types and special ids out of `spec`. INVALID_ARGUMENT names what is wrong.
  static absl::StatusOr<std::unique_ptr<const Vocabulary>> Make(TokenizerSpec* spec);

  int32_t size() const { return static_cast<int32_t>(tokens_.size()); }
  const std::string& text(TokenId id) const { return tokens_[static_cast<size_t>(id)]; }
  TokenType type(TokenId id) const { return types_[static_cast<size_t>(id)]; }
  // -1 when there is no such token.
  TokenId Find(std::string_view text) const;
  // Control tokens, the unknown token, and whatever ends a generation.
  bool IsControl(TokenId id) const { return control_[static_cast<size_t>(id)]; }
  bool IsEndOfGeneration(TokenId id) const { return ends_[static_cast<size_t>(id)]; }

  TokenId bos() const { return bos_; }
  TokenId eos() const { return eos_; }
  TokenId unknown() const { return unknown_; }
  bool adds_bos() const { return adds_bos_; }
  bool adds_eos() const { return adds_eos_; }
  const SpecialTokens& specials() const { return specials_; }

 private:
  Vocabulary() = default;
  absl::Status TakeSpecialIds(const TokenizerSpec& spec);
  void MarkEndOfGeneration(const TokenizerSpec& spec);
  void CollectSpecials();

  std::vector<std::string> tokens_;
  std::vector<TokenType> types_;
  std::vector<bool> control_;
  std::vector<bool> ends_;
  absl::flat_hash_map<std::string_view, TokenId> ids_;  // views into tokens_; the first of equals
  SpecialTokens specials_;
  TokenId bos_ = -1, eos_ = -1, unknown_ = -1;
  bool adds_bos_ = false, adds_eos_ = false;
};

// The part of a tokenizer that is the same for all models: special tokens around and inside the
// text. Subclasses encode the plain text between them.
class VocabularyTokenizer : public Tokenizer {
 public:
  std::vector<TokenId> EncodeTrusted(std::string_view text, std::span<const TextRange> trusted,
                                     bool add_special) const final;
  int32_t vocab_size() const final { return vocabulary_->size(); }
  bool IsControl(TokenId id) const final { return vocabulary_->IsControl(id); }
  bool IsEndOfGeneration(TokenId id) const final { return vocabulary_->IsEndOfGeneration(id); }
  TokenId bos() const final { return vocabulary_->bos(); }
  TokenId eos() const final { return vocabulary_->eos(); }
  TokenId Find(std::string_view text) const override { return vocabulary_->Find(text); }
  bool adds_bos() const final { return vocabulary_->adds_bos(); }

 protected:
  explicit VocabularyTokenizer(std::unique_ptr<const Vocabulary> vocabulary)
      : vocabulary_(std::move(vocabulary)) {}

  // Appends the ids of text without special tokens. `at_start`: the text begins here, or a special
  // token was just before.
  virtual void EncodeText(std::string_view text, bool at_start,
                          std::vector<TokenId>* ids) const = 0;

  const Vocabulary& vocabulary() const { return *vocabulary_; }

 private:
  std::unique_ptr<const Vocabulary> vocabulary_;
};

}  // namespace conclave::engine
