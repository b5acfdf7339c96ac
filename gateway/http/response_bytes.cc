#include "gateway/http/response_bytes.h"

#include <array>
#include <boost/beast/core/buffers_range.hpp>
#include <boost/beast/http/chunk_encode.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/serializer.hpp>
#include <charconv>
#include <ctime>

namespace conclave::gateway {
namespace {

namespace beast = boost::beast;
namespace http = beast::http;

// Formatted once a second by each thread.
const std::string& HttpDate() {
  static thread_local std::time_t at = -1;
  static thread_local std::string date;
  const std::time_t now = std::time(nullptr);
  if (now == at) return date;
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 40> text{};
  // The C locale is in force: nobody calls setlocale.
  const size_t n = std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts);
  date.assign(text.data(), n);
  at = now;
  return date;
}

template <typename Buffers>
std::string Joined(const Buffers& buffers) {
  std::string text;
  text.reserve(beast::buffer_bytes(buffers));
  for (const auto buffer : beast::buffers_range_ref(buffers)) {
    text.append(static_cast<const char*>(buffer.data()), buffer.size());
  }
  return text;
}

}  // namespace

std::string HeadBytes(const ResponseHead& head) {
  http::response<http::empty_body> message;
  message.result(static_cast<unsigned>(head.status));
  message.set(http::field::date, HttpDate());
  const bool old = head.request_minor_version == 0;
  if (head.content_length) {
    // RFC 9110 §8.6: never in a 204.
    if (head.status != 204) message.content_length(*head.content_length);
  } else if (!old) {
    message.chunked(true);
  }
  message.keep_alive(head.keep_alive);
  if (old && head.keep_alive) message.set(http::field::connection, "keep-alive");
  for (const auto& [name, value] : head.fields) message.insert(name, value);

  http::response_serializer<http::empty_body> serializer(message);
  serializer.split(true);  // the head alone comes first, and is all that is wanted
  std::string text;
  beast::error_code error;
  serializer.next(error,
                  [&text](beast::error_code&, const auto& buffers) { text = Joined(buffers); });
  return text;
}

void AppendChunk(std::string_view data, std::string* out) {
  std::array<char, 16> size{};
  const auto end = std::to_chars(size.begin(), size.end(), data.size(), 16).ptr;
  out->append(size.begin(), end).append("\r\n").append(data).append("\r\n");
}

std::string LastChunkBytes() { return Joined(http::make_chunk_last()); }

}  // namespace conclave::gateway
