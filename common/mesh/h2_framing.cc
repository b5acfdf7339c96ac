#include "mesh/h2_framing.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace conclave::mesh {
namespace {

// A buffer that grew for one large message is not kept for small ones.
constexpr size_t kKeptBytesMax = 64 << 10;

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

std::string WithPrefix(std::string_view message) {
  std::string framed(kMessagePrefixBytes, '\0');
  for (size_t i = 0; i < 4; ++i) {
    framed[1 + i] = static_cast<char>(message.size() >> (24 - 8 * i) & 0xff);
  }
  framed += message;
  return framed;
}

absl::StatusOr<std::optional<std::string_view>> MessageAssembler::Next() {
  if (begin_ == buffer_.size()) Clear();
  const std::string_view left = std::string_view(buffer_).substr(begin_);
  if (left.size() < kMessagePrefixBytes) return std::nullopt;
  if (left[0] != 0) return base::Internal("a compressed message, which was not offered");
  size_t length = 0;
  for (size_t i = 1; i < kMessagePrefixBytes; ++i) {
    length = length << 8 | static_cast<unsigned char>(left[i]);
  }
  if (length > message_bytes_max_) {
    return base::ResourceExhausted("a message of " + std::to_string(length) + " bytes; at most " +
                                   std::to_string(message_bytes_max_));
  }
  if (left.size() - kMessagePrefixBytes < length) {
    // What was taken before makes room, once it is the larger part.
    if (begin_ > left.size()) {
      buffer_.erase(0, begin_);
      begin_ = 0;
    }
    return std::nullopt;
  }
  begin_ += kMessagePrefixBytes + length;
  return left.substr(kMessagePrefixBytes, length);
}

void MessageAssembler::Clear() {
  begin_ = 0;
  if (buffer_.capacity() > kKeptBytesMax) {
    std::string().swap(buffer_);
  } else {
    buffer_.clear();
  }
}

std::string PercentDecoded(std::string_view text) {
  std::string decoded;
  decoded.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      const int high = HexDigit(text[i + 1]);
      const int low = HexDigit(text[i + 2]);
      if (high >= 0 && low >= 0) {
        decoded += static_cast<char>(high << 4 | low);
        i += 2;
        continue;
      }
    }
    decoded += text[i];
  }
  return decoded;
}

std::string GrpcTimeout(std::chrono::milliseconds timeout) {
  constexpr int64_t kMax = 99'999'999;
  const int64_t ms = std::max<int64_t>(timeout.count(), 1);
  if (ms <= kMax) return std::to_string(ms) + "m";
  return std::to_string(std::min(ms / 1000, kMax)) + "S";
}

absl::StatusCode GrpcCode(std::string_view text) {
  constexpr int kCodeMax = static_cast<int>(absl::StatusCode::kUnauthenticated);
  int code = -1;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), code);
  const bool whole = parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
  if (!whole || code < 0 || code > kCodeMax) return absl::StatusCode::kUnknown;
  return static_cast<absl::StatusCode>(code);
}

// https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md
absl::Status StatusOfHttp(int http_status) {
  const std::string what = "the peer answered with HTTP status " + std::to_string(http_status);
  switch (http_status) {
    case 400:
      return absl::InternalError(what);
    case 401:
      return absl::UnauthenticatedError(what);
    case 403:
      return absl::PermissionDeniedError(what);
    case 404:
      return absl::UnimplementedError(what);
    case 429:
    case 502:
    case 503:
    case 504:
      return absl::UnavailableError(what);
    default:
      return absl::UnknownError(what);
  }
}

absl::Status StatusOfReset(uint32_t h2_error) {
  // RFC 9113 §7.
  constexpr uint32_t kRefusedStream = 7;
  constexpr uint32_t kCancel = 8;
  constexpr uint32_t kEnhanceYourCalm = 11;
  constexpr uint32_t kInadequateSecurity = 12;
  const std::string what = "the stream was reset with HTTP/2 error " + std::to_string(h2_error);
  switch (h2_error) {
    case kRefusedStream:
      return absl::UnavailableError(what);
    case kCancel:
      return absl::CancelledError(what);
    case kEnhanceYourCalm:
      return absl::ResourceExhaustedError(what);
    case kInadequateSecurity:
      return absl::PermissionDeniedError(what);
    default:
      return absl::InternalError(what);
  }
}

}  // namespace conclave::mesh
