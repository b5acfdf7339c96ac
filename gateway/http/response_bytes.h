// Answers as they go over the wire, written by Boost.Beast's message, serializer and chunk
// encoding. One of the two files that know Beast; no sockets here.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace conclave::gateway {

struct ResponseHead {
  int status = 200;
  int request_minor_version = 1;  // the answer is always HTTP/1.1
  bool keep_alive = true;
  // Without one the body is a stream: chunked for HTTP/1.1, to the end of the connection for 1.0.
  std::optional<size_t> content_length;
  // Borrowed; names and values of ours, or checked by the gate: free of line ends.
  std::vector<std::pair<std::string_view, std::string_view>> fields;
};

// Status line, Date, framing and Connection fields, `fields`, blank line.
std::string HeadBytes(const ResponseHead& head);

// `data`, not empty, in the chunked coding.
void AppendChunk(std::string_view data, std::string* out);
std::string LastChunkBytes();

}  // namespace conclave::gateway
