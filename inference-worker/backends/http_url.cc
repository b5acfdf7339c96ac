#include "backends/http_url.h"

#include <curl/curl.h>

#include <algorithm>
#include <memory>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace conclave::backends {

absl::StatusOr<HttpUrl> ParseHttpUrl(const std::string& url) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> parsed(curl_url(), curl_url_cleanup);
  // A backslash is read as a slash by some parsers and as part of the host by others.
  const bool plain = std::all_of(url.begin(), url.end(), [](char c) {
    return static_cast<unsigned char>(c) > ' ' && static_cast<unsigned char>(c) < 0x7f && c != '\\';
  });
  const auto bad = [](std::string_view why) {
    return base::InvalidArgument(absl::StrCat("not an http or https URL: ", std::string(why)));
  };
  if (!plain) return bad("a character that must be escaped");
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), CURLU_NON_SUPPORT_SCHEME) !=
      CURLUE_OK) {
    return bad("cannot be parsed");
  }
  const auto part = [&](CURLUPart what, unsigned flags) {
    char* text = nullptr;
    if (curl_url_get(parsed.get(), what, &text, flags) != CURLUE_OK) return std::string();
    std::string copy(text);
    curl_free(text);
    return copy;
  };
  HttpUrl out;
  out.scheme = part(CURLUPART_SCHEME, 0);
  if (out.scheme != "http" && out.scheme != "https") return bad("another scheme");
  if (!part(CURLUPART_USER, 0).empty() || !part(CURLUPART_PASSWORD, 0).empty() ||
      url.find('@') < url.find('/', out.scheme.size() + 3)) {
    return bad("it names a user");
  }
  if (url.find('#') != std::string::npos) return bad("it has a fragment");
  out.host = absl::AsciiStrToLower(part(CURLUPART_HOST, 0));
  if (out.host.empty()) return bad("it names no host");
  if (!absl::SimpleAtoi(part(CURLUPART_PORT, CURLU_DEFAULT_PORT), &out.port)) return bad("port");
  out.path = part(CURLUPART_PATH, 0);
  const std::string query = part(CURLUPART_QUERY, 0);
  if (!query.empty()) absl::StrAppend(&out.path, "?", query);
  return out;
}

}  // namespace conclave::backends
