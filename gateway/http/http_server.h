// The listener and its connections. Everything HTTP/1.1 that is not policy is here: framing, limits
// of time and size, pipelining in order, 100-continue, chunked answers, noticing that a client has
// gone, draining. Policy (routes, keys, origins) is the HttpHandler's.
//
// HTTP/1.1 only: TLS, HTTP/2 and HTTP/3 belong to the ingress.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/clock.h"
#include "base/event_loops.h"
#include "base/status.h"
#include "gateway/http/header_gate.h"
#include "gateway/http/response.h"

namespace conclave::gateway {

struct HttpLimits {
  HeadLimits head;
  std::chrono::milliseconds head_timeout{10'000};  // from the first byte of a request
  std::chrono::milliseconds idle_timeout{75'000};  // between requests
  std::chrono::milliseconds body_window{10'000};   // a body must bring body_bytes_min …
  size_t body_bytes_min = 10 * 1024;               // … in every window, or all of it
  std::chrono::milliseconds write_stall{60'000};   // a client that takes nothing
  std::chrono::milliseconds linger{2'000};         // reading on after a refusal
  int connections_max = 20'000;                    // further ones are closed at once
};

// What the head alone decides, before a byte of the body is read.
struct HeadVerdict {
  // Set: answer this and do not read the body.
  std::optional<Response> refusal;
  size_t body_bytes_max = 0;
  bool stream_body = false;  // left to the handler
  std::string request_id;
  std::string_view route = "unmatched";  // the pattern, for log and metrics; lives for ever
  HeaderList headers;                    // to be added to the answer
};

class HttpHandler {
 public:
  virtual ~HttpHandler() = default;

  virtual HeadVerdict OnHead(const RequestHead& head) = 0;
  // The body was too large (413), too slow (408) or malformed (400): the answer in the form of the
  // path's family. `reason` is a fixed word.
  virtual Response OnBodyRefused(const RequestHead& head, const std::string& request_id, int status,
                                 std::string_view reason) = 0;
  // The gate refused the head; there may be nothing to tell a family by.
  virtual Response OnHeadRefused(const HeadRefusal& refusal) = 0;
  // Must answer through `out`. Runs on the connection's strand.
  virtual Task<void> Handle(Request& request, ResponseWriter& out, AccessRecord& record) = 0;
  // After the answer, whatever became of it; also for refusals by OnHead.
  virtual void OnFinished(const RequestHead& head, const AccessRecord& record,
                          CancelReason cancelled, std::chrono::nanoseconds took) = 0;
};

class HttpServer final {
 public:
  // Both must outlive the server; the loops are to be stopped after it.
  HttpServer(HttpHandler* handler, HttpLimits limits, base::EventLoops* loops);
  ~HttpServer();  // stops
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Binds "host:port" (port 0 = any free) and begins to serve. UNAVAILABLE when it cannot be bound,
  // INVALID_ARGUMENT when it is no address; a name is not resolved, "localhost" is 127.0.0.1.
  absl::Status Start(const std::string& listen);
  uint16_t port() const;
  // A further address, whose requests go to a handler of their own; after Start, which says what
  // may fail. The port.
  absl::StatusOr<uint16_t> AlsoListen(const std::string& listen, HttpHandler* handler);

  // Stops accepting, closes idle connections, lets running requests finish. At the deadline those
  // left are told (CancelReason::kDrain) and get a moment to say so to their clients. False when
  // there were some.
  bool Drain(base::SteadyTime deadline);
  // Cuts everything off, and waits a moment for its end. Idempotent.
  void Stop();

  size_t num_connections() const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

// Splits "host:port" and "[v6]:port". INVALID_ARGUMENT otherwise.
struct HostPort {
  std::string host;
  uint16_t port = 0;
};
absl::StatusOr<HostPort> ParseHostPort(const std::string& listen);

// 127.0.0.0/8, ::1 and "localhost".
bool IsLoopback(const std::string& host);

}  // namespace conclave::gateway
