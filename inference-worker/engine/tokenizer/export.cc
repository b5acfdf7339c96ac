#include "engine/tokenizer/export.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/escaping.h"
#include "base/json.h"
#include "base/strings.h"
#include "engine/tokenizer/load.h"
#include "engine/weights/source.h"

namespace conclave::engine {
namespace {

using base::JsonValue;

constexpr std::string_view kSpace = "▁";  // U+2581

// The expressions by which text is cut, one after the other, and tokenizer.ggml.pre for them.
struct NamedRules {
  std::string_view rules;  // joined by newlines
  std::string_view pre;
};
constexpr NamedRules kRules[] = {
    {"gpt-2", "gpt-2"},
    {"digits\ngpt-2", "starcoder"},
    {"punctuation\ngpt-2\ndigit runs\n[0-9][0-9][0-9]", "falcon"},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "llama-bpe"},  // "smaug-bpe" where words are merged even if they are tokens
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "qwen2"},
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "gpt-4o"},
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "tekken"},
    {R"([\p{Han}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "kimi-k2"},
    {"[\r\n]\n"
     R"(\s?\p{L}+)"
     "\n"
     R"(\s?\p{P}+)"
     "\n[一-龥ࠀ-一가-퟿]+\ndigits",
     "deepseek-coder"},
    {R"(\p{N}{1,3})"
     "\n[一-龥぀-ゟ゠-ヿ]+\n"
     R"([!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     "deepseek-v3"},
};

std::string Text(const JsonValue& value) {
  const auto text = value.AsString();
  return text.ok() ? *text : std::string();
}
bool Flag(const JsonValue& value, bool fallback) {
  const auto flag = value.OptionalBool();
  return flag.ok() ? flag->value_or(fallback) : fallback;
}

absl::Status NoWord(const JsonValue& value, std::string_view what) {
  return base::Unimplemented("tokenizer.json: " + value.path() + ": GGUF has no word for " +
                             std::string(what));
}

// A step, or those of a sequence, one after the other.
std::vector<JsonValue> StepsOf(const JsonValue& step) {
  if (step.missing()) return {};
  if (Text(step.Get("type")) != "Sequence") return {step};
  std::vector<JsonValue> all;
  for (const char* list : {"normalizers", "pretokenizers"}) {
    for (size_t i = 0; i < step.Get(list).size(); ++i) {
      for (const JsonValue& inner : StepsOf(step.Get(list).At(i))) all.push_back(inner);
    }
  }
  return all;
}
bool HasStep(const JsonValue& step, std::string_view type) {
  const std::vector<JsonValue> steps = StepsOf(step);
  return std::any_of(steps.begin(), steps.end(),
                     [&](const JsonValue& s) { return Text(s.Get("type")) == type; });
}

bool IsByteToken(const std::string& text) {
  return text.size() == 6 && text.starts_with("<0x") && text.ends_with('>');
}

void SetType(ExportedVocabulary* out, TokenId id, TokenType type) {
  if (id >= 0) out->types[static_cast<size_t>(id)] = static_cast<int32_t>(type);
}

// --- byte-level BPE -----------------------------------------------------------------------------

absl::StatusOr<std::string> PreOf(const JsonValue& pre_tokenizer, bool ignores_merges) {
  std::string rules;
  for (const JsonValue& step : StepsOf(pre_tokenizer)) {
    const std::string type = Text(step.Get("type"));
    std::string rule = type;
    if (type == "Split") rule = Text(step.Get("pattern").Get("Regex"));
    if (type == "Digits") {
      rule = Flag(step.Get("individual_digits"), false) ? "digits" : "digit runs";
    }
    if (type == "Punctuation") rule = "punctuation";
    if (type == "ByteLevel") {
      rule = Flag(step.Get("use_regex"), true) ? "gpt-2" : "";
      if (Flag(step.Get("add_prefix_space"), true)) {
        return NoWord(step.Get("add_prefix_space"), "a space before the text");
      }
    }
    if (!rule.empty()) rules += (rules.empty() ? "" : "\n") + rule;
  }
  for (const NamedRules& known : kRules) {
    if (known.rules != rules) continue;
    const bool merges = known.pre == "llama-bpe" && !ignores_merges;
    return std::string(merges ? "smaug-bpe" : known.pre);
  }
  return NoWord(pre_tokenizer, "these rules");
}

absl::Status ReadMerges(const JsonValue& merges, ExportedVocabulary* out) {
  RETURN_IF_ERROR(merges.ExpectArray());
  for (size_t i = 0; i < merges.size(); ++i) {
    const JsonValue merge = merges.At(i);
    if (!merge.is_array()) {
      ASSIGN_OR_RETURN(std::string both, merge.AsString());
      out->merges.push_back(std::move(both));
      continue;
    }
    ASSIGN_OR_RETURN(const std::string left, merge.At(0).AsString());
    ASSIGN_OR_RETURN(const std::string right, merge.At(1).AsString());
    if (left.find(' ') != std::string::npos || right.find(' ') != std::string::npos) {
      return NoWord(merge, "a merge of spaces");
    }
    out->merges.push_back(left + " " + right);
  }
  return absl::OkStatus();
}

absl::Status ExportByteLevel(const JsonValue& root, ExportedVocabulary* out) {
  for (const JsonValue& step : StepsOf(root.Get("normalizer"))) {
    const std::string type = Text(step.Get("type"));
    if (type != "NFC") return NoWord(step, "normalizer \"" + type.substr(0, 64) + "\"");
    out->note = "text that is not in NFC gets other ids than from tokenizer.json";
  }
  const bool ignores_merges = Flag(root.Get("model").Get("ignore_merges"), false);
  ASSIGN_OR_RETURN(out->pre, PreOf(root.Get("pre_tokenizer"), ignores_merges));
  if (out->pre == "falcon") {
    out->note = "bytes that are spelt as digits are cut off words by tokenizer.json alone";
  }
  return ReadMerges(root.Get("model").Get("merges"), out);
}

// --- BPE over characters, as sentencepiece has it -----------------------------------------------

// SPM merges the best-scored union first: the rank of the first merge that gives a token is its
// score, negated.
void ScoreByRank(ExportedVocabulary* out) {
  absl::flat_hash_map<std::string, float> scores;
  for (size_t rank = 0; rank < out->merges.size(); ++rank) {
    std::string merged = out->merges[rank];
    merged.erase(merged.find(' '), 1);
    scores.try_emplace(std::move(merged), -static_cast<float>(rank));
  }
  for (const std::string& token : out->tokens) {
    const auto found = scores.find(token);
    out->scores.push_back(found == scores.end() ? -1e9f : found->second);
  }
  out->merges.clear();
}

// Spaces become "▁", and there may be one before the text: said by the normalizer or, in newer
// files, the pre_tokenizer.
absl::Status ReadSpaces(const JsonValue& root, ExportedVocabulary* out) {
  bool replaces = false;
  for (const JsonValue& step : StepsOf(root.Get("normalizer"))) {
    const std::string type = Text(step.Get("type"));
    const bool space =
        Text(step.Get("pattern").Get("String")) == " " && Text(step.Get("content")) == kSpace;
    if (type == "Prepend" && Text(step.Get("prepend")) == kSpace) {
      out->add_space_prefix = true;
    } else if (type == "Replace" && space) {
      replaces = true;
    } else {
      return NoWord(step, "normalizer \"" + type.substr(0, 64) + "\"");
    }
  }
  for (const JsonValue& step : StepsOf(root.Get("pre_tokenizer"))) {
    const std::string type = Text(step.Get("type"));
    if (type == "Metaspace") {
      const std::string scheme = Text(step.Get("prepend_scheme"));
      const bool before =
          scheme.empty() ? Flag(step.Get("add_prefix_space"), true) : scheme != "never";
      out->add_space_prefix = out->add_space_prefix || before;
      replaces = true;
    } else if (type != "Split" || Text(step.Get("pattern").Get("String")) != " ") {
      // A split at spaces splits nothing once they are replaced.
      return NoWord(step, "pre_tokenizer \"" + type.substr(0, 64) + "\"");
    }
  }
  return replaces ? absl::OkStatus() : NoWord(root.Get("normalizer"), "spaces left as they are");
}

absl::Status ExportCharacters(const JsonValue& root, ExportedVocabulary* out) {
  const JsonValue model = root.Get("model");
  if (!Flag(model.Get("byte_fallback"), false)) {
    return NoWord(model.Get("byte_fallback"), "characters without bytes to fall back to");
  }
  RETURN_IF_ERROR(ReadSpaces(root, out));
  RETURN_IF_ERROR(ReadMerges(model.Get("merges"), out));
  ScoreByRank(out);
  return absl::OkStatus();
}

// --- Unigram ------------------------------------------------------------------------------------

// What sentencepiece does to text: a character map, spaces to "▁", one before the text. Runs of
// spaces are one where words are split at white space first.
absl::Status ExportUnigram(const JsonValue& root, ExportedVocabulary* out) {
  for (const JsonValue& step : StepsOf(root.Get("normalizer"))) {
    const std::string type = Text(step.Get("type"));
    const JsonValue map = step.Get("precompiled_charsmap");
    if (type != "Precompiled" || !out->charsmap.empty()) {
      return NoWord(step, "normalizer \"" + type.substr(0, 64) + "\"");
    }
    if (!absl::Base64Unescape(Text(map), &out->charsmap)) return map.Error("expected base64");
    out->note = "characters are mapped as sentencepiece maps them, the longest match first";
  }
  bool replaces = false;
  for (const JsonValue& step : StepsOf(root.Get("pre_tokenizer"))) {
    const std::string type = Text(step.Get("type"));
    const std::string scheme = Text(step.Get("prepend_scheme"));
    if (type == "WhitespaceSplit" && !replaces) {
      out->remove_extra_whitespaces = true;
    } else if (type == "Metaspace" && (scheme.empty() || scheme == "always")) {
      replaces = out->add_space_prefix = true;
    } else {
      return NoWord(step, "pre_tokenizer \"" + type.substr(0, 64) + "\"");
    }
  }
  if (!replaces) return NoWord(root.Get("pre_tokenizer"), "words without Metaspace");
  const JsonValue vocabulary = root.Get("model").Get("vocab");
  out->scores.assign(out->tokens.size(), 0);
  for (size_t i = 0; i < vocabulary.size(); ++i) {
    ASSIGN_OR_RETURN(const double score, vocabulary.At(i).At(1).AsNumber());
    out->scores[i] = static_cast<float>(score);
  }
  return absl::OkStatus();
}

// --- WordPiece ----------------------------------------------------------------------------------

// Pieces that begin a word have "▁" in front, the others nothing.
absl::Status ExportWordPiece(const JsonValue& root, ExportedVocabulary* out) {
  const JsonValue normalizer = root.Get("normalizer");
  const bool usual = Text(normalizer.Get("type")) == "BertNormalizer" &&
                     Flag(normalizer.Get("clean_text"), true) &&
                     Flag(normalizer.Get("handle_chinese_chars"), true);
  if (!usual) return NoWord(normalizer, "anything but BERT's");
  out->lower_case = Flag(normalizer.Get("lowercase"), true);
  out->strip_accents = Flag(normalizer.Get("strip_accents"), out->lower_case);
  if (Text(root.Get("pre_tokenizer").Get("type")) != "BertPreTokenizer") {
    return NoWord(root.Get("pre_tokenizer"), "anything but BERT's");
  }
  const JsonValue prefix = root.Get("model").Get("continuing_subword_prefix");
  if (!prefix.missing() && Text(prefix) != "##") return NoWord(prefix, "anything but \"##\"");
  for (size_t i = 0; i < out->tokens.size(); ++i) {
    if (out->types[i] != static_cast<int32_t>(TokenType::kNormal)) continue;
    std::string& token = out->tokens[i];
    token = token.starts_with("##") ? token.substr(2) : std::string(kSpace) + token;
  }
  return absl::OkStatus();
}

// --- all of them --------------------------------------------------------------------------------

// The tokens of the model and those added, and what kind each is.
absl::Status ReadTokens(const JsonValue& root, const Tokenizer& tokenizer,
                        ExportedVocabulary* out) {
  const auto count = static_cast<size_t>(tokenizer.vocab_size());
  out->tokens.resize(count);
  out->types.assign(count, static_cast<int32_t>(TokenType::kUnused));
  const auto put = [&](std::string_view text, int64_t id) {
    const auto at = static_cast<size_t>(id);
    out->tokens[at] = text;
    const bool byte = out->model != "gpt2" && IsByteToken(out->tokens[at]);
    out->types[at] = static_cast<int32_t>(byte ? TokenType::kByte : TokenType::kNormal);
  };
  const JsonValue vocabulary = root.Get("model").Get("vocab");
  vocabulary.ForEachMember(
      [&](std::string_view text, const JsonValue& id) { put(text, id.AsInt().value_or(0)); });
  for (size_t i = 0; vocabulary.is_array() && i < vocabulary.size(); ++i) {
    put(Text(vocabulary.At(i).At(0)), static_cast<int64_t>(i));
  }
  const JsonValue added = root.Get("added_tokens");
  for (size_t i = 0; i < added.size(); ++i) {
    std::string text = Text(added.At(i).Get("content"));
    const TokenId id = tokenizer.Find(text);
    if (id < 0) continue;
    const bool special = Flag(added.At(i).Get("special"), false);
    SetType(out, id, special ? TokenType::kControl : TokenType::kUserDefined);
    out->tokens[static_cast<size_t>(id)] = std::move(text);
  }
  // No two tokens may have one text, and holes must have some.
  for (size_t i = 0; i < count; ++i) {
    if (out->tokens[i].empty()) out->tokens[i] = "[PAD" + std::to_string(i) + "]";
  }
  return absl::OkStatus();
}

// What surrounds a text, ends a generation and stands for the unknown.
void ReadSpecials(const JsonValue& model, const Tokenizer& tokenizer, ExportedVocabulary* out) {
  out->bos = tokenizer.bos();
  out->eos = tokenizer.eos();
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    if (tokenizer.IsEndOfGeneration(id) && id != out->eos && out->eot < 0) out->eot = id;
  }
  if (const std::string unknown = Text(model.Get("unk_token")); !unknown.empty()) {
    out->unknown = tokenizer.Find(unknown);
  } else if (const auto id = model.Get("unk_id").OptionalInt(0, tokenizer.vocab_size() - 1);
             id.ok()) {
    out->unknown = static_cast<TokenId>(id->value_or(-1));
  }
  if (out->model != "gpt2") SetType(out, out->unknown, TokenType::kUnknown);
  const std::vector<TokenId> around = tokenizer.Encode("", {.add_special = true});
  out->add_bos = tokenizer.adds_bos();
  out->add_eos =
      !around.empty() && around.back() == out->eos && around.size() > (out->add_bos ? 1 : 0);
}

}  // namespace

absl::StatusOr<ExportedVocabulary> ExportVocabulary(const ModelSource& source) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, LoadTokenizer(source));
  ASSIGN_OR_RETURN(const std::string_view json, source.GetString("tokenizer.huggingface.json"));
  base::JsonLimits limits;
  limits.members_max = 1 << 22;
  limits.values_max = 1 << 24;
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(json, limits));
  const JsonValue root = document.root();
  ExportedVocabulary out;
  out.model = std::string(tokenizer->model_name());
  // Spelling bytes may come before other cuts; the vocabulary is one of bytes all the same.
  if (out.model == "llama" && HasStep(root.Get("pre_tokenizer"), "ByteLevel")) out.model = "gpt2";
  RETURN_IF_ERROR(ReadTokens(root, *tokenizer, &out));
  ReadSpecials(root.Get("model"), *tokenizer, &out);
  RETURN_IF_ERROR(out.model == "gpt2"    ? ExportByteLevel(root, &out)
                  : out.model == "llama" ? ExportCharacters(root, &out)
                  : out.model == "t5"    ? ExportUnigram(root, &out)
                                         : ExportWordPiece(root, &out));
  return out;
}

}  // namespace conclave::engine
