#include "engine/tokenizer/pipeline.h"

#include <utility>

namespace conclave::engine {
namespace {

class PipelineTokenizer final : public VocabularyTokenizer {
 public:
  explicit PipelineTokenizer(Pipeline pipeline)
      : VocabularyTokenizer(std::move(pipeline.vocabulary)), parts_(std::move(pipeline)) {
    for (const AddedToken& added : parts_.normalized_tokens) {
      normalized_specials_.Add(parts_.normalizer.Of(vocabulary().text(added.id)),
                               {.id = added.id,
                                .guarded = vocabulary().IsGuarded(added.id),
                                .single_word = added.single_word,
                                .lstrip = added.lstrip,
                                .rstrip = added.rstrip});
    }
  }

  std::string TokenBytes(TokenId id, bool render_special) const override {
    return Bytes(id, render_special, false);
  }
  std::string FirstTokenBytes(TokenId id, bool render_special) const override {
    return Bytes(id, render_special, true);
  }
  std::string_view model_name() const override { return parts_.model_name; }

 protected:
  void EncodeText(std::string_view text, const Place& place,
                  std::vector<TokenId>* ids) const override {
    NormalizedText normalized{.text = std::string(text)};
    parts_.normalizer.Apply(&normalized);
    if (normalized_specials_.empty()) {
      EncodeWords(std::move(normalized), place.is_first, ids);
      return;
    }
    const TextRange all{0, normalized.text.size()};
    const std::span<const TextRange> trusted(&all, place.trusted ? 1 : 0);
    for (const TextPiece& piece : normalized_specials_.Cut(normalized.text, trusted)) {
      if (piece.id >= 0) {
        ids->push_back(piece.id);
        continue;
      }
      EncodeWords({.text = normalized.text.substr(piece.begin, piece.end - piece.begin),
                   .from_origin = piece.begin == 0 ? normalized.from_origin : 0},
                  place.is_first, ids);
    }
  }

 private:
  std::string Bytes(TokenId id, bool render_special, bool first) const {
    const std::string& text = vocabulary().text(id);
    if (IsControl(id)) return render_special ? text : "";
    if (vocabulary().type(id) == TokenType::kUserDefined) return text;
    return parts_.text.Of(text, first);
  }

  void EncodeWords(NormalizedText text, bool first, std::vector<TokenId>* ids) const {
    CutText cut(std::move(text), first);
    for (const auto& step : parts_.cuts) step->Apply(&cut);
    for (const CutText::Word& word : cut.words) {
      // Bytes that are not UTF-8 alone may be together, and a word lose its last byte to another.
      if (const std::string_view of_word = cut.TextOf(word); !of_word.empty()) {
        parts_.model->Encode(of_word, ids);
      }
    }
  }

  Pipeline parts_;  // its vocabulary is the base's now
  SpecialTokens normalized_specials_;
};

}  // namespace

std::unique_ptr<Tokenizer> MakePipelineTokenizer(Pipeline pipeline) {
  return std::make_unique<PipelineTokenizer>(std::move(pipeline));
}

}  // namespace conclave::engine
