// A tokenizer put together from its parts, in the order a text passes them: special tokens are
// found in it, what lies between is normalised, cut into words, and each word becomes ids.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/tokenizer/cutter.h"
#include "engine/tokenizer/load.h"
#include "engine/tokenizer/normalizer.h"
#include "engine/tokenizer/token_model.h"
#include "engine/tokenizer/token_text.h"
#include "engine/tokenizer/tokenizer.h"
#include "engine/tokenizer/vocabulary.h"

namespace conclave::engine {

struct Pipeline {
  std::unique_ptr<const Vocabulary> vocabulary;
  // Tokens looked for in the normalised text; others are the vocabulary's own business.
  std::vector<AddedToken> normalized_tokens;
  Normalizer normalizer;
  std::vector<std::unique_ptr<const CutStep>> cuts;
  std::unique_ptr<const TokenModel> model;
  TokenText text;
  std::string model_name;  // Tokenizer::model_name
};

std::unique_ptr<Tokenizer> MakePipelineTokenizer(Pipeline pipeline);

}  // namespace conclave::engine
