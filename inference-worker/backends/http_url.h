// URLs of other servers, read by the same parser that connects to them.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace conclave::backends {

// Parts of an http or https URL as libcurl reads it, so that what is checked is what is connected
// to.
struct HttpUrl {
  std::string scheme;
  std::string host;  // lower case; an IPv6 address in brackets
  int port = 0;      // the scheme's own when none is written
  std::string path;  // with the query
};
// INVALID_ARGUMENT: not such a URL; one with a user or password, or with a fragment.
absl::StatusOr<HttpUrl> ParseHttpUrl(const std::string& url);

}  // namespace conclave::backends
