// Text to token ids and back. Immutable after loading, hence thread-safe.
//
// User text never produces special tokens (mesh reference I4): Encode recognises them only where
// the text is trusted, which is the text of the chat template itself. A prompt is tokenised in one
// go with the ranges the template wrote (chat/template.h), so merges cross the seams as they
// should.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "engine/request.h"

namespace conclave::engine {

struct EncodeOptions {
  bool parse_special = false;  // "<|im_end|>" in the text becomes that token
  bool add_special = false;    // add BOS and EOS (CLS and SEP) as the model file asks
};

// Bytes [begin, end) of a text.
struct TextRange {
  size_t begin = 0;
  size_t end = 0;
};

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Near-linear time on pathological input. Ids are < vocab_size(). Bytes that are not UTF-8 are
  // kept where the vocabulary can say them, else they become its unknown token.
  std::vector<TokenId> Encode(std::string_view text, const EncodeOptions& options) const;

  // The same with special tokens recognised only where they lie wholly inside one of `trusted`
  // (ascending, disjoint, within the text). Neighbouring ranges count as one.
  virtual std::vector<TokenId> EncodeTrusted(std::string_view text,
                                             std::span<const TextRange> trusted,
                                             bool add_special) const = 0;

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
  // "gpt2", "llama", "bert", "t5": tokenizer.ggml.model
  virtual std::string_view model_name() const = 0;
  // Whether Encode puts a space in front of the text, which Decode takes off again (SPM).
  virtual bool adds_space_prefix() const { return false; }
  // The bytes of a token that begins a text.
  virtual std::string FirstTokenBytes(TokenId id, bool render_special) const;

  // Concatenated bytes of a whole text; for a text that grows see incremental_decoder.h.
  // Ids outside the vocabulary are left out.
  std::string Decode(std::span<const TokenId> ids, bool render_special) const;
};

}  // namespace conclave::engine
