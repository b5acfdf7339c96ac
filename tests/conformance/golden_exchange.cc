#include "conformance/golden_exchange.h"

#include <algorithm>
#include <optional>

#include "base/log.h"
#include "catch2/catch.hpp"

namespace conclave::gateway {
namespace {

using base::JsonDocument;
using base::JsonQuote;
using base::JsonValue;

constexpr std::string_view kDataPrefix = "data: ";
// Moments and durations of the machine: their presence counts, not their value.
constexpr std::string_view kMeasured[] = {"Date", "openai-processing-ms"};

std::string Text(JsonValue value) {
  const absl::StatusOr<std::string> text = value.AsString();
  INFO(text.status().ToString());
  REQUIRE(text.ok());
  return *text;
}

std::string Dechunked(std::string_view rest, bool* whole) {
  std::string body;
  while (true) {
    const size_t end = rest.find("\r\n");
    if (end == std::string_view::npos) return body;
    const size_t size = std::stoul(std::string(rest.substr(0, end)), nullptr, 16);
    rest.remove_prefix(end + 2);
    if (size == 0) {
      *whole = rest == "\r\n";
      return body;
    }
    if (rest.size() < size + 2) return body;
    body += rest.substr(0, size);
    rest.remove_prefix(size + 2);
  }
}

// The value whose compact text is `json`, when there is one: it can stand in the file unquoted.
bool IsCompactJson(std::string_view json) {
  if (json.empty() || (json.front() != '{' && json.front() != '[')) return false;
  const auto document = JsonDocument::Parse(json);
  return document.ok() && document->root().ToJson() == json;
}

std::string LineText(std::string_view line) {
  if (IsCompactJson(line)) return "{\"json\": " + std::string(line) + "}";
  if (line.substr(0, kDataPrefix.size()) == kDataPrefix &&
      IsCompactJson(line.substr(kDataPrefix.size()))) {
    return "{\"data\": " + std::string(line.substr(kDataPrefix.size())) + "}";
  }
  return JsonQuote(line);
}

}  // namespace

std::string RequestBytes(JsonValue request) {
  const JsonValue body = request.Get("body");
  // A string is sent as it is, anything else as compact JSON.
  const std::string payload = body.is_string() ? Text(body) : body.present() ? body.ToJson() : "";
  std::string bytes =
      Text(request.Get("method")) + " " + Text(request.Get("path")) + " HTTP/1.1\r\n";
  const JsonValue headers = request.Get("headers");
  const auto add = [&](std::string_view name, const std::string& value) {
    if (!headers.Get(name).present()) bytes += std::string(name) + ": " + value + "\r\n";
  };
  add("Host", "localhost");
  add("Connection", "close");
  if (body.present()) add("Content-Length", std::to_string(payload.size()));
  headers.ForEachMember([&](std::string_view name, JsonValue value) {
    bytes += std::string(name) + ": " + Text(value) + "\r\n";
  });
  return bytes + "\r\n" + payload;
}

Answer ParseAnswer(const std::string& bytes, bool is_head) {
  Answer answer;
  const size_t head_end = bytes.find("\r\n\r\n");
  if (head_end == std::string::npos || bytes.size() < 12) return answer;
  answer.status = std::stoi(bytes.substr(9, 3));
  std::optional<size_t> length;
  bool chunked = false;
  for (size_t at = bytes.find("\r\n") + 2; at < head_end + 2;) {
    const size_t end = bytes.find("\r\n", at);
    const size_t colon = bytes.find(": ", at);
    const std::string name = bytes.substr(at, colon - at);
    std::string value = bytes.substr(colon + 2, end - colon - 2);
    if (name == "Content-Length") length = std::stoul(value);
    if (name == "Transfer-Encoding") chunked = true;
    if (std::find(std::begin(kMeasured), std::end(kMeasured), name) != std::end(kMeasured)) {
      value = value.empty() ? "" : "<measured>";
    }
    answer.headers.emplace_back(name, std::move(value));
    at = end + 2;
  }
  const std::string_view rest = std::string_view(bytes).substr(head_end + 4);
  if (chunked) {
    answer.body = Dechunked(rest, &answer.whole);
  } else {
    answer.body = std::string(rest);
    answer.whole = is_head ? rest.empty() : rest.size() == length.value_or(0);
  }
  return answer;
}

std::string AnswerText(const Answer& answer) {
  std::string text = "{\n  \"status\": " + std::to_string(answer.status) + ",\n  \"headers\": {\n";
  for (size_t i = 0; i < answer.headers.size(); ++i) {
    const auto& [name, value] = answer.headers[i];
    text += "    " + JsonQuote(name) + ": " + JsonQuote(value);
    text += i + 1 < answer.headers.size() ? ",\n" : "\n";
  }
  text += "  },\n";
  if (!answer.whole) text += "  \"whole\": false,\n";
  text += "  \"body\": [\n";
  std::string_view rest = answer.body;
  while (true) {
    const size_t end = rest.find('\n');
    text += "    " + LineText(rest.substr(0, end));
    if (end == std::string_view::npos) break;
    text += ",\n";
    rest.remove_prefix(end + 1);
  }
  return text + "\n  ]\n}\n";
}

std::string BodyOf(JsonValue response) {
  const JsonValue lines = response.Get("body");
  std::string body;
  for (size_t i = 0; i < lines.size(); ++i) {
    const JsonValue line = lines.At(i);
    if (i > 0) body += '\n';
    if (line.is_string()) {
      body += Text(line);
    } else if (line.Get("data").present()) {
      body += std::string(kDataPrefix) + line.Get("data").ToJson();
    } else {
      body += line.Get("json").ToJson();
    }
  }
  return body;
}

}  // namespace conclave::gateway
