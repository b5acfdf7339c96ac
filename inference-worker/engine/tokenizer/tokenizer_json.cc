// LoadTokenizerJson: a tokenizer.json of Hugging Face tokenizers, put together as a pipeline.
#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "base/json.h"
#include "base/strings.h"
#include "engine/tokenizer/load.h"
#include "engine/tokenizer/pipeline.h"
#include "engine/tokenizer/tokenizer_json_steps.h"

namespace conclave::engine {
namespace {

using base::JsonValue;

constexpr int64_t kTokensMax = 1 << 22;
constexpr size_t kTokenBytesMax = 64u << 10;
constexpr size_t kAddedBytesMax = 1024;  // bounds what one position of a text can cost
constexpr int64_t kWordScalarsMax = 4096;

absl::StatusOr<bool> Flag(const JsonValue& object, std::string_view key, bool fallback) {
  ASSIGN_OR_RETURN(const auto flag, object.Get(key).OptionalBool());
  return flag.value_or(fallback);
}

// The tokens as they are read: by id, with holes until all are there.
class Tokens final {
 public:
  explicit Tokens(TokenizerSpec* spec) : spec_(*spec) {}

  absl::Status Put(const JsonValue& place, std::string text, int64_t id, TokenType type) {
    if (text.size() > kTokenBytesMax) return place.Error("a token longer than 65536 bytes");
    const auto at = static_cast<size_t>(id);
    if (at >= spec_.tokens.size()) {
      spec_.tokens.resize(at + 1);
      spec_.types.resize(at + 1, static_cast<int32_t>(TokenType::kUnused));
    }
    const bool taken = spec_.types[at] != static_cast<int32_t>(TokenType::kUnused);
    if (taken && spec_.tokens[at] != text) {
      return place.Error(absl::StrCat("another token has id ", id));
    }
    spec_.types[at] = static_cast<int32_t>(type);
    ids_.insert_or_assign(text, static_cast<TokenId>(id));
    spec_.tokens[at] = std::move(text);
    return absl::OkStatus();
  }
  // What is there now belongs to the model.
  ModelEntries Entries() const {
    ModelEntries entries(spec_.types.size());
    for (size_t i = 0; i < entries.size(); ++i) {
      entries[i] = spec_.types[i] != static_cast<int32_t>(TokenType::kUnused);
    }
    return entries;
  }
  TokenId Find(std::string_view text) const {
    const auto found = ids_.find(base::Abs(text));
    return found == ids_.end() ? -1 : found->second;
  }
  size_t size() const { return spec_.tokens.size(); }

