// Text to token ids and back. Immutable after loading, hence thread-safe.
//
// User text never produces special tokens (mesh reference I4): Encode parses them only where
// `parse_special` says so, which is for the text of the chat template itself. A prompt is therefore
// tokenised segment by segment (chat/template.h gives the segments).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/request.h"

namespace conclave::engine {

struct EncodeOptions {
  bool parse_special = false;  // "<|im_end|>" in the text becomes that token
  bool add_special = false;    // add BOS (and EOS) as the model file asks
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Linear time on pathological input. Appends nothing but ids < vocab_size().
  virtual std::vector<TokenId> Encode(std::string_view text, const EncodeOptions& options) const = 0;

  // The bytes of one token (they need not be whole UTF-8 sequences). Control tokens give their
  // text only when `render_special`. Precondition: 0 <= id < vocab_size().
  virtual std::string TokenBytes(TokenId id, bool render_special) const = 0;

  virtual int32_t vocab_size() const = 0;
  virtual bool IsControl(TokenId id) const = 0;
  // EOS, EOT, EOM and their kin: the ids that end a generation.
  virtual bool IsEndOfGeneration(TokenId id) const = 0;
  virtual TokenId bos() const = 0;  // -1 = the model has none
  virtual TokenId eos() const = 0;  // -1 = the model has none
  // The id whose text is exactly `text` (special tokens included), or -1.
  virtual TokenId Find(std::string_view text) const = 0;
  virtual bool adds_bos() const = 0;
  // "gpt2", "llama", "bert": tokenizer.ggml.model
  virtual std::string_view model_name() const = 0;

  // Concatenated bytes.
  std::string Decode(const std::vector<TokenId>& ids, bool render_special) const;
};

}  // namespace conclave::engine
