// Takes the chunked transfer coding off a request body, strictly: no trailer fields, no bare LF, no
// whitespace before a size, at most 256 bytes of extension per chunk (they are ignored).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace conclave::gateway {

class ChunkedDecoder final {
 public:
  enum class State { kMore, kDone, kMalformed, kTooLarge };

  // Beyond `body_bytes_max` decoded bytes the state is kTooLarge.
  explicit ChunkedDecoder(size_t body_bytes_max) : body_bytes_max_(body_bytes_max) {}

  // Appends what it decodes to `body`. Returns the number of bytes of `input` that were used up;
  // the rest, after kDone, belongs to the next request.
  size_t Feed(std::string_view input, std::string* body);

  State state() const { return state_; }
  // A fixed word for the counter when malformed.
  std::string_view reason() const { return reason_; }

 private:
  enum class Step { kSize, kExtension, kSizeLf, kData, kDataCr, kDataLf, kLastCr, kLastLf };

  void Malformed(std::string_view reason);
  void TakeSizeChar(char c);
  void TakeByte(char c);
  void EndOfSizeLine();

  const size_t body_bytes_max_;
  State state_ = State::kMore;
  Step step_ = Step::kSize;
  std::string_view reason_;
  uint64_t size_ = 0;  // of the chunk, then what is left of it
  int size_digits_ = 0;
  size_t extension_bytes_ = 0;
};

}  // namespace conclave::gateway
