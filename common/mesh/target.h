// "host:port" taken apart, and names turned into addresses.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace conclave::mesh {

struct Target {
  std::string host;  // without brackets
  int port = 0;
  bool literal = false;  // an IP address: nothing to resolve

  // host:port, IPv6 in brackets.
  std::string address() const;
};

// INVALID_ARGUMENT: not host:port, port not within 1 … 65535.
absl::StatusOr<Target> ParseTarget(const std::string& text);

// All addresses behind the name, as "ip:port", sorted, without repetition. Blocks. UNAVAILABLE when
// the resolver has no answer. "localhost" means 127.0.0.1 alone, so that one worker is not met
// twice.
absl::StatusOr<std::vector<std::string>> Resolve(const Target& target);

}  // namespace conclave::mesh