 private:
  TokenizerSpec& spec_;
  absl::flat_hash_map<std::string, TokenId> ids_;
};

// A hole may be left, but not a vocabulary of holes.
int64_t IdMax(size_t tokens) {
  return std::min<int64_t>(kTokensMax - 1, 2 * static_cast<int64_t>(tokens) + 65536);
}

absl::Status ReadVocab(const JsonValue& vocab, Tokens* tokens) {
  RETURN_IF_ERROR(vocab.ExpectObject());
  absl::Status status;
  const int64_t id_max = IdMax(vocab.size());
  vocab.ForEachMember([&](std::string_view text, const JsonValue& value) {
    if (!status.ok()) return;
    const auto id = value.AsInt(0, id_max);
    status = id.ok() ? tokens->Put(value, std::string(text), *id, TokenType::kNormal) : id.status();
  });
  return status;
}

absl::Status ReadScoredVocab(const JsonValue& vocab, Tokens* tokens, std::vector<double>* scores) {
  RETURN_IF_ERROR(vocab.ExpectArray());
  if (vocab.size() > static_cast<size_t>(kTokensMax)) return vocab.Error("too many tokens");
  for (size_t i = 0; i < vocab.size(); ++i) {
    const JsonValue entry = vocab.At(i);
    if (!entry.is_array() || entry.size() != 2)
      return entry.Error("expected a token and its score");
    ASSIGN_OR_RETURN(std::string text, entry.At(0).AsString());
    ASSIGN_OR_RETURN(const double score, entry.At(1).AsNumber(-1e9, 1e9));
    scores->push_back(score);
    RETURN_IF_ERROR(
        tokens->Put(entry, std::move(text), static_cast<int64_t>(i), TokenType::kNormal));
  }
  return absl::OkStatus();
}

absl::Status ReadAddedTokens(const JsonValue& list, Tokens* tokens, TokenizerSpec* spec) {
  spec->added.emplace();
  if (list.missing()) return absl::OkStatus();
  RETURN_IF_ERROR(list.ExpectArray());
  const int64_t id_max = IdMax(tokens->size() + list.size());
  for (size_t i = 0; i < list.size(); ++i) {
    const JsonValue token = list.At(i);
    ASSIGN_OR_RETURN(std::string text, token.Get("content").AsString());
    if (text.empty()) continue;
    if (text.size() > kAddedBytesMax) return token.Get("content").Error("longer than 1024 bytes");
    ASSIGN_OR_RETURN(int64_t id, token.Get("id").AsInt(0, id_max));
    if (const TokenId known = tokens->Find(text); known >= 0) id = known;
    ASSIGN_OR_RETURN(const bool special, Flag(token, "special", false));
    AddedToken added{.id = static_cast<TokenId>(id)};
    ASSIGN_OR_RETURN(added.single_word, Flag(token, "single_word", false));
    ASSIGN_OR_RETURN(added.lstrip, Flag(token, "lstrip", false));
    ASSIGN_OR_RETURN(added.rstrip, Flag(token, "rstrip", false));
    ASSIGN_OR_RETURN(added.normalized, Flag(token, "normalized", !special));
    RETURN_IF_ERROR(tokens->Put(token, std::move(text), id,
                                special ? TokenType::kControl : TokenType::kUserDefined));
    spec->added->push_back(added);
  }
  return absl::OkStatus();
}

// --- models -------------------------------------------------------------------------------------

absl::StatusOr<std::vector<std::pair<std::string, std::string>>> ReadMerges(
    const JsonValue& merges) {
  RETURN_IF_ERROR(merges.ExpectArray());
  std::vector<std::pair<std::string, std::string>> pairs;
  pairs.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const JsonValue merge = merges.At(i);
    if (merge.is_array()) {
      if (merge.size() != 2) return merge.Error("expected two tokens");
      ASSIGN_OR_RETURN(std::string left, merge.At(0).AsString());
      ASSIGN_OR_RETURN(std::string right, merge.At(1).AsString());
      pairs.emplace_back(std::move(left), std::move(right));
      continue;
    }
    ASSIGN_OR_RETURN(const std::string both, merge.AsString());
    const size_t space = both.find(' ');
    if (space == std::string::npos || both.find(' ', space + 1) != std::string::npos) {
      return merge.Error("expected two tokens separated by a space");
    }
    pairs.emplace_back(both.substr(0, space), both.substr(space + 1));
  }
  return pairs;
}

// The type, which old files leave out.
absl::StatusOr<std::string> ModelType(const JsonValue& model) {
  RETURN_IF_ERROR(model.ExpectObject());
  if (!model.Get("type").missing()) return StepType(model);
  if (model.Get("merges").present()) return std::string("BPE");
  return std::string(model.Get("vocab").is_array() ? "Unigram" : "WordPiece");
}

// What is known of a model before there is a vocabulary to make it of.
struct ModelParts {
  std::string type;
  std::vector<double> scores;
  ModelEntries entries;
  TokenId unknown = -1;
};

absl::StatusOr<ModelParts> ReadVocabulary(const JsonValue& root, TokenizerSpec* spec) {
  const JsonValue model = root.Get("model");
  ModelParts parts;
  ASSIGN_OR_RETURN(parts.type, ModelType(model));
  Tokens tokens(spec);
  if (parts.type == "Unigram") {
    RETURN_IF_ERROR(ReadScoredVocab(model.Get("vocab"), &tokens, &parts.scores));
    ASSIGN_OR_RETURN(const auto unknown,
                     model.Get("unk_id").OptionalInt(0, static_cast<int64_t>(tokens.size()) - 1));
    parts.unknown = static_cast<TokenId>(unknown.value_or(-1));
  } else if (parts.type == "BPE" || parts.type == "WordPiece") {
    RETURN_IF_ERROR(ReadVocab(model.Get("vocab"), &tokens));
    ASSIGN_OR_RETURN(const auto unknown, model.Get("unk_token").OptionalString());
    const std::string text = unknown.value_or(parts.type == "BPE" ? "" : "[UNK]");
    if (!text.empty()) {
      parts.unknown = tokens.Find(text);
      if (parts.unknown < 0) return model.Get("unk_token").Error("not in the vocabulary");
    }
  } else {
    return NotSupported(model.Get("type"), absl::StrCat("model \"", parts.type, "\""));
  }
  parts.entries = tokens.Entries();
  RETURN_IF_ERROR(ReadAddedTokens(root.Get("added_tokens"), &tokens, spec));
  parts.entries.resize(tokens.size());
  if (parts.type == "Unigram") parts.scores.resize(tokens.size());
  spec->unknown = parts.unknown;
  return parts;
}

absl::StatusOr<std::unique_ptr<const TokenModel>> ReadBpe(const JsonValue& model, ModelParts parts,
                                                          bool byte_level,
                                                          const Vocabulary& vocabulary) {
  ASSIGN_OR_RETURN(const auto dropout, model.Get("dropout").OptionalNumber(0, 1));
  if (dropout.value_or(0) != 0) return NotSupported(model.Get("dropout"), "dropout");
  BpeOptions options{.entries = std::move(parts.entries),
                     .byte_level = byte_level,
                     .unknown = parts.unknown,
                     .unknown_from_start = true,
                     .last_merge_counts = true,
                     .merges_key = "model.merges"};
  ASSIGN_OR_RETURN(options.merges, ReadMerges(model.Get("merges")));
  ASSIGN_OR_RETURN(options.fuse_unknown, Flag(model, "fuse_unk", false));
  ASSIGN_OR_RETURN(options.byte_fallback, Flag(model, "byte_fallback", false));
  // Bytes are what byte-level vocabularies consist of: there is nothing to fall back from.
  options.byte_fallback = options.byte_fallback && !byte_level;
  ASSIGN_OR_RETURN(options.ignore_merges, Flag(model, "ignore_merges", false));
  ASSIGN_OR_RETURN(const auto prefix, model.Get("continuing_subword_prefix").OptionalString());
  ASSIGN_OR_RETURN(const auto suffix, model.Get("end_of_word_suffix").OptionalString());
  options.continuing_prefix = prefix.value_or("");
  options.end_suffix = suffix.value_or("");
  return MakeBpeModel(vocabulary, std::move(options));
}

absl::StatusOr<std::unique_ptr<const TokenModel>> ReadUnigram(const JsonValue& model,
                                                              ModelParts parts,
                                                              const Vocabulary& vocabulary) {
  UnigramOptions options{.scores = std::move(parts.scores),
                         .entries = std::move(parts.entries),
                         .unknown = parts.unknown};
  ASSIGN_OR_RETURN(options.byte_fallback, Flag(model, "byte_fallback", false));
  auto made = MakeUnigramModel(vocabulary, std::move(options));
  if (!made.ok()) return base::Annotate(made.status(), "model.vocab");
  return made;
}

absl::StatusOr<std::unique_ptr<const TokenModel>> ReadWordPiece(const JsonValue& model,
                                                                ModelParts parts,
                                                                const Vocabulary& vocabulary) {
  WordPieceOptions options{.entries = std::move(parts.entries), .unknown = parts.unknown};
  ASSIGN_OR_RETURN(const auto prefix, model.Get("continuing_subword_prefix").OptionalString());
  options.continuing_prefix = prefix.value_or("##");
  ASSIGN_OR_RETURN(const auto longest,
                   model.Get("max_input_chars_per_word").OptionalInt(1, kWordScalarsMax));
  options.word_scalars_max = static_cast<int32_t>(longest.value_or(100));
  return MakeWordPieceModel(vocabulary, std::move(options));
}

// --- post-processors ----------------------------------------------------------------------------

struct Around {
  std::vector<TokenId> prefix, suffix;
};

void Wrap(const Around& outer, Around* around) {
  around->prefix.insert(around->prefix.begin(), outer.prefix.begin(), outer.prefix.end());
  around->suffix.insert(around->suffix.end(), outer.suffix.begin(), outer.suffix.end());
}

absl::Status ReadTemplate(const JsonValue& processor, Around* around) {
  const JsonValue parts = processor.Get("single");
  RETURN_IF_ERROR(parts.ExpectArray());
  Around outer;
  int sequences = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (parts.At(i).Get("Sequence").present()) {
      ++sequences;
      continue;
    }
    ASSIGN_OR_RETURN(const std::string name, parts.At(i).Get("SpecialToken").Get("id").AsString());
    const JsonValue ids = processor.Get("special_tokens").Get(name).Get("ids");
    RETURN_IF_ERROR(ids.ExpectArray());
    for (size_t k = 0; k < ids.size(); ++k) {
      ASSIGN_OR_RETURN(const int64_t id, ids.At(k).AsInt(0, kTokensMax));
      (sequences == 0 ? outer.prefix : outer.suffix).push_back(static_cast<TokenId>(id));
    }
  }
  if (sequences != 1) return parts.Error("expected the text once");
  Wrap(outer, around);
  return absl::OkStatus();
}

