#include "gateway/http/filters.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

#include <algorithm>

#include "gateway/http/ascii.h"

namespace conclave::gateway {
namespace {

// "example.com:8080" → "example.com", "[::1]:80" → "[::1]".
std::string_view WithoutPort(std::string_view host) {
  const size_t bracket = host.find(']');
  const size_t colon = host.find(':', bracket == std::string_view::npos ? 0 : bracket);
  return host.substr(0, colon);
}

bool IsIpLiteral(std::string_view host) {
  if (!host.empty() && host.front() == '[') return host.back() == ']';
  return !host.empty() && std::all_of(host.begin(), host.end(),
                                      [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
}

bool Matches(std::string_view pattern, std::string_view name) {
  if (pattern == "*" || pattern == name) return true;
  if (pattern.substr(0, 2) != "*.") return false;
  const std::string_view tail = pattern.substr(1);
  return name.size() > tail.size() && name.substr(name.size() - tail.size()) == tail;
}

ErrorInfo Refusal(int status, std::string message, std::string reason) {
  ErrorInfo error;
  error.http_status = status;
  error.message = std::move(message);
  error.reason = std::move(reason);
  return error;
}

// "<profile>=<key>" → keys by profile.
absl::StatusOr<std::map<CompatProfile, std::vector<std::string>>> SplitProfileKeys(
    const std::vector<std::string>& texts) {
  std::map<CompatProfile, std::vector<std::string>> keys;
  for (size_t n = 0; n < texts.size(); ++n) {
    const size_t equals = texts[n].find('=');
    const auto profile = FindCompatProfile(std::string_view(texts[n]).substr(0, equals));
    if (equals == std::string::npos || !profile) {
      return base::InvalidArgument("compat-keys[" + std::to_string(n) +
                                   "]: expected a profile, =, and a key");
    }
    keys[*profile].push_back(texts[n].substr(equals + 1));
  }
  return keys;
}

}  // namespace

ApiKeys::Digest ApiKeys::DigestOf(std::string_view key) {
  Digest digest;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest.data());
  return digest;
}

absl::StatusOr<ApiKeys> ApiKeys::FromTexts(std::string_view option,
                                           const std::vector<std::string>& texts) {
  ApiKeys keys;
  constexpr std::string_view kPrefix = "sha256:";
  for (size_t n = 0; n < texts.size(); ++n) {
    const std::string_view text = texts[n];
    const std::string where = std::string(option) + "[" + std::to_string(n) + "]: ";
    if (text.empty()) return base::InvalidArgument(where + "empty");
    if (text.substr(0, kPrefix.size()) != kPrefix) {
      keys.digests_.push_back(DigestOf(text));
      continue;
    }
    const std::string_view hex = text.substr(kPrefix.size());
    Digest digest;
    if (hex.size() != 2 * digest.size()) {
      return base::InvalidArgument(where + "expected 64 hex digits after sha256:");
    }
    for (size_t i = 0; i < digest.size(); ++i) {
      const int high = HexDigit(hex[2 * i]);
      const int low = HexDigit(hex[2 * i + 1]);
      if (high < 0 || low < 0) {
        return base::InvalidArgument(where + "expected 64 hex digits after sha256:");
      }
      digest[i] = static_cast<unsigned char>(high * 16 + low);
    }
    keys.digests_.push_back(digest);
  }
  return keys;
}

bool ApiKeys::Contains(std::string_view key) const {
  const Digest digest = DigestOf(key);
  bool found = false;
  for (const Digest& known : digests_) {
    // All of them, always: where the loop ends must not show.
    found |= CRYPTO_memcmp(known.data(), digest.data(), digest.size()) == 0;
  }
  return found;
}

std::string_view KeyOf(const RequestHead& head) {
  const std::string_view authorization = head.Find("authorization");
  constexpr std::string_view kBearer = "bearer ";
  if (authorization.size() > kBearer.size() &&
      Lowercase(authorization.substr(0, kBearer.size())) == kBearer) {
    std::string_view key = authorization.substr(kBearer.size());
    while (!key.empty() && key.front() == ' ') key.remove_prefix(1);
    return key;
  }
  const std::string_view x_api_key = head.Find("x-api-key");
  return x_api_key.empty() ? head.Find("api-key") : x_api_key;
}

absl::StatusOr<Filters> Filters::Make(const FilterOptions& options) {
  Filters filters;
  std::vector<std::string> keys = options.api_keys;
  ASSIGN_OR_RETURN(const auto by_profile, SplitProfileKeys(options.profile_keys));
  for (const auto& [profile, texts] : by_profile) {
    ASSIGN_OR_RETURN(filters.profile_keys_[profile], ApiKeys::FromTexts("compat-keys", texts));
    keys.insert(keys.end(), texts.begin(), texts.end());
  }
  ASSIGN_OR_RETURN(filters.keys_, ApiKeys::FromTexts("api-keys", keys));
  ASSIGN_OR_RETURN(filters.admin_keys_, ApiKeys::FromTexts("admin-keys", options.admin_keys));
  filters.admin_open_ = options.admin_open;
  for (const std::string& host : options.allowed_hosts) filters.hosts_.push_back(Lowercase(host));
  for (const std::string& origin : options.allowed_origins) {
    filters.origins_.push_back(Lowercase(origin));
  }
  return filters;
}

std::optional<ErrorInfo> Filters::CheckHost(const RequestHead& head) const {
  const std::string_view host = WithoutPort(head.host);
  const bool allowed =
      head.host.empty() || host == "localhost" || IsIpLiteral(host) ||
      std::any_of(hosts_.begin(), hosts_.end(),
                  [host](const std::string& pattern) { return Matches(pattern, host); });
  if (allowed) return std::nullopt;
  return Refusal(421, "this server does not answer for the host " + std::string(host),
                 "host_not_allowed");
}

bool Filters::OriginAllowed(const RequestHead& head, std::string_view origin) const {
  const size_t scheme = origin.find("://");
  if (scheme != std::string_view::npos && origin.substr(scheme + 3) == head.host) return true;
  return std::any_of(origins_.begin(), origins_.end(), [origin](const std::string& allowed) {
    return allowed == "*" || allowed == origin;
  });
}

std::optional<ErrorInfo> Filters::CheckOrigin(const RequestHead& head) const {
  const std::string origin = Lowercase(head.Find("origin"));
  if (origin.empty() || OriginAllowed(head, origin)) return std::nullopt;
  return Refusal(403, "the origin of this page may not call this server", "origin_not_allowed");
}

std::optional<ErrorInfo> Filters::CheckKey(const RequestHead& head,
                                           const RouteOptions& options) const {
  // A missing key is compared like a wrong one: same work, same answer.
  const std::string_view key = KeyOf(head);
  const bool is_admin = admin_keys_.Contains(key);
  const bool is_user = keys_.empty() || keys_.Contains(key) || is_admin;
  if (!options.open && !is_user) {
    return Refusal(401, "missing or incorrect API key", "invalid_api_key");
  }
  if (!options.admin || is_admin || admin_open_) return std::nullopt;
  if (admin_keys_.empty()) {
    return Refusal(403, "administration is off on this server: see --admin-keys and --admin-open",
                   "admin_off");
  }
  return Refusal(key.empty() ? 401 : 403, "this needs an administrator's API key",
                 "admin_key_required");
}

std::optional<CompatProfile> Filters::ProfileOf(const RequestHead& head) const {
  for (const auto& [profile, keys] : profile_keys_) {
    if (keys.Contains(KeyOf(head))) return profile;
  }
  return std::nullopt;
}

std::optional<ErrorInfo> Filters::CheckBody(const RequestHead& head,
                                            const RouteOptions& options) const {
  const std::string coding = Lowercase(head.Find("content-encoding"));
  if (!coding.empty() && coding != "identity") {
    return Refusal(415, "content coding \"" + coding + "\" is not accepted", "content_encoding");
  }
  if (options.any_content_type || !head.has_body()) return std::nullopt;
  const std::string type = Lowercase(head.Find("content-type"));
  const std::string_view essence = std::string_view(type).substr(0, type.find(';'));
  if (essence == "application/json" || essence == "application/json ") return std::nullopt;
  return Refusal(415, "expected Content-Type: application/json", "content_type");
}

HeaderList Filters::CorsHeaders(const RequestHead& head) const {
  const std::string_view origin = head.Find("origin");
  if (origin.empty()) return {};
  return {{"Access-Control-Allow-Origin", std::string(origin)},
          {"Vary", "Origin"},
          {"Access-Control-Expose-Headers",
           "x-request-id, retry-after, retry-after-ms, x-should-retry, openai-poll-after-ms, "
           "openai-processing-ms"}};
}

}  // namespace conclave::gateway
