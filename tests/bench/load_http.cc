#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>

#include "base/json.h"
#include "bench/load.h"

namespace conclave::bench {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = beast::http;
using asio::ip::tcp;
using boost::system::error_code;

// The completion token that puts the outcome into `error`.
auto Into(error_code& error) { return asio::redirect_error(asio::use_awaitable, error); }

std::string Body(const LoadOptions& options) {
  base::JsonWriter json;
  json.BeginObject();
  json.Field("model", options.model);
  json.Field("stream", true);
  json.Key("messages");
  json.BeginArray();
  json.BeginObject();
  json.Field("role", "user");
  json.Field("content", options.prompt);
  json.EndObject();
  json.EndArray();
  json.EndObject();
  return json.Take();
}

// Counts the events of a chunked event stream whose delta has text; events may be cut anywhere.
class EventCounter final {
 public:
  int64_t Add(std::string_view bytes) {
    int64_t pieces = 0;
    for (const char byte : bytes) {
      line_ += byte;
      if (byte != '\n') continue;
      if (line_.find("\"content\":\"") != std::string::npos &&
          line_.find("\"content\":\"\"") == std::string::npos) {
        ++pieces;
      }
      if (line_.starts_with("data: [DONE]")) done_ = true;
      line_.clear();
    }
    return pieces;
  }
  bool done() const { return done_; }

 private:
  std::string line_;
  bool done_ = false;
};

class HttpLoad final {
 public:
  HttpLoad(asio::io_context& io, tcp::endpoint server, std::string host, const LoadOptions& options)
      : io_(io),
        server_(std::move(server)),
        host_(std::move(host)),
        options_(options),
        body_(Body(options)),
        left_(options.warm_up + options.requests) {}

  void Start() {
    for (int i = 0; i < options_.streams; ++i) {
      asio::co_spawn(io_, Connection(), [](const std::exception_ptr& failure) {
        if (failure) std::rethrow_exception(failure);
      });
    }
  }
  absl::StatusOr<std::vector<Sample>> Take() {
    if (!failure_.ok()) return failure_;
    if (left_ > 0) return absl::DeadlineExceededError("the load did not end in time");
    samples_.erase(samples_.begin(), samples_.begin() + options_.warm_up);
    return std::move(samples_);
  }

 private:
  asio::awaitable<void> Connection() {
    error_code error;
    beast::tcp_stream stream(io_);
    co_await stream.async_connect(server_, Into(error));
    if (error) co_return Fail(base::Unavailable("connecting: " + error.message()));
    stream.socket().set_option(tcp::no_delay(true));
    beast::flat_buffer buffer;
    while (left_ > 0 && failure_.ok()) {
      --left_;
      const absl::Status status = co_await Ask(stream, buffer);
      if (!status.ok()) co_return Fail(status);
    }
  }

  asio::awaitable<absl::Status> Ask(beast::tcp_stream& stream, beast::flat_buffer& buffer) {
    error_code error;
    http::request<http::string_body> request(http::verb::post, "/v1/chat/completions", 11, body_);
    request.set(http::field::host, host_);
    request.set(http::field::content_type, "application/json");
    if (!options_.api_key.empty()) {
      request.set(http::field::authorization, "Bearer " + options_.api_key);
    }
    request.prepare_payload();
    Stopwatch watch;
    watch.Start();
    co_await http::async_write(stream, request, Into(error));
    if (error) co_return base::Unavailable("sending: " + error.message());
    http::response_parser<http::buffer_body> parser;
    parser.body_limit(boost::none);
    co_await http::async_read_header(stream, buffer, parser, Into(error));
    if (error) co_return base::Unavailable("reading: " + error.message());
    if (parser.get().result_int() != 200) {
      co_return base::Internal("status " + std::to_string(parser.get().result_int()));
    }
    EventCounter counter;
    char bytes[16 << 10];
    while (!parser.is_done()) {
      parser.get().body().data = bytes;
      parser.get().body().size = sizeof bytes;
      // One piece as soon as it is there, not a full buffer.
      co_await http::async_read_some(stream, buffer, parser, Into(error));
      if (error && error != http::error::need_buffer) {
        co_return base::Unavailable("reading: " + error.message());
      }
      watch.Pieces(counter.Add({bytes, sizeof bytes - parser.get().body().size}));
    }
    if (!counter.done()) co_return base::Internal("a stream without an end");
    samples_.push_back(watch.Stop());
    co_return absl::OkStatus();
  }

  void Fail(absl::Status status) {
    if (failure_.ok()) failure_ = std::move(status);
    io_.stop();
  }

  asio::io_context& io_;
  const tcp::endpoint server_;
  const std::string host_;
  const LoadOptions& options_;
  const std::string body_;
  int left_;
  std::vector<Sample> samples_;
  absl::Status failure_;
};

}  // namespace

absl::StatusOr<std::vector<Sample>> LoadHttp(const std::string& address,
                                             const LoadOptions& options) {
  asio::io_context io(1);
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return base::InvalidArgument("http: expected host:port");
  error_code error;
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(address.substr(0, colon), address.substr(colon + 1), error);
  if (error) return base::Unavailable("resolving " + address + ": " + error.message());
  HttpLoad load(io, found.begin()->endpoint(), address, options);
  load.Start();
  io.run_for(options.timeout);
  return load.Take();
}

}  // namespace conclave::bench
