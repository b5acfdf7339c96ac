// The answering side of a request, without the socket: what a handler sees and a test can fake.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/status.h"
#include "gateway/http/request.h"
#include "gateway/http/task.h"

namespace conclave::gateway {

using HeaderList = std::vector<std::pair<std::string, std::string>>;

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  HeaderList headers;
};

// Why a request is given up before its answer is complete.
enum class CancelReason { kNone, kClientGone, kStalled, kDrain };

// One answer: either Reply once, or BeginStream, any number of Write, then EndStream or Abort.
// Everything runs on the connection's loop.
class ResponseWriter {
 public:
  virtual ~ResponseWriter() = default;

  // Of a route that streams its body: appends what has come, at least a byte. False at the end of
  // the body. INVALID_ARGUMENT: malformed; RESOURCE_EXHAUSTED (body_too_large); DEADLINE_EXCEEDED
  // (slow_body); CANCELLED: the client has gone.
  virtual Task<absl::StatusOr<bool>> ReadBody(std::string* piece) = 0;

  virtual Task<void> Reply(Response response) = 0;

  // Sends the status line and headers. False, as from Write: the client has gone.
  virtual Task<bool> BeginStream(int status, std::string_view content_type, HeaderList headers) = 0;
  // Returns when the bytes are in the kernel's hands: not reading on until then is the whole
  // back-pressure. A client that takes nothing for the write-stall time is cut off.
  virtual Task<bool> Write(std::string_view bytes) = 0;
  virtual Task<void> EndStream() = 0;
  // Ends the connection without the mark of a complete answer.
  virtual void Abort() = 0;

  virtual bool started() const = 0;
  virtual CancelReason cancel_reason() const = 0;
  // Called once, on the loop, when the client goes or a drain runs out of time. One listener at a
  // time; an empty function takes it away.
  virtual void OnCancel(std::function<void()> listener) = 0;
};

// What the access log and the metrics say of a request; handlers fill in what they know.
struct AccessRecord {
  std::string request_id;
  std::string_view route = "unmatched";  // the pattern
  std::string model;
  std::string worker;
  std::string error_code;
  int status = 0;
  int64_t prompt_tokens = 0;
  int64_t cached_tokens = 0;
  int64_t completion_tokens = 0;
  double queue_ms = 0;  // in the gateway's own queue
  double ttft_ms = 0;   // 0 = no token was sent
  uint64_t bytes_out = 0;
};

// A request on its way through a handler.
struct Exchange {
  const Request& request;
  ResponseWriter& out;
  AccessRecord& record;
};

using Handler = std::function<Task<void>(Exchange&)>;

}  // namespace conclave::gateway
