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
  made->MarkEndOfGeneration(*spec);
  made->CollectSpecials();
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
  adds_bos_ = spec.add_bos && bos_ >= 0;
  adds_eos_ = spec.add_eos && eos_ >= 0;
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

void Vocabulary::CollectSpecials() {
  for (TokenId id = 0; id < size(); ++id) {
    const bool user_defined = type(id) == TokenType::kUserDefined;
    if (!IsControl(id) && !user_defined) continue;
    specials_.Add(text(id), id, IsControl(id) || LooksLikeMarkup(text(id)));
  }
}

std::vector<TokenId> VocabularyTokenizer::EncodeTrusted(std::string_view text,
                                                        std::span<const TextRange> trusted,
                                                        bool add_special) const {
  std::vector<TokenId> ids;
  if (add_special && vocabulary_->adds_bos()) ids.push_back(bos());
  bool at_start = true;
  for (const TextPiece& piece : vocabulary_->specials().Cut(text, trusted)) {
    if (piece.id >= 0) {
      ids.push_back(piece.id);
    } else {
      EncodeText(text.substr(piece.begin, piece.end - piece.begin), at_start, &ids);
    }
    at_start = piece.id >= 0;
  }
  if (add_special && vocabulary_->adds_eos()) ids.push_back(eos());
  return ids;
}

}  // namespace conclave::engine
