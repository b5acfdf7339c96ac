// gRPC as its client speaks it over HTTP/2, without a socket: bytes in, bytes out. nghttp2 knows
// the frames, the header compression and the windows; here is what gRPC makes of them, for calls
// with one request and a stream of replies.
// https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
//
// Owned by one thread. The peer is not trusted: what it can make us keep is bounded by the windows
// (kStreamWindow for each stream that is not read) and by nghttp2's limit on headers (64 KB).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "base/status.h"

struct nghttp2_session;

namespace conclave::mesh {

class H2Session final {
 public:
  // As much as a stream that nobody reads holds in flight.
  static constexpr int32_t kStreamWindow = 64 << 10;

  // Who waits for a stream. Called from inside Receive and TakeOutput: note it, and do no more.
  class Stream {
   public:
    virtual ~Stream() = default;
    // Of the replies, each behind its prefix of five bytes (h2_framing.h); cut anywhere.
    virtual void OnData(std::string_view bytes) = 0;
    // Once, last. The status that the peer told, or what became of the stream.
    virtual void OnEnd(absl::Status status) = 0;
  };

  struct Request {
    std::string_view path;  // "/package.Service/Method"
    std::string message;
    std::chrono::milliseconds timeout{0};  // told to the peer; 0 = none
  };

  // scheme: "http" or "https". authority: host:port.
  H2Session(std::string scheme, std::string authority);
  ~H2Session();  // tells the streams nothing
  H2Session(const H2Session&) = delete;
  H2Session& operator=(const H2Session&) = delete;

  // The number of the stream. UNAVAILABLE: the peer takes no further streams. `stream` must live
  // until its OnEnd or Cancel.
  absl::StatusOr<int32_t> Open(Request request, Stream* stream);
  // So many bytes of OnData are dealt with: the peer may send as many more.
  void Consume(int32_t id, size_t bytes);
  // Breaks the stream off; nothing more is told of it.
  void Cancel(int32_t id);
  // The peer must answer it.
  void Ping();

  // Not OK: the connection is of no further use.
  absl::Status Receive(std::string_view bytes);
  // Appends what is to be sent; when it was much, there may be more.
  void TakeOutput(std::string* out);

  bool takes_streams() const;
  // Nothing more will be read or written.
  bool over() const;

 private:
  friend struct H2Callbacks;
  struct Call;

  const std::string scheme_;
  const std::string authority_;
  nghttp2_session* session_ = nullptr;
  std::unordered_map<int32_t, std::unique_ptr<Call>> calls_;
};

}  // namespace conclave::mesh
