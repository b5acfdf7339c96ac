// A request: its head as Beast took it apart (request_reader.h) behind the gate, and its whole
// body.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "gateway/http/compat_profile.h"

namespace conclave::gateway {

struct HeaderField {
  std::string name;   // lowercase
  std::string value;  // without surrounding blanks
};

struct RequestHead {
  std::string method;  // as sent: methods are case-sensitive
  std::string target;  // origin form, "/v1/models?limit=2", or "*"
  std::string path;    // of the target, still percent-encoded
  std::string query;   // of the target, without '?'
  std::string host;    // lowercase; empty only for HTTP/1.0
  std::vector<HeaderField> fields;
  int minor_version = 1;
  bool keep_alive = true;
  bool expect_continue = false;
  bool chunked = false;
  std::optional<uint64_t> content_length;

  // The value of the first field of this lowercase name; empty when there is none.
  std::string_view Find(std::string_view name) const;
  bool has_body() const { return chunked || content_length.value_or(0) > 0; }
};

struct Request {
  RequestHead head;
  std::string body;
  std::string request_id;  // "req_…", or the caller's own x-request-id when it is a plain token
  base::SteadyTime received_at;
  CompatProfile profile = CompatProfile::kStrict;  // of its key, else of its listener
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
