#include "gateway/http/header_gate.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "gateway/http/ascii.h"

namespace conclave::gateway {
namespace {

constexpr std::string_view kHttp2Preface = "PRI * HTTP/2.0\r\n";

// tchar of RFC 9110 §5.6.2.
bool IsTokenChar(char c) {
  if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) return true;
  return std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}
bool IsToken(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), IsTokenChar);
}
bool IsVisibleAscii(char c) { return c > 0x20 && c < 0x7f; }

// Tab, visible ASCII and opaque bytes above it; no NUL, no other control character.
bool IsFieldValueChar(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
}

std::string_view TrimBlanks(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

HeadRefusal Refuse(int status, std::string_view reason, std::string message) {
  return {status, reason, std::move(message)};
}

// Every LF must follow a CR, every CR must be followed by an LF, and NUL is nowhere.
std::optional<HeadRefusal> CheckLineEnds(std::string_view input) {
  for (size_t i = 0; i < input.size(); ++i) {
    const char c = input[i];
    if (c == '\n' && (i == 0 || input[i - 1] != '\r')) {
      return Refuse(400, "bare_lf", "a line ends in LF without CR");
    }
    if (c == '\r' && i + 1 < input.size() && input[i + 1] != '\n') {
      return Refuse(400, "bare_cr", "CR without LF in the header block");
    }
    if (c == '\0') return Refuse(400, "nul", "NUL in the header block");
  }
  return std::nullopt;
}

// reg-name, IPv4 or [IPv6], with an optional port. Deliberately narrow: a Host is compared with a
// list, never resolved.
bool IsHostText(std::string_view host) {
  if (host.empty() || host.size() > 255) return false;
  return std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("-._~:[]").find(c) != std::string_view::npos;
  });
}

// Calls `visit` with each comma-separated member, trimmed and lowercase.
template <typename Visit>
void ForEachListMember(std::string_view value, Visit visit) {
  while (true) {
    const size_t comma = value.find(',');
    const std::string member = Lowercase(TrimBlanks(value.substr(0, comma)));
    if (!member.empty()) visit(member);
    if (comma == std::string_view::npos) return;
    value.remove_prefix(comma + 1);
  }
}

class HeadParser final {
 public:
  explicit HeadParser(const HeadLimits& limits) : limits_(limits) {}

  std::variant<RequestHead, HeadRefusal> Parse(std::string_view block) {
    if (auto refusal = CheckLineEnds(block)) return *std::move(refusal);
    size_t end = block.find("\r\n");
    if (auto refusal = ParseRequestLine(block.substr(0, end))) return *std::move(refusal);
    block.remove_prefix(end + 2);
    while ((end = block.find("\r\n")) != 0) {
      if (end == std::string_view::npos) {
        return Refuse(400, "malformed_head", "the header block has no end");
      }
      if (auto refusal = ParseField(block.substr(0, end))) return *std::move(refusal);
      block.remove_prefix(end + 2);
    }
    if (auto refusal = CheckFraming()) return *std::move(refusal);
    return std::move(head_);
  }

 private:
  std::optional<HeadRefusal> ParseRequestLine(std::string_view line) {
    const size_t first = line.find(' ');
    const size_t last = line.rfind(' ');
    if (first == std::string_view::npos || first == last) {
      return Refuse(400, "request_line", "the request line needs a method, a target and a version");
    }
    head_.method = std::string(line.substr(0, first));
    const std::string_view target = line.substr(first + 1, last - first - 1);
    if (!IsToken(head_.method)) return Refuse(400, "method", "the method is not a token");
    if (auto refusal = ParseVersion(line.substr(last + 1))) return refusal;
    return ParseTarget(target);
  }

  std::optional<HeadRefusal> ParseVersion(std::string_view version) {
    if (version == "HTTP/1.1") {
      head_.minor_version = 1;
    } else if (version == "HTTP/1.0") {
      head_.minor_version = 0;
      head_.keep_alive = false;
    } else if (version.substr(0, 5) == "HTTP/") {
      return Refuse(505, "version", "only HTTP/1.0 and HTTP/1.1 are spoken here");
    } else {
      return Refuse(400, "request_line", "the request line does not end in an HTTP version");
    }
    return std::nullopt;
  }

  std::optional<HeadRefusal> ParseTarget(std::string_view target) {
    if (target.empty()) return Refuse(400, "target", "the request target is empty");
    if (target.size() > limits_.target_bytes_max) {
      return Refuse(414, "target_too_long", "the request target is too long");
    }
    if (!std::all_of(target.begin(), target.end(), IsVisibleAscii) ||
        target.find('#') != std::string_view::npos) {
      return Refuse(400, "target", "the request target has a character that may not stand there");
    }
    if (target.find("://") != std::string_view::npos && target.front() != '/') {
      return Refuse(421, "absolute_form", "this server is not a proxy: absolute-form target");
    }
    if (target.front() != '/' && !(target == "*" && head_.method == "OPTIONS")) {
      return Refuse(400, "target", "the request target must begin with '/'");
    }
    head_.target = std::string(target);
    const size_t question = target.find('?');
    head_.path = std::string(target.substr(0, question));
    if (question != std::string_view::npos) head_.query = std::string(target.substr(question + 1));
    return std::nullopt;
  }

