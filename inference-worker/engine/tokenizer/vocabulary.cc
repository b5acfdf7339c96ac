#include "engine/tokenizer/vocabulary.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/strings.h"

namespace conclave::engine {
namespace {

constexpr size_t kTokensMax = 1u << 22;
constexpr size_t kTokenBytesMax = 64u << 10;

// Texts that end a generation in the families we know, whatever the file's type column says.
constexpr std::string_view kEndOfGenerationTexts[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "< EOT >",
    "_<EOT>",
    "<EOT>",
    "<|EOT|>",
    "<|return|>",
    "<|call|>",
    "<eos>",
    "<|END_OF_TURN_TOKEN|>",
    "<｜end▁of▁sentence｜>",
};

// "<think>", "[INST]", "<｜tool▁calls▁begin｜>": tokens that structure a conversation even where
// the file calls them user-defined. Runs of spaces, letters and the like are not.
bool LooksLikeMarkup(std::string_view text) {
  if (text.size() < 3) return false;
  return (text.front() == '<' && text.back() == '>') || (text.front() == '[' && text.back() == ']');
}

absl::Status CheckTokens(const TokenizerSpec& spec) {
  if (spec.tokens.empty()) return base::InvalidArgument("tokenizer.ggml.tokens: empty");
  if (spec.tokens.size() > kTokensMax) {
    return base::InvalidArgument(absl::StrCat("tokenizer.ggml.tokens: ", spec.tokens.size(),
                                              " entries, at most ", kTokensMax));
  }
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    if (spec.tokens[i].size() > kTokenBytesMax) {
      return base::InvalidArgument(
          absl::StrCat("tokenizer.ggml.tokens[", i, "]: longer than ", kTokenBytesMax, " bytes"));
    }
  }
  if (!spec.types.empty() && spec.types.size() != spec.tokens.size()) {
    return base::InvalidArgument(absl::StrCat("tokenizer.ggml.token_type: ", spec.types.size(),
                                              " entries for ", spec.tokens.size(), " tokens"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Vocabulary>> Vocabulary::Make(TokenizerSpec* spec) {
  RETURN_IF_ERROR(CheckTokens(*spec));
  std::unique_ptr<Vocabulary> made(new Vocabulary());
  made->tokens_ = std::move(spec->tokens);
  const size_t count = made->tokens_.size();
  made->types_.assign(count, TokenType::kNormal);
  for (size_t i = 0; i < spec->types.size(); ++i) {
    const int32_t type = spec->types[i];
    if (type >= 1 && type <= 6) made->types_[i] = static_cast<TokenType>(type);
  }
  made->ids_.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    made->ids_.try_emplace(made->tokens_[i], static_cast<TokenId>(i));
  }
  made->control_.resize(count);
  for (size_t i = 0; i < count; ++i) {
    made->control_[i] =
        made->types_[i] == TokenType::kControl || made->types_[i] == TokenType::kUnknown;
  }
  RETURN_IF_ERROR(made->TakeSpecialIds(*spec));
  RETURN_IF_ERROR(made->TakePrefixAndSuffix(*spec));
  made->MarkEndOfGeneration(*spec);
  made->CollectSpecials(*spec);
  return made;
}

TokenId Vocabulary::Find(std::string_view text) const {
  const auto found = ids_.find(text);
  return found == ids_.end() ? -1 : found->second;
}

absl::Status Vocabulary::TakeSpecialIds(const TokenizerSpec& spec) {
  const auto take = [&](TokenId id, std::string_view key, TokenId* into) -> absl::Status {
    if (id < -1 || id >= size()) {
      return base::InvalidArgument(absl::StrCat("tokenizer.ggml.", base::Abs(key), ": ", id,
                                                " is not one of ", size(), " tokens"));
    }
    *into = id;
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(take(spec.bos, "bos_token_id", &bos_));
  RETURN_IF_ERROR(take(spec.eos, "eos_token_id", &eos_));
  RETURN_IF_ERROR(take(spec.unknown, "unknown_token_id", &unknown_));
  TokenId ignored = -1;
  for (const TokenId id : spec.end_of_generation) {
    RETURN_IF_ERROR(take(id, "eot_token_id", &ignored));
  }
  return absl::OkStatus();
}

absl::Status Vocabulary::TakePrefixAndSuffix(const TokenizerSpec& spec) {
  if (spec.add_bos && bos_ >= 0) prefix_ = {bos_};
  if (spec.add_eos && eos_ >= 0) suffix_ = {eos_};
  if (spec.prefix.has_value()) prefix_ = *spec.prefix;
  if (spec.suffix.has_value()) suffix_ = *spec.suffix;
  for (const auto* around : {&prefix_, &suffix_}) {
    for (const TokenId id : *around) {
      if (id < 0 || id >= size()) {
        return base::InvalidArgument(
            absl::StrCat("post_processor: ", id, " is not one of ", size(), " tokens"));
      }
    }
  }
  return absl::OkStatus();
}

void Vocabulary::MarkEndOfGeneration(const TokenizerSpec& spec) {
  ends_.resize(tokens_.size());
  const auto mark = [&](TokenId id) {
    if (id < 0) return;
    ends_[static_cast<size_t>(id)] = true;
    control_[static_cast<size_t>(id)] = true;
  };
  mark(eos_);
  for (const TokenId id : spec.end_of_generation) mark(id);
  for (const std::string_view text : kEndOfGenerationTexts) {
    const TokenId id = Find(text);
    // An ordinary token may happen to look like one; only the file's special ones count.
    if (id >= 0 && type(id) != TokenType::kNormal && type(id) != TokenType::kByte) mark(id);
  }
  // Harmony (gpt-oss) ends each channel with <|end|> and goes on; only these two end the turn.
  const TokenId end = Find("<|end|>");
  if (end >= 0 && Find("<|return|>") >= 0 && Find("<|call|>") >= 0 && end != eos_) {
    ends_[static_cast<size_t>(end)] = false;
  }
  if (bos_ >= 0) control_[static_cast<size_t>(bos_)] = true;
}

bool Vocabulary::IsGuarded(TokenId id) const { return IsControl(id) || LooksLikeMarkup(text(id)); }

void Vocabulary::CollectSpecials(const TokenizerSpec& spec) {
  if (spec.added.has_value()) {
    for (const AddedToken& added : *spec.added) {
      const SpecialToken token{.id = added.id,
                               .guarded = IsGuarded(added.id),
                               .single_word = added.single_word,
                               .lstrip = added.lstrip,
                               .rstrip = added.rstrip};
      if (!added.normalized) specials_.Add(text(added.id), token);
      if (!added.normalized || token.guarded) mixed_specials_.Add(text(added.id), token);
    }
    return;
  }
  for (TokenId id = 0; id < size(); ++id) {
    const bool user_defined = type(id) == TokenType::kUserDefined;
    if (!IsControl(id) && !user_defined) continue;
    specials_.Add(text(id), {.id = id, .guarded = IsGuarded(id)});
  }
  mixed_specials_ = specials_;
}

std::vector<TokenId> VocabularyTokenizer::EncodeTrusted(std::string_view text,
                                                        std::span<const TextRange> trusted,
                                                        bool add_special) const {
  std::vector<TokenId> ids;
  if (add_special) ids = vocabulary_->prefix();
  size_t trusted_end = 0;  // of what is trusted without a gap from the beginning on
  for (const TextRange& range : trusted) {
    if (range.begin <= trusted_end) trusted_end = std::max(trusted_end, range.end);
  }
  Place place{.trusted = trusted_end >= text.size()};
  const SpecialTokens& specials =
      place.trusted ? vocabulary_->specials() : vocabulary_->specials_in_mixed_text();
  for (const TextPiece& piece : specials.Cut(text, trusted)) {
    if (piece.id >= 0) {
      ids.push_back(piece.id);
    } else {
      place.is_first = piece.begin == 0;
      EncodeText(text.substr(piece.begin, piece.end - piece.begin), place, &ids);
    }
    place.at_start = piece.id >= 0;
  }
  if (add_special) {
    ids.insert(ids.end(), vocabulary_->suffix().begin(), vocabulary_->suffix().end());
  }
  return ids;
}

}  // namespace conclave::engine
