#include "engine/tokenizer/incremental_decoder.h"

#include "engine/tokenizer/unicode.h"

namespace conclave::engine {
namespace {

// `bytes` with each byte that is no part of a character replaced by U+FFFD.
std::string Repaired(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size());
  for (size_t at = 0; at < bytes.size();) {
    const DecodedScalar scalar = DecodeUtf8(bytes, at);
    if (scalar.value == kInvalidScalar) {
      AppendUtf8(kReplacementScalar, &text);
    } else {
      text.append(bytes.substr(at, scalar.length));
    }
    at += scalar.length;
  }
  return text;
}

}  // namespace

std::string IncrementalDecoder::Append(TokenId id) {
  if (id < 0 || id >= tokenizer_.vocab_size()) return "";
  held_ += tokenizer_.TokenBytes(id, render_special_);
  const size_t whole = held_.size() - IncompleteUtf8Suffix(held_);
  std::string text = Repaired(std::string_view(held_).substr(0, whole));
  held_.erase(0, whole);
  return text;
}

std::string IncrementalDecoder::Finish() {
  // What is held begins one character: one sign stands for all of it.
  std::string text;
  if (!held_.empty()) AppendUtf8(kReplacementScalar, &text);
  held_.clear();
  return text;
}

}  // namespace conclave::engine
