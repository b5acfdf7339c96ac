#include "engine/tokenizer/normalizer.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/unicode.h"

namespace conclave::engine {
namespace {

size_t CountScalars(std::string_view text) {
  size_t count = 0;
  for (size_t at = 0; at < text.size(); at += DecodeUtf8(text, at).length) ++count;
  return count;
}

// The first scalar of the text is gone.
void CutFront(NormalizedText* text) { text->from_origin -= text->from_origin > 0 ? 1 : 0; }

// Rewrites the text by a function of it, which rewrites its beginning as it does the whole.
template <typename Function>
void Rewrite(NormalizedText* text, Function rewrite) {
  size_t end = 0;  // of the scalars from the origin
  for (size_t i = 0; i < text->from_origin && end < text->text.size(); ++i) {
    end += DecodeUtf8(text->text, end).length;
  }
  const std::string beginning = rewrite(std::string_view(text->text).substr(0, end));
  text->text = rewrite(std::string_view(text->text));
  // What follows may join the beginning, or move into it.
  const size_t same = static_cast<size_t>(
      std::mismatch(beginning.begin(), beginning.end(), text->text.begin(), text->text.end())
          .first -
      beginning.begin());
  const size_t least = beginning.empty() ? 0 : 1;
  text->from_origin = std::max(least, CountScalars(std::string_view(beginning).substr(0, same)));
}

// Leaves out the scalars that `dropped` names.
template <typename Predicate>
void Filter(NormalizedText* text, Predicate dropped) {
  std::string kept;
  kept.reserve(text->text.size());
  for (size_t at = 0; at < text->text.size();) {
    const DecodedScalar scalar = DecodeUtf8(text->text, at);
    if (scalar.value != kInvalidScalar && dropped(scalar.value)) {
      if (kept.empty()) CutFront(text);
    } else {
      kept.append(text->text, at, scalar.length);
    }
    at += scalar.length;
  }
  text->text = std::move(kept);
}

// Replaces each scalar by what `map` appends for it.
template <typename Function>
void Map(NormalizedText* text, Function map) {
  Rewrite(text, [&](std::string_view part) {
    std::u32string mapped;
    const std::u32string scalars = ToScalars(part);
    mapped.reserve(scalars.size());
    for (const char32_t scalar : scalars) {
      if ((scalar & kRawByte) != 0) {
        mapped.push_back(scalar);
      } else {
        map(static_cast<uint32_t>(scalar), &mapped);
      }
    }
    return FromScalars(mapped);
  });
}

void ToForm(NormalizedText* text, UnicodeForm form) {
  Rewrite(text, [form](std::string_view part) { return ToForm(part, form); });
}

bool IsIdeograph(uint32_t s) {
  return (s >= 0x4E00 && s <= 0x9FFF) || (s >= 0x3400 && s <= 0x4DBF) ||
         (s >= 0x20000 && s <= 0x2A6DF) || (s >= 0x2A700 && s <= 0x2B73F) ||
         (s >= 0x2B740 && s <= 0x2B81F) || (s >= 0x2B920 && s <= 0x2CEAF) ||
         (s >= 0xF900 && s <= 0xFAFF) || (s >= 0x2F800 && s <= 0x2FA1F);
}

// A step that is a function and no more.
class FunctionStep final : public NormalizerStep {
 public:
  explicit FunctionStep(std::function<void(NormalizedText*)> apply) : apply_(std::move(apply)) {}
  void Apply(NormalizedText* text) const override { apply_(text); }

 private:
  std::function<void(NormalizedText*)> apply_;
};

std::unique_ptr<const NormalizerStep> Step(std::function<void(NormalizedText*)> apply) {
  return std::make_unique<FunctionStep>(std::move(apply));
}

void Lowercase(NormalizedText* text) { Map(text, AppendLower); }

void StripSpaces(NormalizedText* text, bool left, bool right) {
  size_t end = text->text.size();
  if (right) {
    // From the front, as UTF-8 is not read backwards.
    size_t kept = 0;
    for (size_t at = 0; at < text->text.size();) {
      const DecodedScalar scalar = DecodeUtf8(text->text, at);
      at += scalar.length;
      if (!IsWhiteSpace(scalar.value)) kept = at;
    }
    end = kept;
  }
  size_t begin = 0;
  while (left && begin < end) {
    const DecodedScalar scalar = DecodeUtf8(text->text, begin);
    if (!IsWhiteSpace(scalar.value)) break;
    CutFront(text);
    begin += scalar.length;
  }
  text->text = text->text.substr(begin, end - begin);
}

void NormalizeForBert(const BertNormalizerOptions& options, NormalizedText* text) {
  if (options.clean_text) {
    Filter(text, IsDroppedControl);
    Map(text, [](uint32_t s, std::u32string* out) { out->push_back(IsWhiteSpace(s) ? ' ' : s); });
  }
  if (options.spaces_around_ideographs) {
    Map(text, [](uint32_t s, std::u32string* out) {
      if (IsIdeograph(s)) {
        out->append({U' ', s, U' '});
      } else {
        out->push_back(s);
      }
    });
  }
  if (options.strip_accents) {
    ToForm(text, UnicodeForm::kNfd);
    Filter(text, IsNonspacing);
  }
  if (options.lower_case) Lowercase(text);
}

// What the NMT rules of sentencepiece take for a space, and what they drop.
bool IsNmtDropped(uint32_t s) {
  return (s >= 0x1 && s <= 0x8) || s == 0xB || (s >= 0xE && s <= 0x1F) || s == 0x7F || s == 0x8F ||
         s == 0x9F;
}
bool IsNmtSpace(uint32_t s) {
  return s == 0x9 || s == 0xA || s == 0xC || s == 0xD || s == 0x1680 ||
         (s >= 0x200B && s <= 0x200F) || s == 0x2028 || s == 0x2029 || s == 0x2581 || s == 0xFEFF ||
         s == 0xFFFD;
}

class ReplaceStep final : public NormalizerStep {
 public:
  ReplaceStep(Regex pattern, std::string content)
      : pattern_(std::move(pattern)),
        content_(std::move(content)),
        content_scalars_(CountScalars(content_)) {}

