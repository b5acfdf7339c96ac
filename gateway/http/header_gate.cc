#include "gateway/http/header_gate.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "gateway/http/ascii.h"

namespace conclave::gateway {
namespace {

constexpr std::string_view kHttp2Preface = "PRI * HTTP/2.0\r\n";
// 19 digits always fit 64 bits.
constexpr size_t kLengthDigitsMax = 19;

bool IsVisibleAscii(char c) { return c > 0x20 && c < 0x7f; }

// Tab, visible ASCII and opaque bytes above it; no NUL, no other control character.
bool IsFieldValueChar(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return byte == '\t' || (byte >= 0x20 && byte != 0x7f);
}

// `lowercase` is ours, `text` is theirs.
bool Is(std::string_view text, std::string_view lowercase) {
  return text.size() == lowercase.size() &&
         std::equal(text.begin(), text.end(), lowercase.begin(),
                    [](char theirs, char ours) { return ToLower(theirs) == ours; });
}

std::string_view TrimBlanks(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

using Refusal = std::optional<HeadRefusal>;

HeadRefusal Refuse(int status, std::string_view reason, std::string message) {
  return {status, reason, std::move(message)};
}

// Every LF must follow a CR, every CR must be followed by an LF, and NUL is nowhere.
Refusal CheckLineEnds(std::string_view input) {
  for (size_t i = 0; i < input.size(); ++i) {
    const char c = input[i];
    if (static_cast<unsigned char>(c) > '\r') continue;
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

// Tokens between commas; places may be empty.
bool IsTokenList(std::string_view value) {
  while (true) {
    const size_t comma = value.find(',');
    const std::string_view member = TrimBlanks(value.substr(0, comma));
    if (!member.empty() && !IsToken(member)) return false;
    if (comma == std::string_view::npos) return true;
    value.remove_prefix(comma + 1);
  }
}

// Goes over one complete block and remembers of it only what one line says about another.
class HeadJudge final {
 public:
  explicit HeadJudge(const HeadLimits& limits) : limits_(limits) {}

  Refusal Judge(std::string_view block) {
    if (auto refusal = CheckLineEnds(block)) return refusal;
    size_t end = block.find("\r\n");
    if (auto refusal = JudgeRequestLine(block.substr(0, end))) return refusal;
    block.remove_prefix(end + 2);
    while ((end = block.find("\r\n")) != 0) {
      if (auto refusal = JudgeField(block.substr(0, end))) return refusal;
      block.remove_prefix(end + 2);
    }
    return JudgeFraming();
  }

 private:
  Refusal JudgeRequestLine(std::string_view line) {
    const size_t first = line.find(' ');
    const size_t last = line.rfind(' ');
    if (first == std::string_view::npos || first == last) {
      return Refuse(400, "request_line", "the request line needs a method, a target and a version");
    }
    const std::string_view method = line.substr(0, first);
    if (!IsToken(method)) return Refuse(400, "method", "the method is not a token");
    if (auto refusal = JudgeVersion(line.substr(last + 1))) return refusal;
    return JudgeTarget(line.substr(first + 1, last - first - 1), method == "OPTIONS");
  }

  Refusal JudgeVersion(std::string_view version) {
    http_1_1_ = version == "HTTP/1.1";
    if (http_1_1_ || version == "HTTP/1.0") return std::nullopt;
    if (version.substr(0, 5) == "HTTP/") {
      return Refuse(505, "version", "only HTTP/1.0 and HTTP/1.1 are spoken here");
    }
    return Refuse(400, "request_line", "the request line does not end in an HTTP version");
  }

  Refusal JudgeTarget(std::string_view target, bool options) const {
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
    if (target.front() != '/' && !(target == "*" && options)) {
      return Refuse(400, "target", "the request target must begin with '/'");
    }
    return std::nullopt;
  }

  Refusal JudgeField(std::string_view line) {
    if (++num_fields_ > limits_.fields_max) {
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
    return JudgeMeaning(name, value);
  }

  // The fields that decide how the message is read.
  Refusal JudgeMeaning(std::string_view name, std::string_view value) {
    if (Is(name, "host")) return JudgeHost(value);
    if (Is(name, "content-length")) return JudgeContentLength(value);
    if (Is(name, "transfer-encoding")) return JudgeTransferEncoding(value);
    if ((Is(name, "connection") || Is(name, "proxy-connection")) && !IsTokenList(value)) {
      return Refuse(400, "connection", "the Connection field is not a list of words");
    }
    if (Is(name, "expect") && !Is(value, "100-continue")) {
      return Refuse(417, "expect", "the only expectation met here is 100-continue");
    }
    return std::nullopt;
  }

  Refusal JudgeHost(std::string_view value) {
    if (std::exchange(has_host_, true)) return Refuse(400, "two_hosts", "more than one Host field");
    if (!IsHostText(value)) return Refuse(400, "host", "the Host field is not a host name");
    return std::nullopt;
  }

  Refusal JudgeContentLength(std::string_view value) {
    if (std::exchange(has_length_, true)) {
      return Refuse(400, "two_content_lengths", "more than one Content-Length field");
    }
    // Digits and nothing else: no sign, no list.
    const bool digits =
        std::all_of(value.begin(), value.end(), [](char c) { return c >= '0' && c <= '9'; });
    if (value.empty() || !digits || value.size() > kLengthDigitsMax) {
      return Refuse(400, "content_length", "Content-Length is not a number of bytes");
    }
    return std::nullopt;
  }

  Refusal JudgeTransferEncoding(std::string_view value) {
    if (!http_1_1_) {
      return Refuse(400, "transfer_encoding", "Transfer-Encoding in an HTTP/1.0 request");
    }
    if (std::exchange(chunked_, true) || !Is(value, "chunked")) {
      return Refuse(400, "transfer_encoding",
                    "the only transfer coding understood is chunked, once");
    }
    return std::nullopt;
  }

  // What only the whole head shows.
  Refusal JudgeFraming() const {
    if (chunked_ && has_length_) {
      return Refuse(400, "length_and_chunked", "both Content-Length and Transfer-Encoding");
    }
    if (!has_host_ && http_1_1_) return Refuse(400, "no_host", "HTTP/1.1 needs a Host field");
    return std::nullopt;
  }

  const HeadLimits& limits_;
  size_t num_fields_ = 0;
  bool http_1_1_ = false;
  bool has_host_ = false;
  bool has_length_ = false;
  bool chunked_ = false;
};

// What can be told before the end of the block has come, or when it never will.
Refusal JudgeIncomplete(std::string_view head, const HeadLimits& limits) {
  if (auto refusal = CheckLineEnds(head.substr(0, limits.block_bytes_max))) return refusal;
  if (head.size() + 4 <= limits.block_bytes_max) return std::nullopt;
  if (head.find("\r\n") > limits.target_bytes_max) {
    return Refuse(414, "target_too_long", "the request target is too long");
  }
  return Refuse(431, "head_too_large", "the header block is too large");
}

}  // namespace

HeadJudgement JudgeHead(std::string_view input, const HeadLimits& limits) {
  HeadJudgement judgement;
  if (input.empty()) return judgement;
  Refusal refusal;
  const size_t end = input.find("\r\n\r\n");
  const bool complete = end != std::string_view::npos && end + 4 <= limits.block_bytes_max;
  if (input.front() == 0x16) {
    refusal = Refuse(400, "tls", "TLS on the plain-text port");
  } else if (input.substr(0, kHttp2Preface.size()) == kHttp2Preface) {
    refusal = Refuse(400, "http2", "HTTP/2 is not spoken on this port");
  } else if (complete) {
    refusal = HeadJudge(limits).Judge(input.substr(0, end + 4));
  } else {
    refusal = JudgeIncomplete(input.substr(0, end), limits);
  }
  if (refusal) {
    judgement.state = HeadJudgement::State::kRefused;
    judgement.refusal = *std::move(refusal);
  } else if (complete) {
    judgement.state = HeadJudgement::State::kAccepted;
    judgement.bytes = end + 4;
  }
  return judgement;
}

}  // namespace conclave::gateway
