#include "engine/tokenizer/wordpiece.h"

#include <utility>

#include "engine/tokenizer/pipeline.h"

namespace conclave::engine {

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeWordPieceTokenizer(TokenizerSpec spec) {
  Pipeline pipeline;
  pipeline.model_name = "bert";
  ASSIGN_OR_RETURN(pipeline.vocabulary, Vocabulary::Make(&spec));
  if (pipeline.vocabulary->unknown() < 0) {
    return base::InvalidArgument("tokenizer.ggml.unknown_token_id: required for WordPiece");
  }
  pipeline.normalizer.Add(
      MakeBertStep({.strip_accents = spec.strip_accents.value_or(spec.lower_case),
                    .lower_case = spec.lower_case}));
  pipeline.cuts.push_back(MakeClassCut(IsWhiteSpace, MatchBehavior::kRemoved));
  pipeline.cuts.push_back(MakeClassCut(IsCutPunctuation, MatchBehavior::kIsolated));
  ASSIGN_OR_RETURN(
      pipeline.model,
      MakeWordPieceModel(*pipeline.vocabulary, {.unknown = pipeline.vocabulary->unknown(),
                                                .word_prefix = spec.word_prefix,
                                                .continuing_prefix = spec.continuation_prefix}));
  if (spec.word_prefix.empty()) {
    pipeline.text.Add(MakeWordPieceText(spec.continuation_prefix, false));
  } else {
    pipeline.text.Add(MakeMetaspaceText(spec.word_prefix, true));
  }
  return MakePipelineTokenizer(std::move(pipeline));
}

}  // namespace conclave::engine