  void Apply(NormalizedText* text) const override {
    const ScannedText scanned(text->text);
    std::vector<RegexMatch> matches;
    pattern_.FindAll(scanned, 0, scanned.scalars.size(), &matches);
    if (matches.empty()) return;
    text->from_origin = FromOrigin(matches, text->from_origin);
    text->text = ReplaceMatches(text->text, scanned, matches, content_);
  }

  // What is put in comes from where the last scalar of the match comes from.
  size_t FromOrigin(const std::vector<RegexMatch>& matches, size_t from_origin) const {
    size_t kept = from_origin;
    for (const RegexMatch& match : matches) {
      if (match.begin >= from_origin) break;
      if (match.end > from_origin) {
        kept -= from_origin - match.begin;
        break;
      }
      kept += content_scalars_;
      kept -= match.end - match.begin;
    }
    return kept;
  }

  static std::string ReplaceMatches(std::string_view text, const ScannedText& scanned,
                                    const std::vector<RegexMatch>& matches,
                                    std::string_view content) {
    std::string replaced;
    replaced.reserve(text.size());
    size_t at = 0;
    for (const RegexMatch& match : matches) {
      const size_t begin = scanned.offsets[match.begin];
      replaced.append(text.substr(at, begin - at)).append(content);
      at = scanned.offsets[match.end];
    }
    replaced.append(text.substr(at));
    return replaced;
  }

 private:
  Regex pattern_;
  std::string content_;
  size_t content_scalars_;
};

}  // namespace

std::string Normalizer::Of(std::string_view text) const {
  NormalizedText normalized{.text = std::string(text)};
  Apply(&normalized);
  return std::move(normalized.text);
}

std::unique_ptr<const NormalizerStep> MakeUnicodeFormStep(UnicodeForm form) {
  return Step([form](NormalizedText* text) { ToForm(text, form); });
}
std::unique_ptr<const NormalizerStep> MakeLowercaseStep() { return Step(Lowercase); }
std::unique_ptr<const NormalizerStep> MakeStripStep(bool left, bool right) {
  return Step([=](NormalizedText* text) { StripSpaces(text, left, right); });
}
std::unique_ptr<const NormalizerStep> MakeStripAccentsStep() {
  return Step([](NormalizedText* text) { Filter(text, IsAccent); });
}
std::unique_ptr<const NormalizerStep> MakeNmtStep() {
  return Step([](NormalizedText* text) {
    Filter(text, IsNmtDropped);
    Map(text, [](uint32_t s, std::u32string* out) { out->push_back(IsNmtSpace(s) ? ' ' : s); });
  });
}
std::unique_ptr<const NormalizerStep> MakeBertStep(const BertNormalizerOptions& options) {
  return Step([options](NormalizedText* text) { NormalizeForBert(options, text); });
}
std::unique_ptr<const NormalizerStep> MakeReplaceStep(Regex pattern, std::string content) {
  return std::make_unique<ReplaceStep>(std::move(pattern), std::move(content));
}
std::unique_ptr<const NormalizerStep> MakePrependStep(std::string prefix) {
  const size_t scalars = CountScalars(prefix);
  return Step([prefix = std::move(prefix), scalars](NormalizedText* text) {
    if (text->text.empty()) return;
    text->text.insert(0, prefix);
    text->from_origin += scalars;
  });
}
std::unique_ptr<const NormalizerStep> MakeCharsMapStep(CharsMap map) {
  auto shared = std::make_shared<const CharsMap>(std::move(map));  // functions must be copyable
  return Step([shared](NormalizedText* text) {
    Rewrite(text, [&](std::string_view part) { return shared->ReplaceClusters(part); });
  });
}
std::unique_ptr<const NormalizerStep> MakeByteLevelStep() {
  return Step([](NormalizedText* text) {
    Rewrite(text, [](std::string_view part) { return ByteLevelText(part); });
  });
}

std::string ReplaceMatches(std::string_view text, const Regex& pattern, std::string_view content) {
  const ScannedText scanned(text);
  std::vector<RegexMatch> matches;
  pattern.FindAll(scanned, 0, scanned.scalars.size(), &matches);
  return ReplaceStep::ReplaceMatches(text, scanned, matches, content);
}

}  // namespace conclave::engine
