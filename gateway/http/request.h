// A request that passed the gate and the filters, with its whole body.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "gateway/http/header_gate.h"

namespace conclave::gateway {

struct Request {
  RequestHead head;
  std::string body;
  std::string request_id;  // "req_…", or the caller's own x-request-id when it is a plain token
  base::SteadyTime received_at;
  // Path parameters in the order of the pattern, percent-decoded.
  std::vector<std::pair<std::string, std::string>> params;

  // A path parameter of the matched route; empty when the pattern has none of this name.
  std::string_view Param(std::string_view name) const;
  // A query parameter, decoded; the first one of this name.
  std::optional<std::string> Query(std::string_view name) const;
  // All of them in order ("include[]=a&include[]=b").
  std::vector<std::pair<std::string, std::string>> QueryPairs() const;
};

// %XX decoded, and '+' as a blank when `plus_is_blank` (queries). Nothing when an escape is broken
// or decodes to NUL, or when the whole is not UTF-8: it goes into protobuf strings.
std::optional<std::string> PercentDecode(std::string_view text, bool plus_is_blank);

}  // namespace conclave::gateway
