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
  // What Encode puts around a text.
  const std::vector<TokenId>& prefix() const { return prefix_; }
  const std::vector<TokenId>& suffix() const { return suffix_; }
  bool adds_bos() const { return bos_ >= 0 && !prefix_.empty() && prefix_.front() == bos_; }
  // The tokens found in the text as it is given; and, in a text that is trusted in part only, also
  // those that would be looked for in the normalised text: where trust begins and ends is known of
  // the given text alone.
  const SpecialTokens& specials() const { return specials_; }
  const SpecialTokens& specials_in_mixed_text() const { return mixed_specials_; }
  // Tokens that only trusted text may produce.
  bool IsGuarded(TokenId id) const;

 private:
  Vocabulary() = default;
  absl::Status TakeSpecialIds(const TokenizerSpec& spec);
  void MarkEndOfGeneration(const TokenizerSpec& spec);
  void CollectSpecials(const TokenizerSpec& spec);
  absl::Status TakePrefixAndSuffix(const TokenizerSpec& spec);

  std::vector<std::string> tokens_;
  std::vector<TokenType> types_;
  std::vector<bool> control_;
  std::vector<bool> ends_;
  absl::flat_hash_map<std::string_view, TokenId> ids_;  // views into tokens_; the first of equals
  SpecialTokens specials_, mixed_specials_;
  TokenId bos_ = -1, eos_ = -1, unknown_ = -1;
  std::vector<TokenId> prefix_, suffix_;
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

  struct Place {
    bool at_start = true;  // the text begins here, or a special token was just before
    bool is_first = true;  // the text begins here
    bool trusted = false;  // all of the text is trusted
  };
  // Appends the ids of text without special tokens.
  virtual void EncodeText(std::string_view text, const Place& place,
                          std::vector<TokenId>* ids) const = 0;

  const Vocabulary& vocabulary() const { return *vocabulary_; }

 private:
  std::unique_ptr<const Vocabulary> vocabulary_;
};

}  // namespace conclave::engine