  std::optional<HeadRefusal> ParseField(std::string_view line) {
    if (head_.fields.size() >= limits_.fields_max) {
      return Refuse(431, "too_many_fields", "too many header fields");
    }
    if (line.front() == ' ' || line.front() == '\t') {
      return Refuse(400, "obs_fold", "a header field continues on a second line");
    }
    const size_t colon = line.find(':');
    const std::string_view name = line.substr(0, colon);
    if (colon == std::string_view::npos || !IsToken(name)) {
      return Refuse(400, "field_name",
                    "a header line does not begin with a field name and a colon");
    }
    const std::string_view value = TrimBlanks(line.substr(colon + 1));
    if (!std::all_of(value.begin(), value.end(), IsFieldValueChar)) {
      return Refuse(400, "field_value", "a control character in a header value");
    }
    head_.fields.push_back({Lowercase(name), std::string(value)});
    return NoteField(head_.fields.back());
  }

  // The fields that decide how the message is read.
  std::optional<HeadRefusal> NoteField(const HeaderField& field) {
    if (field.name == "host") return NoteHost(field.value);
    if (field.name == "content-length") return NoteContentLength(field.value);
    if (field.name == "transfer-encoding") return NoteTransferEncoding(field.value);
    if (field.name == "connection") {
      ForEachListMember(field.value, [this](const std::string& option) {
        if (option == "close") close_ = true;
        if (option == "keep-alive" && head_.minor_version == 0) head_.keep_alive = true;
      });
    } else if (field.name == "expect") {
      if (Lowercase(field.value) != "100-continue") {
        return Refuse(417, "expect", "the only expectation met here is 100-continue");
      }
      head_.expect_continue = head_.minor_version == 1;
    }
    return std::nullopt;
  }

  std::optional<HeadRefusal> NoteHost(const std::string& value) {
    if (std::exchange(has_host_, true)) return Refuse(400, "two_hosts", "more than one Host field");
    if (!IsHostText(value)) return Refuse(400, "host", "the Host field is not a host name");
    head_.host = Lowercase(value);
    return std::nullopt;
  }

  std::optional<HeadRefusal> NoteContentLength(const std::string& value) {
    if (head_.content_length) {
      return Refuse(400, "two_content_lengths", "more than one Content-Length field");
    }
    // Digits and nothing else: no sign, no list. 19 digits always fit 64 bits.
    const bool digits =
        std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (value.empty() || !digits || value.size() > 19) {
      return Refuse(400, "content_length", "Content-Length is not a number of bytes");
    }
    uint64_t length = 0;
    std::from_chars(value.data(), value.data() + value.size(), length);
    head_.content_length = length;
    return std::nullopt;
  }

  std::optional<HeadRefusal> NoteTransferEncoding(const std::string& value) {
    if (head_.minor_version == 0) {
      return Refuse(400, "transfer_encoding", "Transfer-Encoding in an HTTP/1.0 request");
    }
    if (head_.chunked || Lowercase(value) != "chunked") {
      return Refuse(400, "transfer_encoding",
                    "the only transfer coding understood is chunked, once");
    }
    head_.chunked = true;
    return std::nullopt;
  }

  // What only the whole head shows.
  std::optional<HeadRefusal> CheckFraming() {
    if (head_.chunked && head_.content_length) {
      return Refuse(400, "length_and_chunked", "both Content-Length and Transfer-Encoding");
    }
    if (!has_host_ && head_.minor_version == 1) {
      return Refuse(400, "no_host", "HTTP/1.1 needs a Host field");
    }
    if (close_) head_.keep_alive = false;
    return std::nullopt;
  }

  const HeadLimits& limits_;
  RequestHead head_;
  bool has_host_ = false;
  bool close_ = false;
};

}  // namespace

std::string_view RequestHead::Find(std::string_view name) const {
  for (const HeaderField& field : fields) {
    if (field.name == name) return field.value;
  }
  return {};
}

HeadScan ScanHead(std::string_view input, const HeadLimits& limits) {
  HeadScan scan;
  const auto refuse = [&scan](HeadRefusal refusal) {
    scan.state = HeadScan::State::kRefused;
    scan.refusal = std::move(refusal);
    return scan;
  };
  if (input.empty()) return scan;
  if (input.front() == 0x16) return refuse(Refuse(400, "tls", "TLS on the plain-text port"));
  if (input.substr(0, kHttp2Preface.size()) == kHttp2Preface) {
    return refuse(Refuse(400, "http2", "HTTP/2 is not spoken on this port"));
  }
  const size_t end = input.find("\r\n\r\n");
  const std::string_view head = input.substr(0, end);
  if (end != std::string_view::npos && end + 4 <= limits.block_bytes_max) {
    scan.state = HeadScan::State::kComplete;
    scan.bytes = end + 4;
    return scan;
  }
  if (auto refusal = CheckLineEnds(head.substr(0, limits.block_bytes_max))) {
    return refuse(*std::move(refusal));
  }
  if (head.size() + 4 > limits.block_bytes_max) {
    const bool in_first_line = head.find("\r\n") > limits.target_bytes_max;
    if (in_first_line)
      return refuse(Refuse(414, "target_too_long", "the request target is too long"));
    return refuse(Refuse(431, "head_too_large", "the header block is too large"));
  }
  return scan;
}

std::variant<RequestHead, HeadRefusal> ParseHead(std::string_view block, const HeadLimits& limits) {
  return HeadParser(limits).Parse(block);
}

}  // namespace conclave::gateway
