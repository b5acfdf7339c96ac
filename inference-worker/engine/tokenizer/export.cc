#include "engine/tokenizer/export.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "base/json.h"
#include "base/strings.h"
#include "engine/tokenizer/load.h"
#include "engine/weights/source.h"

namespace conclave::engine {
namespace {

using base::JsonValue;

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

std::string Text(const JsonValue& value) {
  const auto text = value.AsString();
  return text.ok() ? *text : std::string();
}
bool Flag(const JsonValue& value, bool fallback) {
  const auto flag = value.OptionalBool();
  return flag.ok() ? flag->value_or(fallback) : fallback;
}

void AppendRules(const JsonValue& step, std::string* rules) {
  const std::string type = Text(step.Get("type"));
  if (type == "Sequence") {
    const JsonValue steps = step.Get("pretokenizers");
    for (size_t i = 0; i < steps.size(); ++i) AppendRules(steps.At(i), rules);
    return;
  }
  std::string rule = type;
  if (type == "Split") rule = Text(step.Get("pattern").Get("Regex"));
  if (type == "ByteLevel") rule = Flag(step.Get("use_regex"), true) ? "gpt-2" : "";
  if (type == "Digits") rule = Flag(step.Get("individual_digits"), false) ? "digits" : "digit runs";
  if (type == "Punctuation") rule = "punctuation";
  if (!rule.empty()) *rules += (rules->empty() ? "" : "\n") + rule;
}

absl::StatusOr<std::string> PreOf(const JsonValue& pre_tokenizer) {
  std::string rules;
  AppendRules(pre_tokenizer, &rules);
  for (const NamedRules& known : kRules) {
    if (known.rules == rules) return std::string(known.pre);
  }
  return base::Unimplemented("tokenizer.json: pre_tokenizer: GGUF has no name for these rules");
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
      return base::Unimplemented(merge.path() + ": GGUF cannot say a merge of spaces");
    }
    out->merges.push_back(left + " " + right);
  }
  return absl::OkStatus();
}

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

bool IsByteToken(const std::string& text) {
  return text.size() == 6 && text.starts_with("<0x") && text.ends_with('>');
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
  const JsonValue model = root.Get("model");
  ExportedVocabulary out;
  out.model = std::string(tokenizer->model_name());
  if (out.model != "gpt2" && out.model != "llama") {
    return base::Unimplemented("tokenizer.json: model.type: only BPE can be exported");
  }
  const auto count = static_cast<size_t>(tokenizer->vocab_size());
  out.tokens.resize(count);
  out.types.assign(count, static_cast<int32_t>(TokenType::kUnused));
  model.Get("vocab").ForEachMember([&](std::string_view text, const JsonValue& id) {
    const auto at = static_cast<size_t>(id.AsInt().value_or(0));
    out.tokens[at] = text;
    const bool byte = out.model == "llama" && IsByteToken(out.tokens[at]);
    out.types[at] = static_cast<int32_t>(byte ? TokenType::kByte : TokenType::kNormal);
  });
  const JsonValue added = root.Get("added_tokens");
  for (size_t i = 0; i < added.size(); ++i) {
    std::string text = Text(added.At(i).Get("content"));
    const TokenId id = tokenizer->Find(text);
    if (id < 0) continue;
    const bool special = Flag(added.At(i).Get("special"), false);
    out.types[static_cast<size_t>(id)] =
        static_cast<int32_t>(special ? TokenType::kControl : TokenType::kUserDefined);
    out.tokens[static_cast<size_t>(id)] = std::move(text);
  }
  // No two tokens may have one text, and holes must have some.
  for (size_t i = 0; i < count; ++i) {
    if (out.tokens[i].empty()) out.tokens[i] = "[PAD" + std::to_string(i) + "]";
  }
  RETURN_IF_ERROR(ReadMerges(model.Get("merges"), &out));
  if (out.model == "llama") {
    ScoreByRank(&out);
    // Both ways of saying that a text begins with a space: a normalizer or a pre-tokenizer.
    out.add_space_prefix = json.find("\"Prepend\"") != std::string_view::npos ||
                           json.find("\"Metaspace\"") != std::string_view::npos;
  } else {
    ASSIGN_OR_RETURN(out.pre, PreOf(root.Get("pre_tokenizer")));
  }
  out.bos = tokenizer->bos();
  out.eos = tokenizer->eos();
  for (TokenId id = 0; id < tokenizer->vocab_size(); ++id) {
    if (tokenizer->IsEndOfGeneration(id) && id != out.eos && out.eot < 0) out.eot = id;
  }
  if (const std::string unknown = Text(model.Get("unk_token")); !unknown.empty()) {
    out.unknown = tokenizer->Find(unknown);
    if (out.unknown >= 0 && out.model == "llama") {
      out.types[static_cast<size_t>(out.unknown)] = static_cast<int32_t>(TokenType::kUnknown);
    }
  }
  const std::vector<TokenId> around = tokenizer->Encode("", {.add_special = true});
  out.add_bos = tokenizer->adds_bos();
  out.add_eos =
      !around.empty() && around.back() == out.eos && around.size() > (out.add_bos ? 1 : 0);
  return out;
}

}  // namespace conclave::engine
