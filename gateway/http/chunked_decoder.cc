#include "gateway/http/chunked_decoder.h"

#include <algorithm>

#include "gateway/http/ascii.h"

namespace conclave::gateway {
namespace {

constexpr size_t kExtensionBytesMax = 256;
// 12 hex digits hold 256 TB: above any limit, below overflow.
constexpr int kSizeDigitsMax = 12;

}  // namespace

void ChunkedDecoder::Malformed(std::string_view reason) {
  state_ = State::kMalformed;
  reason_ = reason;
}

size_t ChunkedDecoder::Feed(std::string_view input, std::string* body) {
  size_t used = 0;
  while (used < input.size() && state_ == State::kMore) {
    if (step_ == Step::kData) {
      const size_t take = static_cast<size_t>(std::min<uint64_t>(size_, input.size() - used));
      body->append(input.substr(used, take));
      used += take;
      size_ -= take;
      if (size_ == 0) step_ = Step::kDataCr;
      continue;
    }
    TakeByte(input[used]);
    ++used;
    if (step_ == Step::kData && size_ > body_bytes_max_ - std::min(body->size(), body_bytes_max_)) {
      state_ = State::kTooLarge;
    }
  }
  return used;
}

void ChunkedDecoder::TakeSizeChar(char c) {
  const int digit = HexDigit(c);
  if (digit >= 0) {
    if (++size_digits_ > kSizeDigitsMax) return Malformed("chunk_size");
    size_ = size_ * 16 + static_cast<uint64_t>(digit);
    return;
  }
  if (size_digits_ == 0) return Malformed("chunk_size");
  if (c == ';') {
    step_ = Step::kExtension;
    extension_bytes_ = 0;
  } else if (c == '\r') {
    step_ = Step::kSizeLf;
  } else {
    Malformed("chunk_size");
  }
}

void ChunkedDecoder::TakeByte(char c) {
  switch (step_) {
    case Step::kSize:
      return TakeSizeChar(c);
    case Step::kExtension:
      if (c == '\r') {
        step_ = Step::kSizeLf;
      } else if (c == '\n' || c == '\0' || ++extension_bytes_ > kExtensionBytesMax) {
        Malformed("chunk_extension");
      }
      return;
    case Step::kSizeLf:
      return c == '\n' ? EndOfSizeLine() : Malformed("chunk_size");
    case Step::kDataCr:
      step_ = Step::kDataLf;
      return c == '\r' ? void() : Malformed("chunk_end");
    case Step::kDataLf:
      step_ = Step::kSize;
      size_ = 0;
      size_digits_ = 0;
      return c == '\n' ? void() : Malformed("chunk_end");
    case Step::kLastCr:
      step_ = Step::kLastLf;
      return c == '\r' ? void() : Malformed("trailer");
    case Step::kLastLf:
      state_ = State::kDone;
      return c == '\n' ? void() : Malformed("trailer");
    case Step::kData:
      return;  // taken in bulk by Feed
  }
}

void ChunkedDecoder::EndOfSizeLine() { step_ = size_ == 0 ? Step::kLastCr : Step::kData; }

}  // namespace conclave::gateway
