// What tokenizer.json files call normalizers: steps that rewrite a text before it is cut.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/tokenizer/charsmap.h"
#include "engine/tokenizer/regex.h"
#include "engine/tokenizer/unicode_forms.h"

namespace conclave::engine {

// A text on its way, and how many scalars at its beginning come from the first scalar of the text
// as it was given, those that steps have put in front among them: a metaspace may be put in front
// of what begins the given text only.
struct NormalizedText {
  std::string text;
  size_t from_origin = 1;
};

// Immutable; thread-safe. Bytes that are not UTF-8 go through as they are.
class NormalizerStep {
 public:
  virtual ~NormalizerStep() = default;
  virtual void Apply(NormalizedText* text) const = 0;
};

// Steps one after the other.
class Normalizer final {
 public:
  void Add(std::unique_ptr<const NormalizerStep> step) { steps_.push_back(std::move(step)); }
  bool empty() const { return steps_.empty(); }
  void Apply(NormalizedText* text) const {
    for (const auto& step : steps_) step->Apply(text);
  }
  std::string Of(std::string_view text) const;

 private:
  std::vector<std::unique_ptr<const NormalizerStep>> steps_;
};

struct BertNormalizerOptions {
  bool clean_text = true;
  bool spaces_around_ideographs = true;
  bool strip_accents = true;
  bool lower_case = true;
};

std::unique_ptr<const NormalizerStep> MakeUnicodeFormStep(UnicodeForm form);
std::unique_ptr<const NormalizerStep> MakeLowercaseStep();
std::unique_ptr<const NormalizerStep> MakeStripStep(bool left, bool right);
std::unique_ptr<const NormalizerStep> MakeStripAccentsStep();
std::unique_ptr<const NormalizerStep> MakeNmtStep();
std::unique_ptr<const NormalizerStep> MakeBertStep(const BertNormalizerOptions& options);
std::unique_ptr<const NormalizerStep> MakeReplaceStep(Regex pattern, std::string content);
std::unique_ptr<const NormalizerStep> MakePrependStep(std::string prefix);
// A character map as Hugging Face tokenizers applies it, cluster by cluster.
std::unique_ptr<const NormalizerStep> MakeCharsMapStep(CharsMap map);
// Bytes as the characters that stand for them in a byte-level vocabulary (bpe_model.h).
std::unique_ptr<const NormalizerStep> MakeByteLevelStep();

// `text` with each match of `pattern` replaced.
std::string ReplaceMatches(std::string_view text, const Regex& pattern, std::string_view content);

}  // namespace conclave::engine
