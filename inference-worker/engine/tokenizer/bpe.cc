#include "engine/tokenizer/bpe.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "engine/tokenizer/pipeline.h"
#include "engine/tokenizer/pretokenize.h"

namespace conclave::engine {
namespace {

constexpr char kMergesKey[] = "tokenizer.ggml.merges";

absl::StatusOr<std::vector<std::pair<std::string, std::string>>> SplitMerges(
    const std::vector<std::string>& merges) {
  std::vector<std::pair<std::string, std::string>> split;
  split.reserve(merges.size());
  for (const std::string& merge : merges) {
    // A left part of " " itself is possible, hence the search from the second byte on.
    const size_t space = merge.find(' ', 1);
    if (space == std::string::npos || space + 1 == merge.size()) {
      return base::InvalidArgument(absl::StrCat(kMergesKey, "[", split.size(),
                                                "]: expected two tokens separated by a space"));
    }
    split.emplace_back(merge.substr(0, space), merge.substr(space + 1));
  }
  return split;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Tokenizer>> MakeBpeTokenizer(TokenizerSpec spec) {
  ASSIGN_OR_RETURN(const CutFamily* family, FindCutFamily(spec.pre));
  Pipeline pipeline;
  pipeline.model_name = "gpt2";
  ASSIGN_OR_RETURN(pipeline.vocabulary, Vocabulary::Make(&spec));
  for (const CutStage stage : family->stages) pipeline.cuts.push_back(MakeStageCut(stage));
  for (const std::string_view expression : family->expressions) {
    if (const CutStage stage = FindCutStage(expression)) {
      pipeline.cuts.push_back(MakeStageCut(stage));
      continue;
    }
    ASSIGN_OR_RETURN(Regex pattern, Regex::Compile(expression));
    pipeline.cuts.push_back(MakeRegexCut(std::move(pattern), MatchBehavior::kIsolated, false));
  }
  BpeOptions options{.byte_level = true,
                     .unknown = pipeline.vocabulary->unknown(),
                     .ignore_merges = spec.ignore_merges || family->ignores_merges,
                     .merges_key = kMergesKey};
  ASSIGN_OR_RETURN(options.merges, SplitMerges(spec.merges));
  ASSIGN_OR_RETURN(pipeline.model, MakeBpeModel(*pipeline.vocabulary, std::move(options)));
  pipeline.text.Add(MakeByteLevelText());
  return MakePipelineTokenizer(std::move(pipeline));
}

}  // namespace conclave::engine
