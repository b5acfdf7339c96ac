// The one model of an embedding worker: its names, its encoder, and the batcher in front of it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "embed/batcher.h"
#include "embed/encoder.h"

namespace conclave::embed {

enum class Truncate { kEnd, kStart, kNone };

struct Input {
  TokenSequence tokens;  // special tokens included
  bool truncated = false;
};

// All of a pair that lies before its document.
struct Query {
  std::vector<TokenId> ids;
  // Where the model wants a pair in words: the words, of which those in `trusted` are the model's.
  std::string text;
  std::vector<engine::TextRange> trusted;
};

// What is known of a model even while it is not in memory.
struct ModelFacts {
  std::string name;
  std::vector<std::string> aliases;
  std::string revision;
  int64_t created_unix = 0;
  EncoderInfo info;
  int32_t vocab_size = 0;

  bool Answers(std::string_view asked) const;
  // NOT_FOUND (model_not_found) for another name; INVALID_ARGUMENT (model) when the model does not
  // do what is asked for.
  absl::Status CheckAsked(std::string_view asked, bool to_rank) const;
};

// Immutable but for the batcher; thread-safe.
class ServedModel final {
 public:
  ServedModel(std::string name, std::vector<std::string> aliases, std::string revision,
              int64_t created_unix, std::unique_ptr<Encoder> encoder,
              const BatcherOptions& batcher = {});

  const ModelFacts& facts() const { return facts_; }
  const Encoder& encoder() const { return *encoder_; }
  Batcher& batcher() { return batcher_; }

  // INVALID_ARGUMENT: too long with kNone, an id outside the vocabulary; `param` names the input.
  absl::StatusOr<Input> Prepare(std::string_view text, Truncate truncate,
                                const std::string& param) const;
  absl::StatusOr<Input> Prepare(std::vector<TokenId> ids, Truncate truncate,
                                const std::string& param) const;

  // INVALID_ARGUMENT (query) when it leaves no room for a document.
  absl::StatusOr<Query> PrepareQuery(std::string_view text) const;
  // The pair of a query and a document, which alone is cut.
  absl::StatusOr<Input> PreparePair(const Query& query, std::string_view document,
                                    Truncate truncate, const std::string& param) const;

 private:
  const std::unique_ptr<Encoder> encoder_;
  const ModelFacts facts_;
  Batcher batcher_;
};

// The vector a caller asked for: the first `dimensions` of it (0 = all), normalised if wanted.
std::vector<float> Finish(std::vector<float> vector, int32_t dimensions, bool normalize);

// Opens the file or folder and fingerprints it.
absl::StatusOr<std::unique_ptr<ServedModel>> OpenServedModel(std::string name,
                                                             std::vector<std::string> aliases,
                                                             const std::string& path,
                                                             const EncoderOptions& options,
                                                             const BatcherOptions& batcher);

}  // namespace conclave::embed