absl::Status ReadPostProcessor(const JsonValue& processor, Around* around) {
  if (processor.missing()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string type, StepType(processor));
  if (type == "Sequence") {
    const JsonValue steps = processor.Get("processors");
    RETURN_IF_ERROR(steps.ExpectArray());
    for (size_t i = 0; i < steps.size(); ++i) {
      RETURN_IF_ERROR(ReadPostProcessor(steps.At(i), around));
    }
    return absl::OkStatus();
  }
  if (type == "TemplateProcessing") return ReadTemplate(processor, around);
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    Around outer;
    for (const std::string_view key : {"cls", "sep"}) {
      const JsonValue pair = processor.Get(key);
      if (!pair.is_array() || pair.size() != 2) return pair.Error("expected a token and its id");
      ASSIGN_OR_RETURN(const int64_t id, pair.At(1).AsInt(0, kTokensMax));
      (key == "cls" ? outer.prefix : outer.suffix).push_back(static_cast<TokenId>(id));
    }
    Wrap(outer, around);
    return absl::OkStatus();
  }
  if (type == "ByteLevel") return absl::OkStatus();  // corrects offsets, adds nothing
  return NotSupported(processor.Get("type"), absl::StrCat("post-processor \"", type, "\""));
}

absl::Status ReadSpecialIds(const JsonValue& root, const SpecialTokenIds& special,
                            TokenizerSpec* spec) {
  Around around;
  RETURN_IF_ERROR(ReadPostProcessor(root.Get("post_processor"), &around));
  const auto first_of = [](const std::vector<TokenId>& ids) {
    return ids.empty() ? TokenId{-1} : ids.front();
  };
  const auto find = [&](const std::string& text) {
    const auto found = std::find(spec->tokens.begin(), spec->tokens.end(), text);
    const bool known = !text.empty() && found != spec->tokens.end();
    return known ? static_cast<TokenId>(found - spec->tokens.begin()) : TokenId{-1};
  };
  spec->bos = find(special.bos_text);
  spec->eos = find(special.eos_text);
  if (spec->bos < 0) spec->bos = special.bos >= 0 ? special.bos : first_of(around.prefix);
  if (spec->eos < 0) spec->eos = special.eos >= 0 ? special.eos : first_of(around.suffix);
  spec->end_of_generation = special.end_of_generation;
  const auto correct = [](std::optional<bool> wanted, TokenId id, std::vector<TokenId>* ids) {
    if (!wanted.has_value()) return;
    ids->clear();
    if (*wanted && id >= 0) ids->push_back(id);
  };
  correct(special.add_bos, spec->bos, &around.prefix);
  correct(special.add_eos, spec->eos, &around.suffix);
  spec->prefix = std::move(around.prefix);
  spec->suffix = std::move(around.suffix);
  return absl::OkStatus();
}

