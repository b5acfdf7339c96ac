// What is asked of a request before its body is read: the right host, an allowed origin, a key, a
// body we can read. Pure functions of the head; each gives the refusal, or nothing.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/http/request.h"
#include "gateway/http/router.h"
#include "gateway/http/status_map.h"

namespace conclave::gateway {

// API keys, kept as SHA-256 only. Comparing takes the same time for every candidate.
class ApiKeys final {
 public:
  // Plain keys, or "sha256:<64 hex digits>". INVALID_ARGUMENT, naming the option: an ill-formed
  // digest, an empty key.
  static absl::StatusOr<ApiKeys> FromTexts(std::string_view option,
                                           const std::vector<std::string>& texts);

  bool empty() const { return digests_.empty(); }
  bool Contains(std::string_view key) const;

 private:
  using Digest = std::array<unsigned char, 32>;
  static Digest DigestOf(std::string_view key);
  std::vector<Digest> digests_;
};

struct FilterOptions {
  std::vector<std::string> api_keys;  // empty = no key is asked for
  // More of them, "<profile>=<key>": requests that show one get the profile.
  std::vector<std::string> profile_keys;
  // Keys for routes that change which models there are; each opens all other routes too. None:
  // those routes are off, unless `admin_open` lets everybody use them who may use the rest.
  std::vector<std::string> admin_keys;
  bool admin_open = false;
  // Host names besides "localhost" and IP literals; "*.example.com" for all below, "*" for any.
  // DNS rebinding needs a name, so literals are always fine.
  std::vector<std::string> allowed_hosts;
  // Origins of web pages that may call us ("https://app.example.com"); "*" for any. A page served
  // from this very host is always allowed.
  std::vector<std::string> allowed_origins;
};

class Filters final {
 public:
  static absl::StatusOr<Filters> Make(const FilterOptions& options);

  bool asks_for_keys() const { return !keys_.empty(); }

  std::optional<ErrorInfo> CheckHost(const RequestHead& head) const;    // 421
  std::optional<ErrorInfo> CheckOrigin(const RequestHead& head) const;  // 403
  // 401; 403 for a route that is an administrator's.
  std::optional<ErrorInfo> CheckKey(const RequestHead& head, const RouteOptions& options) const;
  // 415: a content coding, or a body that does not say it is JSON where that is asked.
  std::optional<ErrorInfo> CheckBody(const RequestHead& head, const RouteOptions& options) const;

  // Of the request's key, when it has one.
  std::optional<CompatProfile> ProfileOf(const RequestHead& head) const;

  // Headers that let the page of an allowed origin read the answer; empty without Origin.
  HeaderList CorsHeaders(const RequestHead& head) const;

 private:
  bool OriginAllowed(const RequestHead& head, std::string_view origin) const;

  ApiKeys keys_;
  std::map<CompatProfile, ApiKeys> profile_keys_;
  ApiKeys admin_keys_;
  bool admin_open_ = false;
  std::vector<std::string> hosts_;
  std::vector<std::string> origins_;
};

// The key a request carries: Authorization: Bearer, x-api-key or api-key; empty when none.
std::string_view KeyOf(const RequestHead& head);

}  // namespace conclave::gateway
