// The first reader of every byte that comes from outside: it takes the raw header block apart and
// refuses whatever two HTTP parsers could read differently, so nothing can be smuggled through an
// ingress in front of us (mesh reference H1, H2, H7). There is no second parser behind it: what the
// gate returns is what the gateway acts on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace conclave::gateway {

struct HeaderField {
  std::string name;   // lowercase
  std::string value;  // without surrounding blanks
};

struct RequestHead {
  std::string method;  // as sent: methods are case-sensitive
  std::string target;  // origin form, "/v1/models?limit=2", or "*"
  std::string path;    // of the target, still percent-encoded
  std::string query;   // of the target, without '?'
  std::string host;    // empty only for HTTP/1.0
  std::vector<HeaderField> fields;
  int minor_version = 1;
  bool keep_alive = true;
  bool expect_continue = false;
  bool chunked = false;
  std::optional<uint64_t> content_length;

  // The value of the first field of this lowercase name; empty when there is none.
  std::string_view Find(std::string_view name) const;
  bool has_body() const { return chunked || content_length.value_or(0) > 0; }
};

struct HeadLimits {
  size_t block_bytes_max = 16 * 1024;
  size_t fields_max = 100;
  size_t target_bytes_max = 8 * 1024;
};

// Why a head was refused. `reason` is a fixed word for the counter conclave_http_rejected_total.
struct HeadRefusal {
  int status = 400;
  std::string_view reason;
  std::string message;
};

// How far `input`, read from the start of a request, has come.
struct HeadScan {
  enum class State { kIncomplete, kComplete, kRefused };
  State state = State::kIncomplete;
  size_t bytes = 0;     // of the block with its blank line, when complete
  HeadRefusal refusal;  // when refused; everything that can be told early is told early
};
HeadScan ScanHead(std::string_view input, const HeadLimits& limits);

// Takes a complete block apart: request line, fields, blank line, each ending in CR LF.
std::variant<RequestHead, HeadRefusal> ParseHead(std::string_view block, const HeadLimits& limits);

}  // namespace conclave::gateway
