#include "gateway/http/request_reader.h"

#include <algorithm>
#include <boost/beast/http/basic_parser.hpp>
#include <boost/beast/http/rfc7230.hpp>
#include <utility>

#include "gateway/http/chunk_gate.h"

namespace conclave::gateway {
namespace {

namespace http = boost::beast::http;
using Error = boost::beast::error_code;
using boost::beast::string_view;

// The length is only a claim: memory follows the bytes that come.
constexpr uint64_t kReserveBytesMax = 1u << 20;

std::string Lowercase(string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

}  // namespace

// What Beast finds, as it finds it.
class RequestReader::Parser final : public http::basic_parser<true> {
 public:
  // The body's limit is known only when the head has been looked at.
  Parser() {
    header_limit(static_cast<uint32_t>(1) << 31);  // the gate's is smaller
    body_limit(boost::none);
  }

  void set_head(RequestHead* head) { head_ = head; }
  void set_body(std::string* body) { body_ = body; }
  bool at_chunk_head() const { return chunked() && !in_chunk_; }
  size_t num_chunks() const { return num_chunks_; }

 private:
  void on_request_impl(http::verb, string_view method, string_view target, int version,
                       Error&) override {
    head_->method = std::string(method);
    head_->target = std::string(target);
    head_->minor_version = version - 10;
    const size_t question = head_->target.find('?');
    head_->path = head_->target.substr(0, question);
    if (question != std::string::npos) head_->query = head_->target.substr(question + 1);
  }

  void on_field_impl(http::field name, string_view name_text, string_view value,
                     Error& error) override {
    if (head_ == nullptr) {
      error = http::error::bad_field;  // a trailer, though the gate lets none pass
      return;
    }
    if (name == http::field::host) head_->host = Lowercase(value);
    if (name == http::field::expect) head_->expect_continue = head_->minor_version == 1;
    // Beast heeds both fields and lets "keep-alive" win in HTTP/1.0; RFC 9112 §9.3 has "close" win.
    const bool connection =
        name == http::field::connection || name == http::field::proxy_connection;
    if (connection && http::token_list{value}.exists("close")) close_ = true;
    head_->fields.push_back({Lowercase(name_text), std::string(value)});
  }

  void on_header_impl(Error&) override {
    head_->keep_alive = keep_alive() && !close_;
    head_->chunked = chunked();
    if (const auto length = content_length()) head_->content_length = *length;
  }

  void on_body_init_impl(const boost::optional<uint64_t>& length, Error&) override {
    if (length) body_->reserve(static_cast<size_t>(std::min(*length, kReserveBytesMax)));
  }
  size_t on_body_impl(string_view bytes, Error&) override {
    body_->append(bytes.data(), bytes.size());
    return bytes.size();
  }
  void on_chunk_header_impl(uint64_t size, string_view, Error&) override {
    ++num_chunks_;
    in_chunk_ = size > 0;
  }
  size_t on_chunk_body_impl(uint64_t remain, string_view bytes, Error&) override {
    body_->append(bytes.data(), bytes.size());
    if (remain == bytes.size()) in_chunk_ = false;
    return bytes.size();
  }

  void on_response_impl(int, string_view, int, Error&) override {}
  void on_finish_impl(Error&) override {}

  RequestHead* head_ = nullptr;
  std::string* body_ = nullptr;
  bool close_ = false;
  bool in_chunk_ = false;  // its head is behind us, its data not yet
  size_t num_chunks_ = 0;
};

RequestReader::RequestReader() = default;
RequestReader::~RequestReader() = default;

bool RequestReader::ReadHead(std::string_view block, RequestHead* head) {
  *head = {};
  parser_ = std::make_unique<Parser>();
  parser_->set_head(head);
  Error error;
  const size_t used = parser_->put(boost::asio::buffer(block), error);
  parser_->set_head(nullptr);
  if (parser_->is_done()) state_ = State::kDone;
  return !error && used == block.size() && parser_->is_header_done();
}

void RequestReader::Malformed(std::string_view reason) {
  state_ = State::kMalformed;
  reason_ = reason;
}

void RequestReader::LimitBody(size_t bytes_max) {
  // Beast looks at an announced length while it reads the head, when no limit is known yet.
  if (parser_->content_length().value_or(0) > bytes_max) state_ = State::kTooLarge;
  parser_->body_limit(bytes_max);
}

size_t RequestReader::ReadBody(std::string_view input, std::string* body) {
  parser_->set_body(body);
  size_t used = 0;
  while (state_ == State::kMore && used < input.size()) {
    std::string_view next = input.substr(used);
    const bool chunk_head = parser_->at_chunk_head();
    if (chunk_head) {
      const ChunkJudgement judgement = JudgeChunkHead(next, parser_->num_chunks() > 0);
      if (judgement.state == ChunkJudgement::State::kIncomplete) break;
      if (judgement.state == ChunkJudgement::State::kRefused) {
        Malformed(judgement.reason);
        break;
      }
      next = next.substr(0, judgement.bytes);
    }
    Error error;
    const size_t taken = parser_->put(boost::asio::buffer(next), error);
    used += taken;
    if (error == http::error::body_limit) {
      state_ = State::kTooLarge;
    } else if (error || taken == 0 || (chunk_head && taken != next.size())) {
      Malformed(chunk_head ? "chunk_head" : "body");
    } else if (parser_->num_chunks() > kChunksMax) {
      Malformed("too_many_chunks");
    } else if (parser_->is_done()) {
      state_ = State::kDone;
    }
  }
  return used;
}

}  // namespace conclave::gateway
