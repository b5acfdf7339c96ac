// HTTP towards servers we do not run: libcurl's multi interface on one thread of its own. Bounded
// (requests at once, requests waiting), every phase with a deadline, no redirects, no proxies from
// the environment, HTTP/1.1 so that a cancelled request closes its connection. http_client.cc
// and http_url.cc are the files that know libcurl.
#pragma once

#include <sys/socket.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace conclave::backends {

struct HttpTimes {
  std::chrono::milliseconds connect{5'000};
  std::chrono::milliseconds first_byte{120'000};  // from the connection's start to the head
  std::chrono::milliseconds idle{60'000};         // between two reads; not while paused
  std::chrono::milliseconds total{30 * 60'000};   // with the time in the queue
};

struct HttpRequest {
  std::string method = "POST";
  std::string url;
  std::vector<std::string> headers;  // "name: value"
  std::string body;
  HttpTimes times;
  bool urgent = false;  // takes no place and does not wait for one: probes
  // Asked with every address before it is connected to, after the name was resolved: what it lets
  // through is what is connected to. Empty = everything. Requests to one host and port share
  // connections, so they must share the answer too.
  std::function<bool(const sockaddr& address)> allow_address;
};

struct HttpHead {
  int status = 0;
  std::string content_type;                  // lower case, without parameters
  std::chrono::milliseconds retry_after{0};  // 0 = not told
  int64_t content_length = -1;               // -1 = not told
  int64_t range_begin = -1;                  // of a Content-Range in bytes; -1 = not told
};

enum class HttpFlow {
  kContinue,
  kPause,  // nothing more until HttpClient::Unpause
  kStop,   // the listener has heard enough; OnEnd(CANCELLED) follows
};

// Hears one exchange, on the client's thread: must not block.
class HttpListener {
 public:
  virtual ~HttpListener() = default;
  virtual void OnHead(const HttpHead& head) = 0;
  virtual HttpFlow OnBody(std::string_view bytes) = 0;
  // Exactly once, last. OK: the whole answer came, whatever its status. UNAVAILABLE with reason
  // upstream_unreachable (no connection), upstream_tls or upstream_lost (cut off);
  // PERMISSION_DENIED address_denied; DEADLINE_EXCEEDED upstream_timeout; CANCELLED.
  virtual void OnEnd(const absl::Status& status) = 0;
};

struct HttpClientOptions {
  int32_t running_max = 64;
  int32_t queued_max = 256;
  std::string ca_file;    // empty = the system's
  std::string cert_file;  // with key_file: our own certificate
  std::string key_file;
  bool verify_tls = true;
};

class HttpExchange;  // a request in flight; http_client.cc

// Thread-safe.
class HttpClient final {
 public:
  explicit HttpClient(HttpClientOptions options);
  // Every exchange that is left ends with CANCELLED.
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  // RESOURCE_EXHAUSTED: the queue is full; the listener is not called then.
  absl::StatusOr<std::shared_ptr<HttpExchange>> Start(HttpRequest request,
                                                      std::shared_ptr<HttpListener> listener);
  void Cancel(const std::shared_ptr<HttpExchange>& exchange);
  void Unpause(const std::shared_ptr<HttpExchange>& exchange);
  // Runs `task` on the client's thread, after what was posted before.
  void Post(std::function<void()> task);

  struct Load {
    int32_t running = 0;
    int32_t waiting = 0;
  };
  Load load() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct HttpReply {
  HttpHead head;
  std::string body;
};
// The whole answer; blocks, so not on the client's thread. RESOURCE_EXHAUSTED: it is longer than
// `bytes_max`.
absl::StatusOr<HttpReply> Fetch(HttpClient& client, HttpRequest request, size_t bytes_max);

}  // namespace conclave::backends
