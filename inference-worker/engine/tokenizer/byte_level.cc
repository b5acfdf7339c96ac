#include "engine/tokenizer/byte_level.h"

#include <array>
#include <cstdint>

#include "engine/tokenizer/unicode.h"

namespace conclave::engine {
namespace {

struct ByteAlphabet {
  std::array<std::string, 256> texts;
  std::array<int16_t, 0x144> bytes;  // by scalar; -1 = not in the alphabet

  ByteAlphabet() {
    bytes.fill(-1);
    uint32_t next = 0x100;
    for (uint32_t byte = 0; byte < 256; ++byte) {
      const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
      const uint32_t scalar = printable ? byte : next++;
      AppendUtf8(scalar, &texts[byte]);
      bytes[scalar] = static_cast<int16_t>(byte);
    }
  }
};

const ByteAlphabet& Alphabet() {
  static const auto* alphabet = new ByteAlphabet();
  return *alphabet;
}

// Appends what `text` stands for; false when some of it was outside the alphabet.
bool AppendBytes(std::string_view text, std::string* bytes) {
  const ByteAlphabet& alphabet = Alphabet();
  bool all = true;
  for (size_t at = 0; at < text.size();) {
    const DecodedScalar scalar = DecodeUtf8(text, at);
    if (scalar.value < alphabet.bytes.size() && alphabet.bytes[scalar.value] >= 0) {
      bytes->push_back(static_cast<char>(alphabet.bytes[scalar.value]));
    } else {
      bytes->append(text.substr(at, scalar.length));
      all = false;
    }
    at += scalar.length;
  }
  return all;
}

}  // namespace

std::string_view ByteLevelText(unsigned char byte) { return Alphabet().texts[byte]; }

std::string ByteLevelText(std::string_view bytes) {
  std::string text;
  text.reserve(bytes.size() + bytes.size() / 2);
  for (const char byte : bytes) text += ByteLevelText(static_cast<unsigned char>(byte));
  return text;
}

std::string ByteLevelBytes(std::string_view text) {
  std::string bytes;
  bytes.reserve(text.size());
  AppendBytes(text, &bytes);
  return bytes;
}

std::string ByteLevelTokenBytes(std::string_view text) {
  std::string bytes;
  return AppendBytes(text, &bytes) ? bytes : std::string(text);
}

}  // namespace conclave::engine
