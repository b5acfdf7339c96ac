// LoadTokenizerJson and LoadVocabTxt: the tokenizer files of Hugging Face models as a
// TokenizerSpec. Regular expressions in a tokenizer.json are not run: they are recognised, whole,
// as those of a family we have matchers for.
#include <cstddef>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/strings.h"
#include "engine/tokenizer/load.h"

namespace conclave::engine {
namespace {

using base::JsonValue;

constexpr int64_t kTokensMax = 1 << 22;

// The cutting rules of a tokenizer.json, one after the other, and the family they are.
struct KnownRules {
  std::string_view rules;  // joined by newlines
  std::string_view family;
};
constexpr KnownRules kKnownRules[] = {
    {"gpt2", "gpt-2"},
    {"digits\ngpt2", "starcoder"},
    {"punctuation\ngpt2\n[0-9][0-9][0-9]", "falcon"},
    {"punctuation\ngpt2\ndigit runs\n[0-9][0-9][0-9]", "falcon"},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "llama-bpe"},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "qwen2"},
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "gpt-4o"},
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "tekken"},
    {R"(\p{N}{1,3})"
     "\n[一-龥぀-ゟ゠-ヿ]+\n"
     R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "deepseek-v3"},
};

std::string TypeOf(const JsonValue& value) {
  const auto type = value.Get("type").AsString();
  return type.ok() ? *type : "";
}

bool IsTrue(const JsonValue& value) {
  const auto flag = value.OptionalBool();
  return flag.ok() && flag->value_or(false);
}

absl::Status AppendRule(const JsonValue& step, std::string* rules) {
  const std::string type = TypeOf(step);
  std::string rule;
  if (type == "Split") {
    ASSIGN_OR_RETURN(rule, step.Get("pattern").Get("Regex").AsString());
  } else if (type == "ByteLevel") {
    if (IsTrue(step.Get("use_regex"))) rule = "gpt2";
  } else if (type == "Digits") {
    rule = IsTrue(step.Get("individual_digits")) ? "digits" : "digit runs";
  } else if (type == "Punctuation") {
    rule = "punctuation";
  } else {
    return base::Unimplemented("tokenizer.json: pre_tokenizer of type \"" + type.substr(0, 64) +
                               "\"");
  }
  if (!rule.empty()) *rules += (rules->empty() ? "" : "\n") + rule;
  return absl::OkStatus();
}

absl::StatusOr<std::string> FamilyOfRules(const JsonValue& pre_tokenizer) {
  std::string rules;
  if (TypeOf(pre_tokenizer) == "Sequence") {
    const JsonValue steps = pre_tokenizer.Get("pretokenizers");
    for (size_t i = 0; i < steps.size(); ++i) RETURN_IF_ERROR(AppendRule(steps.At(i), &rules));
  } else {
    RETURN_IF_ERROR(AppendRule(pre_tokenizer, &rules));
  }
  for (const KnownRules& known : kKnownRules) {
    if (known.rules == rules) return std::string(known.family);
  }
  return base::Unimplemented("tokenizer.json: pre_tokenizer: no family cuts text by these rules");
}

void PutToken(std::string_view text, int64_t id, TokenType type, TokenizerSpec* spec) {
  const auto at = static_cast<size_t>(id);
  if (at >= spec->tokens.size()) {
    spec->tokens.resize(at + 1);
    spec->types.resize(at + 1, static_cast<int32_t>(TokenType::kUnused));
  }
  spec->tokens[at] = text;
  spec->types[at] = static_cast<int32_t>(type);
}

absl::Status ReadVocab(const JsonValue& vocab, TokenizerSpec* spec) {
  RETURN_IF_ERROR(vocab.ExpectObject());
  absl::Status status;
  const auto ids_max = static_cast<int64_t>(2 * vocab.size() + 4096);
  vocab.ForEachMember([&](std::string_view text, const JsonValue& value) {
    if (!status.ok()) return;
    const auto id = value.AsInt(0, std::min(kTokensMax - 1, ids_max));
    if (id.ok()) {
      PutToken(text, *id, TokenType::kNormal, spec);
    } else {
      status = id.status();
    }
  });
  return status;
}

absl::Status ReadAddedTokens(const JsonValue& added, TokenizerSpec* spec) {
  for (size_t i = 0; i < added.size(); ++i) {
    const JsonValue token = added.At(i);
    const auto ids_max = static_cast<int64_t>(2 * spec->tokens.size() + 65536);
    ASSIGN_OR_RETURN(const int64_t id, token.Get("id").AsInt(0, std::min(kTokensMax - 1, ids_max)));
    ASSIGN_OR_RETURN(const std::string text, token.Get("content").AsString());
    const TokenType type =
        IsTrue(token.Get("special")) ? TokenType::kControl : TokenType::kUserDefined;
    PutToken(text, id, type, spec);
  }
  return absl::OkStatus();
}

absl::Status ReadMerges(const JsonValue& merges, TokenizerSpec* spec) {
  RETURN_IF_ERROR(merges.ExpectArray());
  spec->merges.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const JsonValue merge = merges.At(i);
    if (merge.is_array()) {
      if (merge.size() != 2) return merge.Error("expected two tokens");
      ASSIGN_OR_RETURN(std::string left, merge.At(0).AsString());
      ASSIGN_OR_RETURN(const std::string right, merge.At(1).AsString());
      spec->merges.push_back(std::move(left) + " " + right);
    } else {
      ASSIGN_OR_RETURN(std::string both, merge.AsString());
      spec->merges.push_back(std::move(both));
    }
  }
  return absl::OkStatus();
}

