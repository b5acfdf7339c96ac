// The small notations of gRPC over HTTP/2: messages behind their lengths, percent-encoded text,
// time-outs, and the codes that stand for a status where the peer told none.
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"

namespace conclave::mesh {

// Bytes before each message: whether it is compressed, and its length, big-endian.
inline constexpr size_t kMessagePrefixBytes = 5;

std::string WithPrefix(std::string_view message);

// Puts messages together from pieces cut anywhere.
class MessageAssembler final {
 public:
  explicit MessageAssembler(size_t message_bytes_max) : message_bytes_max_(message_bytes_max) {}

  void Add(std::string_view bytes) { buffer_.append(bytes); }
  // The next whole message, valid until the next call of any function; nullopt: not there yet.
  // RESOURCE_EXHAUSTED: it is larger than allowed, as its prefix tells already. INTERNAL: it is
  // compressed, which was not offered.
  absl::StatusOr<std::optional<std::string_view>> Next();
  // Bytes that no message has been made of.
  size_t num_left() const { return buffer_.size() - begin_; }
  void Clear();

 private:
  const size_t message_bytes_max_;
  std::string buffer_;
  size_t begin_ = 0;  // of what is left
};

// "%41" → "A". What is no valid escape stays as it is.
std::string PercentDecoded(std::string_view text);

// At most eight digits and a unit.
std::string GrpcTimeout(std::chrono::milliseconds timeout);

// Of a grpc-status; UNKNOWN when it is none.
absl::StatusCode GrpcCode(std::string_view text);
// What an answer that is not gRPC's means.
absl::Status StatusOfHttp(int http_status);
// What a stream broken off with this HTTP/2 error code means.
absl::Status StatusOfReset(uint32_t h2_error);

}  // namespace conclave::mesh
