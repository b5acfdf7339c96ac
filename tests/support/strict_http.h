// A slow reading of one HTTP/1.1 request by the letter of RFC 9112, with nothing in common with the
// gateway's: what passes the gates must mean the same here and in Beast. It knows no limits.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace conclave::test {

struct StrictHead {
  std::string method;
  std::string target;
  int minor_version = 0;
  std::vector<std::pair<std::string, std::string>> fields;  // names in lowercase
  bool keep_alive = false;
  bool chunked = false;
  std::optional<uint64_t> content_length;
};

struct StrictBody {
  enum class State { kIncomplete, kComplete, kMalformed };
  State state = State::kIncomplete;
  std::string bytes;
  size_t used = 0;  // of the input, when complete
};

inline std::string StrictLower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return text;
}

inline std::string StrictTrim(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

inline std::vector<std::string> StrictSplit(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  size_t from = 0;
  for (size_t at; (at = text.find(separator, from)) != std::string::npos;
       from = at + separator.size()) {
    parts.push_back(text.substr(from, at - from));
  }
  parts.push_back(text.substr(from));
  return parts;
}

// A whole number of `base`, nothing else around it.
inline std::optional<uint64_t> StrictNumber(const std::string& text, int base) {
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value, base);
  if (text.empty() || parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return value;
}

// Nothing when the block is no request head.
inline std::optional<StrictHead> ReadHeadStrictly(std::string_view block) {
  std::vector<std::string> lines = StrictSplit(std::string(block), "\r\n");
  if (lines.size() < 3 || !lines.back().empty() || !lines[lines.size() - 2].empty()) return {};
  lines.resize(lines.size() - 2);
  const std::vector<std::string> words = StrictSplit(lines.front(), " ");
  if (words.size() != 3 || (words[2] != "HTTP/1.1" && words[2] != "HTTP/1.0")) return {};
  StrictHead head;
  head.method = words[0];
  head.target = words[1];
  head.minor_version = words[2] == "HTTP/1.1" ? 1 : 0;
  bool close = false;
  bool keep_alive = false;
  for (size_t i = 1; i < lines.size(); ++i) {
    if (lines[i].find_first_of(std::string_view("\r\n\0", 3)) != std::string::npos) return {};
    const size_t colon = lines[i].find(':');
    if (colon == std::string::npos || colon == 0) return {};
    const std::string name = StrictLower(lines[i].substr(0, colon));
    const std::string value = StrictTrim(lines[i].substr(colon + 1));
    if (name.find_first_of(" \t") != std::string::npos) return {};
    head.fields.emplace_back(name, value);
    if (name == "content-length") {
      if (head.content_length) return {};
      head.content_length = StrictNumber(value, 10);
      if (!head.content_length) return {};
    } else if (name == "transfer-encoding") {
      if (head.chunked || StrictLower(value) != "chunked") return {};
      head.chunked = true;
    } else if (name == "connection" || name == "proxy-connection") {
      for (const std::string& option : StrictSplit(value, ",")) {
        const std::string word = StrictLower(StrictTrim(option));
        close |= word == "close";
        keep_alive |= word == "keep-alive";
      }
    }
  }
  if (head.chunked && (head.content_length || head.minor_version == 0)) return {};
  head.keep_alive = !close && (keep_alive || head.minor_version == 1);
  return head;
}

inline StrictBody ReadBodyStrictly(const StrictHead& head, std::string_view input) {
  StrictBody body;
  const auto end_with = [&body](StrictBody::State state, size_t used = 0) {
    body.state = state;
    body.used = used;
    return body;
  };
  if (!head.chunked) {
    const uint64_t length = head.content_length.value_or(0);
    body.bytes = std::string(input.substr(0, static_cast<size_t>(length)));
    if (body.bytes.size() < length) return body;
    return end_with(StrictBody::State::kComplete, body.bytes.size());
  }
  size_t at = 0;
  while (true) {
    const size_t line_end = input.find("\r\n", at);
    if (line_end == std::string_view::npos) return body;
    const std::string line(input.substr(at, line_end - at));
    const auto size = StrictNumber(line.substr(0, line.find(';')), 16);
    if (!size) return end_with(StrictBody::State::kMalformed);
    at = line_end + 2;
    if (*size > input.size() - at) return body;
    body.bytes += input.substr(at, static_cast<size_t>(*size));
    at += static_cast<size_t>(*size);
    if (input.size() - at < 2) return body;
    if (input.substr(at, 2) != "\r\n") return end_with(StrictBody::State::kMalformed);
    at += 2;
    if (*size == 0) return end_with(StrictBody::State::kComplete, at);
  }
}

}  // namespace conclave::test
