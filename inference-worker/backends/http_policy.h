// Which destinations a model may be at. The configuration lists them; what it lists decides also
// which addresses a name may resolve to, so that a name of somebody else's cannot lead inside.
#pragma once

#include <sys/socket.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/http_url.h"

namespace conclave::backends {

// What a listed destination may resolve to.
enum class AddressScope {
  kAny,     // an address that the list itself names
  kInside,  // a name in full: all but link-local (cloud metadata), multicast and reserved ones
  kPublic,  // a pattern: public addresses only
};

// May a connection be made to this address?
bool IsAllowedAddress(const sockaddr& address, AddressScope scope);

class HttpPolicy final {
 public:
  // Each entry is host or host:port; without a port, the scheme's own. A host is a name, an address
  // (IPv6 in brackets), "*.example.org" or "*". INVALID_ARGUMENT with the entry.
  static absl::StatusOr<HttpPolicy> Parse(const std::vector<std::string>& entries);

  // PERMISSION_DENIED with reason destination_not_allowed.
  absl::StatusOr<AddressScope> Check(const HttpUrl& url) const;
  bool has_patterns() const;

 private:
  struct Entry {
    std::string host;  // without the star: ".example.org", "" for every host
    int port = 0;      // 0 = the scheme's own
    AddressScope scope = AddressScope::kInside;
  };
  std::vector<Entry> entries_;
};

}  // namespace conclave::backends