TokenId FindToken(const TokenizerSpec& spec, std::string_view text) {
  for (size_t i = 0; i < spec.tokens.size(); ++i) {
    if (spec.tokens[i] == text) return static_cast<TokenId>(i);
  }
  return -1;
}

// The special tokens a template puts around the text. The one in front is BOS, the last one EOS.
absl::Status ReadTemplate(const JsonValue& processor, TokenizerSpec* spec) {
  if (TypeOf(processor) == "Sequence") {
    const JsonValue steps = processor.Get("processors");
    for (size_t i = 0; i < steps.size(); ++i) RETURN_IF_ERROR(ReadTemplate(steps.At(i), spec));
    return absl::OkStatus();
  }
  if (TypeOf(processor) == "BertProcessing") {
    for (const std::string_view key : {"cls", "sep"}) {
      const JsonValue pair = processor.Get(key);
      if (pair.size() == 0 || !pair.is_array()) return pair.Error("expected a token and its id");
      ASSIGN_OR_RETURN(const std::string text, pair.At(0).AsString());
      (key == "cls" ? spec->bos : spec->eos) = FindToken(*spec, text);
    }
    spec->add_bos = spec->add_eos = true;
    return absl::OkStatus();
  }
  if (TypeOf(processor) != "TemplateProcessing") return absl::OkStatus();
  const JsonValue parts = processor.Get("single");
  for (size_t i = 0; i < parts.size(); ++i) {
    const JsonValue special = parts.At(i).Get("SpecialToken");
    if (!special.present()) continue;
    ASSIGN_OR_RETURN(const std::string text, special.Get("id").AsString());
    (i == 0 ? spec->bos : spec->eos) = FindToken(*spec, text);
    (i == 0 ? spec->add_bos : spec->add_eos) = true;
  }
  return absl::OkStatus();
}

// BERT's normalizer, alone or inside a sequence: whether it lower-cases.
bool LowerCases(const JsonValue& normalizer) {
  if (TypeOf(normalizer) == "Sequence") {
    const JsonValue steps = normalizer.Get("normalizers");
    for (size_t i = 0; i < steps.size(); ++i) {
      if (LowerCases(steps.At(i))) return true;
    }
    return false;
  }
  return TypeOf(normalizer) == "Lowercase" || IsTrue(normalizer.Get("lowercase"));
}

absl::Status ReadModel(const JsonValue& root, TokenizerSpec* spec) {
  const JsonValue model = root.Get("model");
  const std::string type = TypeOf(model);
  RETURN_IF_ERROR(ReadVocab(model.Get("vocab"), spec));
  RETURN_IF_ERROR(ReadAddedTokens(root.Get("added_tokens"), spec));
  ASSIGN_OR_RETURN(const auto unknown, model.Get("unk_token").OptionalString());
  if (unknown.has_value()) spec->unknown = FindToken(*spec, *unknown);
  if (type == "WordPiece") {
    spec->model = "bert";
    spec->lower_case = LowerCases(root.Get("normalizer"));
    ASSIGN_OR_RETURN(const auto prefix, model.Get("continuing_subword_prefix").OptionalString());
    spec->continuation_prefix = prefix.value_or("##");
    return absl::OkStatus();
  }
  if (type == "BPE" && !IsTrue(model.Get("byte_fallback"))) {
    spec->model = "gpt2";
    spec->ignore_merges = IsTrue(model.Get("ignore_merges"));
    ASSIGN_OR_RETURN(spec->pre, FamilyOfRules(root.Get("pre_tokenizer")));
    return ReadMerges(model.Get("merges"), spec);
  }
  return base::Unimplemented("tokenizer.json: model of type \"" + type.substr(0, 64) + "\"");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizerJson(std::string_view json) {
  base::JsonLimits limits;
  limits.members_max = kTokensMax;
  limits.values_max = 4 * kTokensMax;
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(json, limits));
  TokenizerSpec spec;
  RETURN_IF_ERROR(ReadModel(document.root(), &spec));
  RETURN_IF_ERROR(ReadTemplate(document.root().Get("post_processor"), &spec));
  return MakeTokenizer(std::move(spec));
}

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadVocabTxt(std::string_view text, bool lower_case) {
  TokenizerSpec spec;
  spec.model = "bert";
  spec.lower_case = lower_case;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    const bool special = line == "[PAD]" || line == "[UNK]" || line == "[CLS]" || line == "[SEP]" ||
                         line == "[MASK]";
    spec.tokens.emplace_back(line);
    spec.types.push_back(static_cast<int32_t>(special ? TokenType::kControl : TokenType::kNormal));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  spec.bos = FindToken(spec, "[CLS]");
  spec.eos = FindToken(spec, "[SEP]");
  spec.unknown = FindToken(spec, "[UNK]");
  spec.add_bos = spec.add_eos = true;
  if (spec.bos < 0 || spec.eos < 0 || spec.unknown < 0) {
    return base::InvalidArgument("vocab.txt: needs [UNK], [CLS] and [SEP]");
  }
  return MakeTokenizer(std::move(spec));
}

}  // namespace conclave::engine
