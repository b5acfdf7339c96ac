// Boost.Beast's request parser behind the gates: takes heads apart and bodies out of their framing.
// It is given whole heads that JudgeHead accepted and whole chunk heads that JudgeChunkHead
// accepted, and must use up exactly these bytes; where it reads anything else than the gate did,
// the request is refused. One of the two files that know Beast; its header does not, so that routes
// compile fast.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "gateway/http/request.h"

namespace conclave::gateway {

// More chunks than any client needs for our largest body, fewer than it takes to keep us busy.
inline constexpr size_t kChunksMax = 65'536;

// One request. Holds nothing until a head is read.
class RequestReader final {
 public:
  enum class State { kMore, kDone, kMalformed, kTooLarge };

  RequestReader();
  ~RequestReader();
  RequestReader(const RequestReader&) = delete;
  RequestReader& operator=(const RequestReader&) = delete;

  // `block` is a head that JudgeHead accepted, whole. False: Beast reads it otherwise.
  bool ReadHead(std::string_view block, RequestHead* head);

  // After ReadHead, once: a longer body, announced or decoded, is kTooLarge.
  void LimitBody(size_t bytes_max);
  // After LimitBody, for heads with a body. Appends what it decodes to `body`. Returns the number
  // of bytes of `input` that were used up; the rest, after kDone, belongs to the next request.
  size_t ReadBody(std::string_view input, std::string* body);

  // Of the body.
  State state() const { return state_; }
  // A fixed word for the counter when malformed.
  std::string_view reason() const { return reason_; }

 private:
  class Parser;

  void Malformed(std::string_view reason);

  std::unique_ptr<Parser> parser_;
  State state_ = State::kMore;
  std::string_view reason_;
};

}  // namespace conclave::gateway
