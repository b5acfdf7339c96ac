// What turns token ids into vectors: one model, opened from a Hugging Face folder. A family is a
// file (bert.cc) and a row in all.cc.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "embed/pooling.h"
#include "engine/request.h"
#include "engine/tokenizer/tokenizer.h"

namespace conclave::embed {

using engine::TokenId;

struct EncoderInfo {
  std::string family;  // "bert"
  int32_t dimensions = 0;
  int32_t tokens_max = 0;  // of one input, special tokens included
  Pooling pooling = Pooling::kMean;
  bool normalize = false;  // the model's own habit
  int64_t parameters = 0;
  int64_t weight_bytes = 0;
};

class Encoder {
 public:
  virtual ~Encoder() = default;

  virtual const EncoderInfo& info() const = 0;
  // Thread-safe.
  virtual const engine::Tokenizer& tokenizer() const = 0;

  // Pooled vectors of sequences laid end to end: sequence i is ids[offsets[i] .. offsets[i + 1]), 1
  // to tokens_max of them. Writes [sequence][dimensions] to `out`, not normalised. A sequence's
  // vector is bitwise the same alone and in any batch. One caller at a time.
  virtual void Encode(std::span<const TokenId> ids, std::span<const int32_t> offsets,
                      float* out) = 0;
};

struct EncoderOptions {
  int num_threads = 0;  // 0 = one per usable core
};

// The files of a model folder that every family reads.
struct ModelFolder {
  std::string path;
  base::JsonDocument config;  // config.json
  std::unique_ptr<engine::Tokenizer> tokenizer;
  Pooling pooling = Pooling::kMean;
  bool normalize = false;
  int32_t tokens_max = 0;  // 0 = the model's positions
};

struct EncoderKind {
  std::string_view model_type;  // of config.json
  absl::StatusOr<std::unique_ptr<Encoder>> (*open)(ModelFolder folder,
                                                   const EncoderOptions& options);
};

// All of them, in all.cc.
std::span<const EncoderKind> AllEncoders();

// NOT_FOUND: a file is missing; INVALID_ARGUMENT: a file is broken, naming it; UNIMPLEMENTED: a
// family or a way of pooling that we do not have.
absl::StatusOr<std::unique_ptr<Encoder>> OpenEncoder(const std::string& path,
                                                     const EncoderOptions& options);

absl::StatusOr<std::unique_ptr<Encoder>> OpenBert(ModelFolder folder,
                                                  const EncoderOptions& options);

}  // namespace conclave::embed
