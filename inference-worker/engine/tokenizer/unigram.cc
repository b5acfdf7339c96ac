#include "engine/tokenizer/unigram.h"

#include <utility>

#include "engine/tokenizer/charsmap.h"
#include "engine/tokenizer/pipeline.h"

namespace conclave::engine {
namespace {

constexpr std::string_view kSpace = "▁";  // U+2581

// What sentencepiece does to a text before it looks for tokens.
class SentencePieceStep final : public NormalizerStep {
 public:
  SentencePieceStep(CharsMap map, bool prefix, bool merge_spaces)
      : map_(std::move(map)), prefix_(prefix), merge_spaces_(merge_spaces) {}

  void Apply(NormalizedText* text) const override {
    std::string out;
    bool inside_word = false, has_prefix = false;
    const auto append = [&](std::string_view part) {
      for (const char byte : part) {
        if (byte == ' ') {
          if (!merge_spaces_) out += kSpace;
          inside_word = false;
          continue;
        }
        // Runs of spaces are one, in front of the next word; none is left at either end but the
        // one that begins the text.
        const bool wants_space =
            !inside_word && (merge_spaces_ ? has_prefix || prefix_ : prefix_ && !has_prefix);
        if (wants_space) out += kSpace;
        has_prefix = true;
        inside_word = true;
        out.push_back(byte);
      }
    };
    const std::string& given = text->text;
    for (size_t at = 0; at < given.size();) {
      const CharsMap::Replacement replacement = map_.Longest(std::string_view(given).substr(at));
      if (replacement.length > 0) {
        append(replacement.text);
        at += replacement.length;
        continue;
      }
      const DecodedScalar scalar = DecodeUtf8(given, at);
      append(scalar.value == kInvalidScalar ? std::string_view("\xEF\xBF\xBD")
                                            : std::string_view(given).substr(at, scalar.length));
      at += scalar.length;
    }
    // A "▁" of the text itself counts as a space here.
    while (merge_spaces_ && out.ends_with(kSpace)) out.resize(out.size() - kSpace.size());
    text->text = std::move(out);
  }

 private:
  CharsMap map_;
  bool prefix_;
  bool merge_spaces_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeUnigramTokenizer(TokenizerSpec spec) {
  Pipeline pipeline;
  pipeline.model_name = "t5";
  const std::vector<float> scores = std::move(spec.scores);
  ASSIGN_OR_RETURN(CharsMap map, CharsMap::Parse(spec.charsmap));
  ASSIGN_OR_RETURN(pipeline.vocabulary, Vocabulary::Make(&spec));
  const Vocabulary& vocabulary = *pipeline.vocabulary;
  pipeline.normalizer.Add(std::make_unique<SentencePieceStep>(std::move(map), spec.add_space_prefix,
                                                              spec.remove_extra_whitespaces));
  UnigramOptions options{.scores = {scores.begin(), scores.end()},
                         .entries = ModelEntries(static_cast<size_t>(vocabulary.size())),
                         .unknown = vocabulary.unknown()};
  bool has_bytes = false;
  for (TokenId id = 0; id < vocabulary.size(); ++id) {
    const TokenType type = vocabulary.type(id);
    has_bytes = has_bytes || type == TokenType::kByte;
    options.entries[static_cast<size_t>(id)] =
        type != TokenType::kControl && type != TokenType::kUnknown && type != TokenType::kUnused;
  }
  options.byte_fallback = has_bytes;
  ASSIGN_OR_RETURN(pipeline.model, MakeUnigramModel(vocabulary, std::move(options)));
  pipeline.text.Add(MakeByteFallbackText());
  pipeline.text.Add(MakeReplaceText(*Regex::Literal(kSpace), " "));
  pipeline.text.Add(MakeStripText(" ", 1, 0, true));
  return MakePipelineTokenizer(std::move(pipeline));
}

}  // namespace conclave::engine
