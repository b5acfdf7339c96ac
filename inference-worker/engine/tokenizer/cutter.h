// What tokenizer.json files call pre-tokenizers: steps that cut a text into the words a model works
// on, and some that change it on the way.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/pretokenize.h"
#include "engine/tokenizer/regex.h"
#include "engine/tokenizer/scanned_text.h"

namespace conclave::engine {

// The words so far: scalars [begin, end) of one text, in order, with what was cut away between.
struct CutText {
  struct Word {
    size_t begin = 0;
    size_t end = 0;
    // Scalars at the word's beginning that come from that of the whole text (NormalizedText).
    size_t from_origin = 0;
  };
  // `first`: the text begins the whole text that was given.
  CutText(NormalizedText given, bool first);

  std::string_view TextOf(const Word& word) const {
    const size_t begin = scanned.offsets[word.begin];
    return std::string_view(text).substr(begin, scanned.offsets[word.end] - begin);
  }
  // The part [begin, end) of a word as one of its own.
  static Word PartOf(const Word& word, size_t begin, size_t end);

  std::string text;
  ScannedText scanned;
  std::vector<Word> words;  // none is empty
};

// Immutable; thread-safe.
class CutStep {
 public:
  virtual ~CutStep() = default;
  virtual void Apply(CutText* text) const = 0;
};

// What becomes of the matches that cut a text (SplitDelimiterBehavior).
enum class MatchBehavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };

std::unique_ptr<const CutStep> MakeStageCut(CutStage stage);
// `inverted`: what lies between the matches cuts.
std::unique_ptr<const CutStep> MakeRegexCut(Regex pattern, MatchBehavior behavior, bool inverted);
// Each scalar of the class is a match of its own.
std::unique_ptr<const CutStep> MakeClassCut(bool (*is_match)(uint32_t), MatchBehavior behavior);

enum class PrependScheme { kNever, kFirst, kAlways };
struct MetaspaceOptions {
  std::string replacement = "▁";
  PrependScheme prepend = PrependScheme::kAlways;
  bool split = true;
};
// Spaces become the replacement, one is put in front, words begin with one.
std::unique_ptr<const CutStep> MakeMetaspaceCut(const MetaspaceOptions& options);
// Puts a space in front of words that begin with none.
std::unique_ptr<const CutStep> MakePrefixSpaceCut();
// Words as byte_level.h spells them; for steps that come after that.
std::unique_ptr<const CutStep> MakeByteLevelCut();

}  // namespace conclave::engine
