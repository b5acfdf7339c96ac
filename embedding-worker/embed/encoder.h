// What turns token ids into vectors, and pairs of texts into scores: one model, opened from a file.
// An architecture is a file of its own (bert.cc, nomic_bert.cc) and a row in all.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "embed/encoder_file.h"
#include "embed/pooling.h"
#include "engine/request.h"
#include "engine/tokenizer/tokenizer.h"

namespace conclave::embed {

struct EncoderInfo {
  std::string family;        // general.architecture: "bert"
  std::string format;        // of the file: "gguf", "safetensors"
  std::string quantization;  // the type most weights have: "F32"
  int32_t dimensions = 0;    // 1 for a reranker: its score
  int32_t tokens_max = 0;    // of one input, special tokens included
  Pooling pooling = Pooling::kMean;
  int64_t parameters = 0;
  int64_t weight_bytes = 0;

  // A reranker scores pairs and has no vectors to give.
  bool ranks() const { return pooling == Pooling::kRank; }
};

struct EncoderOptions {
  int num_threads = 0;     // 0 = one per usable core
  int32_t tokens_max = 0;  // of one input; 0 = what the model takes
};

// What the file says of its model; dimensions, tokens_max and pooling are the architecture's to
// fill in.
EncoderInfo DescribeFile(const EncoderFile& file);
// The smallest of the limits that are there; `context` is the model's own. INVALID_ARGUMENT when it
// leaves no room for a text between its special tokens.
absl::StatusOr<int32_t> TokensMax(const EncoderFile& file, const EncoderOptions& options,
                                  int32_t context);

// One text, or a pair of them, with its special tokens.
struct TokenSequence {
  std::vector<TokenId> ids;
  int32_t second = -1;  // where the second text begins; -1 = there is none
};

// Sequences laid end to end: number i is ids[offsets[i] .. offsets[i + 1]).
struct EncoderBatch {
  std::span<const TokenId> ids;
  std::span<const int32_t> offsets;
  // Where in `ids` the second text of each sequence begins; its end where there is none. Empty = no
  // sequence is a pair.
  std::span<const int32_t> seconds = {};

  size_t size() const { return offsets.size() - 1; }
};

class Encoder {
 public:
  virtual ~Encoder() = default;

  virtual const EncoderInfo& info() const = 0;
  // Thread-safe.
  virtual const engine::Tokenizer& tokenizer() const = 0;
  virtual const TextFrame& frame() const = 0;

  // Pooled vectors of the batch, sequences of 1 to tokens_max tokens. Writes [sequence][dimensions]
  // to `out`, not normalised. A sequence's vector is bitwise the same alone and in any batch. One
  // caller at a time.
  virtual void Encode(const EncoderBatch& batch, float* out) = 0;
};

struct EncoderKind {
  std::string_view architecture;  // general.architecture
  absl::StatusOr<std::unique_ptr<Encoder>> (*open)(EncoderFile file, const EncoderOptions& options);
};

// All of them, in all.cc.
std::span<const EncoderKind> AllEncoders();

// From a GGUF file or a Hugging Face folder. NOT_FOUND: a file is missing; INVALID_ARGUMENT: a file
// is broken, naming it; UNIMPLEMENTED: an architecture or a way of pooling that we do not have.
absl::StatusOr<std::unique_ptr<Encoder>> OpenEncoder(const std::string& path,
                                                     const EncoderOptions& options);

}  // namespace conclave::embed
