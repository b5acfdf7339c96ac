#include "engine/tokenizer/tokenizer_json_steps.h"

#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "engine/tokenizer/charsmap.h"
#include "engine/tokenizer/regex.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine {
namespace {

using base::JsonValue;

constexpr size_t kTextBytesMax = 4096;
constexpr size_t kCharsMapBytesMax = 64u << 20;
constexpr int64_t kStripMax = 1024;

absl::StatusOr<bool> Flag(const JsonValue& step, std::string_view key, bool fallback) {
  ASSIGN_OR_RETURN(const auto flag, step.Get(key).OptionalBool());
  return flag.value_or(fallback);
}

absl::StatusOr<std::string> Text(const JsonValue& step, std::string_view key) {
  ASSIGN_OR_RETURN(std::string text, step.Get(key).AsString());
  if (text.size() > kTextBytesMax) return step.Get(key).Error("longer than 4096 bytes");
  return text;
}

// A text that is one scalar.
absl::StatusOr<std::string> Character(const JsonValue& step, std::string_view key) {
  ASSIGN_OR_RETURN(std::string text, Text(step, key));
  if (text.empty() || DecodeUtf8(text, 0).length != text.size()) {
    return step.Get(key).Error("expected one character");
  }
  return text;
}

// Steps of a Sequence, those of sequences in it among them, or the one step there is.
absl::Status Flatten(const JsonValue& value, std::string_view list, std::vector<JsonValue>* steps) {
  if (value.missing()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::string type, StepType(value));
  if (type != "Sequence") {
    steps->push_back(value);
    return absl::OkStatus();
  }
  const JsonValue inner = value.Get(list);
  RETURN_IF_ERROR(inner.ExpectArray());
  for (size_t i = 0; i < inner.size(); ++i) RETURN_IF_ERROR(Flatten(inner.At(i), list, steps));
  return absl::OkStatus();
}

// "pattern": {"Regex": …} or {"String": …}.
absl::StatusOr<Regex> Pattern(const JsonValue& step) {
  const JsonValue pattern = step.Get("pattern");
  if (!pattern.is_object()) return pattern.Error("expected an object with Regex or String");
  const bool literal = pattern.Get("String").present();
  const JsonValue given = pattern.Get(literal ? "String" : "Regex");
  ASSIGN_OR_RETURN(const std::string_view text, given.AsStringView());
  absl::StatusOr<Regex> regex = literal ? Regex::Literal(text) : Regex::Compile(text);
  if (!regex.ok()) return base::Annotate(regex.status(), given.path());
  return regex;
}

// --- normalizers --------------------------------------------------------------------------------

absl::StatusOr<std::unique_ptr<const NormalizerStep>> ReadBert(const JsonValue& step) {
  BertNormalizerOptions options;
  ASSIGN_OR_RETURN(options.clean_text, Flag(step, "clean_text", true));
  ASSIGN_OR_RETURN(options.spaces_around_ideographs, Flag(step, "handle_chinese_chars", true));
  ASSIGN_OR_RETURN(options.lower_case, Flag(step, "lowercase", true));
  ASSIGN_OR_RETURN(options.strip_accents, Flag(step, "strip_accents", options.lower_case));
  return MakeBertStep(options);
}

absl::StatusOr<std::unique_ptr<const NormalizerStep>> ReadPrecompiled(const JsonValue& step) {
  const JsonValue encoded = step.Get("precompiled_charsmap");
  std::string blob;
  if (!encoded.missing()) {
    ASSIGN_OR_RETURN(const std::string_view text, encoded.AsStringView());
    if (text.size() > kCharsMapBytesMax) return encoded.Error("longer than 64 MiB");
    if (!absl::Base64Unescape(base::Abs(text), &blob)) return encoded.Error("expected base64");
  }
  absl::StatusOr<CharsMap> map = CharsMap::Parse(blob);
  if (!map.ok()) return base::Annotate(map.status(), encoded.path());
  return MakeCharsMapStep(*std::move(map));
}

absl::StatusOr<std::unique_ptr<const NormalizerStep>> ReadNormalizerStep(const JsonValue& step) {
  ASSIGN_OR_RETURN(const std::string type, StepType(step));
  if (type == "NFC") return MakeUnicodeFormStep(UnicodeForm::kNfc);
  if (type == "NFD") return MakeUnicodeFormStep(UnicodeForm::kNfd);
  if (type == "NFKC") return MakeUnicodeFormStep(UnicodeForm::kNfkc);
  if (type == "NFKD") return MakeUnicodeFormStep(UnicodeForm::kNfkd);
  if (type == "Lowercase") return MakeLowercaseStep();
  if (type == "StripAccents") return MakeStripAccentsStep();
  if (type == "Nmt") return MakeNmtStep();
  if (type == "ByteLevel") return MakeByteLevelStep();
  if (type == "BertNormalizer") return ReadBert(step);
  if (type == "Precompiled") return ReadPrecompiled(step);
  if (type == "Strip") {
    ASSIGN_OR_RETURN(const bool left, Flag(step, "strip_left", true));
    ASSIGN_OR_RETURN(const bool right, Flag(step, "strip_right", true));
    return MakeStripStep(left, right);
  }
  if (type == "Prepend") {
    ASSIGN_OR_RETURN(std::string prefix, Text(step, "prepend"));
    return MakePrependStep(std::move(prefix));
  }
  if (type == "Replace") {
    ASSIGN_OR_RETURN(Regex pattern, Pattern(step));
    ASSIGN_OR_RETURN(std::string content, Text(step, "content"));
    return MakeReplaceStep(std::move(pattern), std::move(content));
  }
  return NotSupported(step.Get("type"), absl::StrCat("normalizer \"", type, "\""));
}

// --- pre-tokenizers -----------------------------------------------------------------------------

absl::StatusOr<MatchBehavior> Behavior(const JsonValue& step, MatchBehavior fallback) {
  const JsonValue value = step.Get("behavior");
  if (value.missing()) return fallback;
  ASSIGN_OR_RETURN(const std::string_view name, value.AsStringView());
  struct Row {
    std::string_view name;
    MatchBehavior behavior;
  };
  constexpr Row kRows[] = {{"Removed", MatchBehavior::kRemoved},
                           {"Isolated", MatchBehavior::kIsolated},
                           {"MergedWithPrevious", MatchBehavior::kMergedWithPrevious},
                           {"MergedWithNext", MatchBehavior::kMergedWithNext},
                           {"Contiguous", MatchBehavior::kContiguous}};
  for (const Row& row : kRows) {
    if (row.name == name) return row.behavior;
  }
  return value.Error(
      "expected Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

absl::StatusOr<PrependScheme> Prepend(const JsonValue& step) {
  const JsonValue value = step.Get("prepend_scheme");
  if (value.missing()) {  // older files
    ASSIGN_OR_RETURN(const bool prepend, Flag(step, "add_prefix_space", true));
    return prepend ? PrependScheme::kAlways : PrependScheme::kNever;
  }
  ASSIGN_OR_RETURN(const std::string_view name, value.AsStringView());
  if (name == "always") return PrependScheme::kAlways;
  if (name == "first") return PrependScheme::kFirst;
  if (name == "never") return PrependScheme::kNever;
  return value.Error("expected always, first or never");
}

absl::Status ReadSplit(const JsonValue& step, Cuts* cuts) {
  ASSIGN_OR_RETURN(const MatchBehavior behavior, Behavior(step, MatchBehavior::kIsolated));
  ASSIGN_OR_RETURN(const bool inverted, Flag(step, "invert", false));
  const JsonValue expression = step.Get("pattern").Get("Regex");
  if (behavior == MatchBehavior::kIsolated && expression.is_string()) {
    ASSIGN_OR_RETURN(const std::string_view text, expression.AsStringView());
    if (const CutStage stage = FindCutStage(text); stage != nullptr) {
      cuts->steps.push_back(MakeStageCut(stage));
      return absl::OkStatus();
    }
  }
  ASSIGN_OR_RETURN(Regex pattern, Pattern(step));
  cuts->steps.push_back(MakeRegexCut(std::move(pattern), behavior, inverted));
  return absl::OkStatus();
}

absl::Status ReadByteLevel(const JsonValue& step, bool last, Cuts* cuts) {
  ASSIGN_OR_RETURN(const bool prefix, Flag(step, "add_prefix_space", true));
  ASSIGN_OR_RETURN(const bool use_regex, Flag(step, "use_regex", true));
  if (prefix) cuts->steps.push_back(MakePrefixSpaceCut());
  if (use_regex) cuts->steps.push_back(MakeStageCut((*FindCutFamily("gpt-2"))->stages[0]));
  if (last) {
    cuts->byte_level = true;
  } else {
    cuts->steps.push_back(MakeByteLevelCut());
  }
  return absl::OkStatus();
}

absl::Status ReadMetaspace(const JsonValue& step, Cuts* cuts) {
  MetaspaceOptions options;
  ASSIGN_OR_RETURN(options.replacement, Character(step, "replacement"));
  ASSIGN_OR_RETURN(options.prepend, Prepend(step));
  ASSIGN_OR_RETURN(options.split, Flag(step, "split", true));
  cuts->steps.push_back(MakeMetaspaceCut(options));
  return absl::OkStatus();
}

absl::Status ReadCut(const JsonValue& step, bool last, Cuts* cuts) {
  ASSIGN_OR_RETURN(const std::string type, StepType(step));
  const auto add_class = [&](bool (*is_match)(uint32_t), MatchBehavior behavior) {
    cuts->steps.push_back(MakeClassCut(is_match, behavior));
  };
  if (type == "Split") return ReadSplit(step, cuts);
  if (type == "ByteLevel") return ReadByteLevel(step, last, cuts);
  if (type == "Metaspace") return ReadMetaspace(step, cuts);
  if (type == "Digits") {
    ASSIGN_OR_RETURN(const bool single, Flag(step, "individual_digits", false));
    add_class(IsNumeral, single ? MatchBehavior::kIsolated : MatchBehavior::kContiguous);
  } else if (type == "Punctuation") {
    ASSIGN_OR_RETURN(const MatchBehavior behavior, Behavior(step, MatchBehavior::kIsolated));
    add_class(IsCutPunctuation, behavior);
  } else if (type == "WhitespaceSplit") {
    add_class(IsWhiteSpace, MatchBehavior::kRemoved);
  } else if (type == "Whitespace") {  // \w+|[^\w\s]+
    add_class(IsWhiteSpace, MatchBehavior::kRemoved);
    add_class(IsAddedTokenWord, MatchBehavior::kContiguous);
  } else if (type == "BertPreTokenizer") {
    add_class(IsWhiteSpace, MatchBehavior::kRemoved);
    add_class(IsCutPunctuation, MatchBehavior::kIsolated);
  } else if (type == "CharDelimiterSplit") {
    ASSIGN_OR_RETURN(const std::string delimiter, Character(step, "delimiter"));
    ASSIGN_OR_RETURN(Regex pattern, Regex::Literal(delimiter));
    cuts->steps.push_back(MakeRegexCut(std::move(pattern), MatchBehavior::kRemoved, false));
  } else {
    return NotSupported(step.Get("type"), absl::StrCat("pre-tokenizer \"", type, "\""));
  }
  return absl::OkStatus();
}

// --- decoders -----------------------------------------------------------------------------------

absl::Status ReadStrip(const JsonValue& step, bool fused, TokenText* text) {
  ASSIGN_OR_RETURN(std::string content, Character(step, "content"));
  ASSIGN_OR_RETURN(const int64_t start, step.Get("start").AsInt(0, kStripMax));
  ASSIGN_OR_RETURN(const int64_t stop, step.Get("stop").AsInt(0, kStripMax));
  text->Add(
      MakeStripText(std::move(content), static_cast<int>(start), static_cast<int>(stop), fused));
  return absl::OkStatus();
}

// `fused`: a step before has joined all tokens to one text.
absl::Status ReadDecoderStep(const JsonValue& step, bool* fused, TokenText* text) {
  ASSIGN_OR_RETURN(const std::string type, StepType(step));
  if (type == "ByteLevel") {
    *fused = true;
    text->Add(MakeByteLevelText());
  } else if (type == "ByteFallback") {
    text->Add(MakeByteFallbackText());
  } else if (type == "Fuse") {
    *fused = true;
  } else if (type == "Strip") {
    return ReadStrip(step, *fused, text);
  } else if (type == "Replace") {
    ASSIGN_OR_RETURN(Regex pattern, Pattern(step));
    ASSIGN_OR_RETURN(std::string content, Text(step, "content"));
    text->Add(MakeReplaceText(std::move(pattern), std::move(content)));
  } else if (type == "Metaspace") {
    ASSIGN_OR_RETURN(std::string replacement, Character(step, "replacement"));
    ASSIGN_OR_RETURN(const PrependScheme prepend, Prepend(step));
    text->Add(MakeMetaspaceText(std::move(replacement), prepend != PrependScheme::kNever));
  } else if (type == "WordPiece") {
    ASSIGN_OR_RETURN(std::string prefix, Text(step, "prefix"));
    ASSIGN_OR_RETURN(const bool cleanup, Flag(step, "cleanup", true));
    text->Add(MakeWordPieceText(std::move(prefix), cleanup));
  } else if (type == "BPEDecoder") {
    ASSIGN_OR_RETURN(const std::string suffix, Text(step, "suffix"));
    ASSIGN_OR_RETURN(Regex pattern, Regex::Literal(suffix));
    text->Add(MakeReplaceText(std::move(pattern), " "));
  } else {
    return NotSupported(step.Get("type"), absl::StrCat("decoder \"", type, "\""));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> StepType(const JsonValue& step) {
  RETURN_IF_ERROR(step.ExpectObject());
  ASSIGN_OR_RETURN(const std::string_view type, step.Get("type").AsStringView());
  return std::string(type.substr(0, 64));
}

absl::Status NotSupported(const JsonValue& value, std::string_view what) {
  return base::Unimplemented(
      absl::StrCat(value.path(), ": ", base::Abs(what), " is not supported"));
}

absl::Status ReadNormalizer(const JsonValue& value, Normalizer* normalizer) {
  std::vector<JsonValue> steps;
  RETURN_IF_ERROR(Flatten(value, "normalizers", &steps));
  for (const JsonValue& step : steps) {
    ASSIGN_OR_RETURN(std::unique_ptr<const NormalizerStep> made, ReadNormalizerStep(step));
    normalizer->Add(std::move(made));
  }
  return absl::OkStatus();
}

absl::StatusOr<Cuts> ReadPreTokenizer(const JsonValue& value) {
  std::vector<JsonValue> steps;
  RETURN_IF_ERROR(Flatten(value, "pretokenizers", &steps));
  Cuts cuts;
  for (size_t i = 0; i < steps.size(); ++i) {
    RETURN_IF_ERROR(ReadCut(steps[i], i + 1 == steps.size(), &cuts));
  }
  return cuts;
}

absl::Status ReadDecoder(const JsonValue& value, TokenText* text) {
  std::vector<JsonValue> steps;
  RETURN_IF_ERROR(Flatten(value, "decoders", &steps));
  if (value.missing()) text->Add(MakeJoinedText());
  bool fused = false;
  for (const JsonValue& step : steps) RETURN_IF_ERROR(ReadDecoderStep(step, &fused, text));
  return absl::OkStatus();
}

}  // namespace conclave::engine