absl::StatusOr<Pipeline> ReadPipeline(const JsonValue& root, const SpecialTokenIds& special) {
  Pipeline pipeline;
  TokenizerSpec spec;
  ASSIGN_OR_RETURN(ModelParts parts, ReadVocabulary(root, &spec));
  RETURN_IF_ERROR(ReadSpecialIds(root, special, &spec));
  for (const AddedToken& added : *spec.added) {
    if (added.normalized) pipeline.normalized_tokens.push_back(added);
  }
  ASSIGN_OR_RETURN(pipeline.vocabulary, Vocabulary::Make(&spec));
  RETURN_IF_ERROR(ReadNormalizer(root.Get("normalizer"), &pipeline.normalizer));
  ASSIGN_OR_RETURN(Cuts cuts, ReadPreTokenizer(root.Get("pre_tokenizer")));
  const bool byte_level = cuts.byte_level && parts.type == "BPE";
  if (cuts.byte_level && !byte_level) cuts.steps.push_back(MakeByteLevelCut());
  pipeline.cuts = std::move(cuts.steps);
  RETURN_IF_ERROR(ReadDecoder(root.Get("decoder"), &pipeline.text));
  const JsonValue model = root.Get("model");
  const Vocabulary& vocabulary = *pipeline.vocabulary;
  if (parts.type == "BPE") {
    pipeline.model_name = byte_level ? "gpt2" : "llama";
    ASSIGN_OR_RETURN(pipeline.model, ReadBpe(model, std::move(parts), byte_level, vocabulary));
  } else if (parts.type == "Unigram") {
    pipeline.model_name = "t5";
    ASSIGN_OR_RETURN(pipeline.model, ReadUnigram(model, std::move(parts), vocabulary));
  } else {
    pipeline.model_name = "bert";
    ASSIGN_OR_RETURN(pipeline.model, ReadWordPiece(model, std::move(parts), vocabulary));
  }
  return pipeline;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizerJson(std::string_view json,
                                                             const SpecialTokenIds& special) {
  base::JsonLimits limits;
  limits.members_max = kTokensMax;
  limits.values_max = 4 * kTokensMax;
  ASSIGN_OR_RETURN(const base::JsonDocument document, base::JsonDocument::Parse(json, limits));
  absl::StatusOr<Pipeline> pipeline = ReadPipeline(document.root(), special);
  if (!pipeline.ok()) return base::Annotate(pipeline.status(), "tokenizer.json");
  return MakePipelineTokenizer(*std::move(pipeline));
}

}  // namespace conclave::engine
