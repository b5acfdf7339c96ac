#include "backends/http_policy.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace conclave::backends {
namespace {

struct Range4 {
  uint32_t network;
  int bits;
};
constexpr uint32_t Ip(uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  return a << 24 | b << 16 | c << 8 | d;
}

// IANA's special-purpose registry (RFC 6890 and its updates): never a public host's.
constexpr std::array kSpecial4 = {
    Range4{Ip(0, 0, 0, 0), 8},      Range4{Ip(10, 0, 0, 0), 8},     Range4{Ip(100, 64, 0, 0), 10},
    Range4{Ip(127, 0, 0, 0), 8},    Range4{Ip(169, 254, 0, 0), 16}, Range4{Ip(172, 16, 0, 0), 12},
    Range4{Ip(192, 0, 0, 0), 24},   Range4{Ip(192, 0, 2, 0), 24},   Range4{Ip(192, 88, 99, 0), 24},
    Range4{Ip(192, 168, 0, 0), 16}, Range4{Ip(198, 18, 0, 0), 15},  Range4{Ip(198, 51, 100, 0), 24},
    Range4{Ip(203, 0, 113, 0), 24}, Range4{Ip(224, 0, 0, 0), 4},    Range4{Ip(240, 0, 0, 0), 4}};
// Of those, the ones that no host of anybody's network has either. 169.254.169.254 is where clouds
// hand out credentials.
constexpr std::array kNobodys4 = {Range4{Ip(0, 0, 0, 0), 8}, Range4{Ip(169, 254, 0, 0), 16},
                                  Range4{Ip(224, 0, 0, 0), 4}, Range4{Ip(240, 0, 0, 0), 4}};

template <size_t kSize>
bool InAny(uint32_t address, const std::array<Range4, kSize>& ranges) {
  return std::any_of(ranges.begin(), ranges.end(), [&](const Range4& range) {
    return (address ^ range.network) >> (32 - range.bits) == 0;
  });
}

bool Allowed4(uint32_t address, AddressScope scope) {
  if (scope == AddressScope::kPublic) return !InAny(address, kSpecial4);
  return !InAny(address, kNobodys4);
}

// The IPv4 address inside, for the forms that lead to one: mapped, compatible, NAT64.
std::optional<uint32_t> Embedded4(const uint8_t* bytes) {
  static constexpr std::array<uint8_t, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  static constexpr std::array<uint8_t, 12> kCompatible = {};
  static constexpr std::array<uint8_t, 12> kNat64 = {0, 0x64, 0xff, 0x9b};
  for (const auto& prefix : {kMapped, kCompatible, kNat64}) {
    if (!std::equal(prefix.begin(), prefix.end(), bytes)) continue;
    return Ip(bytes[12], bytes[13], bytes[14], bytes[15]);
  }
  return std::nullopt;
}

bool Allowed6(const uint8_t* bytes, AddressScope scope) {
  const bool loopback =
      std::all_of(bytes, bytes + 15, [](uint8_t b) { return b == 0; }) && bytes[15] == 1;
  if (loopback) return scope != AddressScope::kPublic;
  if (const auto inner = Embedded4(bytes)) return Allowed4(*inner, scope);
  const uint32_t head = Ip(bytes[0], bytes[1], bytes[2], bytes[3]);
  const bool link_local = (head >> 22) == (0xfe800000u >> 22);
  const bool multicast = bytes[0] == 0xff;
  if (link_local || multicast) return false;
  // fd00:ec2::254 is a cloud's metadata service in a range that is otherwise one's own.
  if (head == 0xfd000ec2u) return false;
  if (scope != AddressScope::kPublic) return true;
  const bool global = (bytes[0] & 0xe0) == 0x20;         // 2000::/3
  const bool protocols = head >> 9 == 0x20010000u >> 9;  // 2001::/23: Teredo, ORCHID, benchmarks
  const bool documentation = head == 0x20010db8u;
  const bool six_to_four = head >> 16 == 0x2002u;  // leads to the IPv4 address it contains
  return global && !protocols && !documentation && !six_to_four;
}

bool IsAddress(const std::string& host) {
  std::array<uint8_t, 16> bytes;
  if (inet_pton(AF_INET, host.c_str(), bytes.data()) == 1) return true;
  return host.size() > 2 && host.front() == '[' && host.back() == ']' &&
         inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), bytes.data()) == 1;
}

// "host", "host:port", "[::1]:port".
bool SplitHostPort(const std::string& text, std::string* host, int* port) {
  const size_t bracket = text.rfind(']');
  const size_t colon = text.rfind(':');
  const bool has_port =
      colon != std::string::npos && (bracket == std::string::npos || colon > bracket);
  *host = absl::AsciiStrToLower(text.substr(0, has_port ? colon : std::string::npos));
  if (!has_port) return true;
  return absl::SimpleAtoi(text.substr(colon + 1), port) && *port > 0 && *port < 65'536;
}

}  // namespace

bool IsAllowedAddress(const sockaddr& address, AddressScope scope) {
  if (scope == AddressScope::kAny) return true;
  if (address.sa_family == AF_INET) {
    sockaddr_in in;
    std::memcpy(&in, &address, sizeof in);
    return Allowed4(ntohl(in.sin_addr.s_addr), scope);
  }
  if (address.sa_family == AF_INET6) {
    sockaddr_in6 in;
    std::memcpy(&in, &address, sizeof in);
    return Allowed6(in.sin6_addr.s6_addr, scope);
  }
  return false;
}

absl::StatusOr<HttpPolicy> HttpPolicy::Parse(const std::vector<std::string>& entries) {
  HttpPolicy policy;
  for (const std::string& text : entries) {
    Entry entry;
    const bool split = SplitHostPort(text, &entry.host, &entry.port);
    const bool pattern = entry.host == "*" || absl::StartsWith(entry.host, "*.");
    if (pattern) entry.host.erase(0, 1);
    const bool plain = entry.host.find_first_of("*/@ \\?#") == std::string::npos;
    if (!split || !plain || (entry.host.empty() && !pattern)) {
      return base::InvalidArgument(
          absl::StrCat("\"", text, "\" is no host or host:port (*.domain and * are patterns)"));
    }
    entry.scope = pattern                 ? AddressScope::kPublic
                  : IsAddress(entry.host) ? AddressScope::kAny
                                          : AddressScope::kInside;
    policy.entries_.push_back(std::move(entry));
  }
  return policy;
}

absl::StatusOr<AddressScope> HttpPolicy::Check(const HttpUrl& url) const {
  const int usual = url.scheme == "https" ? 443 : 80;
  std::optional<AddressScope> found;
  for (const Entry& entry : entries_) {
    const bool pattern = entry.scope == AddressScope::kPublic;
    const bool host = pattern ? absl::EndsWith(url.host, entry.host) : url.host == entry.host;
    if (!host || url.port != (entry.port == 0 ? usual : entry.port)) continue;
    // An entry in full says more than a pattern.
    if (!found || !pattern) found = entry.scope;
  }
  if (found) return *found;
  return base::WithReason(
      absl::PermissionDeniedError(absl::StrCat("the destination ", url.host, ":", url.port,
                                               " is not among those the configuration allows")),
      "destination_not_allowed");
}

bool HttpPolicy::has_patterns() const {
  return std::any_of(entries_.begin(), entries_.end(),
                     [](const Entry& entry) { return entry.scope == AddressScope::kPublic; });
}

}  // namespace conclave::backends
