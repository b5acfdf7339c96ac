// Any text through every tokenizer: ids in range, bytes that come back, text in valid pieces.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "engine/tokenizer/byte_level.h"
#include "engine/tokenizer/incremental_decoder.h"
#include "engine/tokenizer/load.h"
#include "engine/tokenizer/unicode.h"

namespace {

using namespace conclave::engine;

std::unique_ptr<Tokenizer> Bpe(std::string_view pre) {
  TokenizerSpec spec;
  spec.model = "gpt2";
  spec.pre = pre;
  for (int byte = 0; byte < 256; ++byte) {
    spec.tokens.emplace_back(ByteLevelText(static_cast<unsigned char>(byte)));
  }
  spec.tokens.insert(spec.tokens.end(), {"aa", "aaa", "ab", "<|a|>", "<b>"});
  spec.types.assign(259, static_cast<int32_t>(TokenType::kNormal));
  spec.types.push_back(static_cast<int32_t>(TokenType::kControl));
  spec.types.push_back(static_cast<int32_t>(TokenType::kUserDefined));
  spec.merges = {"a a", "aa a", "a b"};
  return MakeTokenizer(std::move(spec)).value();
}

std::unique_ptr<Tokenizer> Spm() {
  TokenizerSpec spec;
  spec.model = "llama";
  spec.tokens = {"<unk>",
                 "a",
                 "aa",
                 "\xE2\x96\x81",
                 "\xE2\x96\x81"
                 "a",
                 "<s>"};
  spec.types = {2, 1, 1, 1, 1, 3};
  for (int byte = 0; byte < 256; ++byte) {
    constexpr char kHex[] = "0123456789ABCDEF";
    spec.tokens.push_back({'<', '0', 'x', kHex[byte >> 4], kHex[byte & 15], '>'});
    spec.types.push_back(6);
  }
  spec.scores.assign(spec.tokens.size(), -1);
  spec.unknown = 0;
  spec.add_space_prefix = true;
  return MakeTokenizer(std::move(spec)).value();
}

void CheckRoundTrip(const Tokenizer& tokenizer, std::string_view text, bool exact) {
  const auto ids = tokenizer.Encode(text, {.parse_special = true});
  IncrementalDecoder decoder(tokenizer, true);
  for (const TokenId id : ids) {
    CHECK(id >= 0 && id < tokenizer.vocab_size());
    const std::string piece = decoder.Append(id);
    for (size_t at = 0; at < piece.size();) {
      const DecodedScalar scalar = DecodeUtf8(piece, at);
      CHECK(scalar.value != kInvalidScalar);
      at += scalar.length;
    }
  }
  CHECK(decoder.held() <= 3);
  if (exact) CHECK(tokenizer.Decode(ids, true) == text);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  static const std::vector<std::unique_ptr<Tokenizer>>* tokenizers = [] {
    auto* made = new std::vector<std::unique_ptr<Tokenizer>>();
    for (const char* pre : {"default", "gpt-2", "llama-bpe", "gpt-4o", "deepseek-llm",
                            "deepseek-coder", "deepseek-v3", "falcon", "starcoder"}) {
      made->push_back(Bpe(pre));
    }
    return made;
  }();
  static const Tokenizer* spm = Spm().release();
  static const Tokenizer* word_piece =
      LoadVocabTxt("[UNK]\n[CLS]\n[SEP]\na\n##a\nb\n.\n", true).value().release();
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t choice = data[0] % (tokenizers->size() + 2);
  if (choice < tokenizers->size()) {
    CheckRoundTrip(*(*tokenizers)[choice], text, true);
  } else if (choice == tokenizers->size()) {
    // A space sign in the text is a space in the tokens.
    CheckRoundTrip(*spm, text,
                   text.find("\xE2\x96\x81") == std::string_view::npos &&
                       text.find('<') == std::string_view::npos);
  } else {
    CheckRoundTrip(*word_piece, text, false);
  }
  return 0;
}
