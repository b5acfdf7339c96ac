#include "mesh/target.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <charconv>
#include <memory>

namespace conclave::mesh {
namespace {

bool IsLiteral(const std::string& host) {
  unsigned char bytes[16];
  return inet_pton(AF_INET, host.c_str(), bytes) == 1 ||
         inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

std::string Join(const std::string& host, int port) {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

}  // namespace

std::string Target::address() const { return Join(host, port); }

absl::StatusOr<Target> ParseTarget(const std::string& text) {
  const absl::Status error = base::InvalidArgument("expected host:port, got \"" + text + "\"");
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return error;
  Target target;
  target.host = text.substr(0, colon);
  if (target.host.front() == '[') {
    if (target.host.back() != ']' || target.host.size() < 3) return error;
    target.host = target.host.substr(1, target.host.size() - 2);
  } else if (target.host.find(':') != std::string::npos) {
    return error;
  }
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data() + colon + 1, end, target.port);
  if (code != std::errc() || stop != end || target.port < 1 || target.port > 65535) return error;
  if (target.host == "localhost") target.host = "127.0.0.1";
  target.literal = IsLiteral(target.host);
  return target;
}

absl::StatusOr<std::vector<std::string>> Resolve(const Target& target) {
  if (target.literal) return std::vector<std::string>{target.address()};
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* raw = nullptr;
  const int code = getaddrinfo(target.host.c_str(), nullptr, &hints, &raw);
  if (code != 0) {
    return base::Unavailable("cannot resolve " + target.host + ": " + gai_strerror(code));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> list(raw, freeaddrinfo);
  std::vector<std::string> addresses;
  for (const addrinfo* entry = list.get(); entry != nullptr; entry = entry->ai_next) {
    char host[NI_MAXHOST];
    if (getnameinfo(entry->ai_addr, entry->ai_addrlen, host, sizeof host, nullptr, 0,
                    NI_NUMERICHOST) == 0) {
      addresses.push_back(Join(host, target.port));
    }
  }
  std::sort(addresses.begin(), addresses.end());
  addresses.erase(std::unique(addresses.begin(), addresses.end()), addresses.end());
  return addresses;
}

}  // namespace conclave::mesh
