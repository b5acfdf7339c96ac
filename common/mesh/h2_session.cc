#include "mesh/h2_session.h"

#include <nghttp2/nghttp2.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "base/check.h"
#include "base/strings.h"
#include "mesh/grpc_status.h"
#include "mesh/h2_framing.h"

namespace conclave::mesh {
namespace {

// What is taken from the session at a time, about: the rest waits there.
constexpr size_t kOutputBytes = 256 << 10;
// Of all streams together: they are given back as they come, so that no unread stream is in the
// way of the others.
constexpr int32_t kConnectionWindow = 4 << 20;

nghttp2_nv Field(std::string_view name, std::string_view value) {
  // nghttp2 copies both; the types are for those who ask it not to.
  const auto bytes = [](std::string_view text) {
    return const_cast<uint8_t*>(reinterpret_cast<const uint8_t*>(text.data()));
  };
  return {bytes(name), bytes(value), name.size(), value.size(), NGHTTP2_NV_FLAG_NONE};
}

std::string_view View(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

bool IsGrpc(std::string_view content_type) { return content_type.starts_with("application/grpc"); }

}  // namespace

struct H2Session::Call {
  Stream* stream = nullptr;  // null once it was cancelled
  std::string body;          // what is left to send begins at `sent`
  size_t sent = 0;
  int http_status = 0;
  bool is_grpc = false;
  std::optional<absl::StatusCode> code;
  std::string message;  // percent-encoded
  std::string detail;   // base64

  absl::Status Outcome(uint32_t h2_error) const {
    if (code) {
      std::string bytes;
      if (!absl::Base64Unescape(base::Abs(detail), &bytes)) bytes.clear();
      return FromTrailers(*code, PercentDecoded(message), bytes);
    }
    if (http_status != 0 && http_status != 200) return StatusOfHttp(http_status);
    if (h2_error != NGHTTP2_NO_ERROR) return StatusOfReset(h2_error);
    return absl::UnknownError("the stream ended without a status");
  }
};

struct H2Callbacks {
  static H2Session::Call* Find(nghttp2_session* session, int32_t id) {
    return static_cast<H2Session::Call*>(nghttp2_session_get_stream_user_data(session, id));
  }

  static int OnHeader(nghttp2_session* session, const nghttp2_frame* frame,
                      const uint8_t* name_data, size_t name_size, const uint8_t* value_data,
                      size_t value_size, uint8_t, void*) {
    H2Session::Call* const call = Find(session, frame->hd.stream_id);
    if (call == nullptr) return 0;
    const std::string_view name = View(name_data, name_size);
    const std::string_view value = View(value_data, value_size);
    if (name == ":status") {
      call->http_status = 0;
      for (const char digit : value) call->http_status = call->http_status * 10 + (digit - '0');
    } else if (name == "content-type") {
      call->is_grpc = IsGrpc(value);
    } else if (name == "grpc-status") {
      call->code = GrpcCode(value);
    } else if (name == "grpc-message") {
      call->message = value;
    } else if (name == kErrorTrailer) {
      call->detail = value;
    }
    return 0;
  }

  static int OnData(nghttp2_session* session, uint8_t, int32_t id, const uint8_t* data, size_t size,
                    void*) {
    nghttp2_session_consume_connection(session, size);
    H2Session::Call* const call = Find(session, id);
    const bool wanted = call != nullptr && call->stream != nullptr && call->is_grpc;
    if (wanted) {
      call->stream->OnData(View(data, size));
    } else {
      nghttp2_session_consume_stream(session, id, size);
    }
    return 0;
  }

  static int OnClose(nghttp2_session* session, int32_t id, uint32_t h2_error, void* self) {
    H2Session::Call* const call = Find(session, id);
    if (call == nullptr) return 0;
    if (call->stream != nullptr) call->stream->OnEnd(call->Outcome(h2_error));
    static_cast<H2Session*>(self)->calls_.erase(id);
    return 0;
  }

  static ssize_t ReadBody(nghttp2_session*, int32_t, uint8_t* to, size_t size, uint32_t* flags,
                          nghttp2_data_source* source, void*) {
    auto* const call = static_cast<H2Session::Call*>(source->ptr);
    const size_t n = std::min(size, call->body.size() - call->sent);
    std::copy_n(call->body.data() + call->sent, n, to);
    call->sent += n;
    if (call->sent == call->body.size()) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return static_cast<ssize_t>(n);
  }
};

H2Session::H2Session(std::string scheme, std::string authority)
    : scheme_(std::move(scheme)), authority_(std::move(authority)) {
  nghttp2_session_callbacks* callbacks = nullptr;
  CHECK(nghttp2_session_callbacks_new(&callbacks) == 0);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, H2Callbacks::OnHeader);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, H2Callbacks::OnData);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, H2Callbacks::OnClose);
  nghttp2_option* option = nullptr;
  CHECK(nghttp2_option_new(&option) == 0);
  nghttp2_option_set_no_auto_window_update(option, 1);
  CHECK(nghttp2_session_client_new2(&session_, callbacks, this, option) == 0);
  nghttp2_option_del(option);
  nghttp2_session_callbacks_del(callbacks);

  const std::array<nghttp2_settings_entry, 2> settings = {
      {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0}, {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, kStreamWindow}}};
  CHECK(nghttp2_submit_settings(session_, NGHTTP2_FLAG_NONE, settings.data(), settings.size()) ==
        0);
  CHECK(nghttp2_session_set_local_window_size(session_, NGHTTP2_FLAG_NONE, 0, kConnectionWindow) ==
        0);
}

H2Session::~H2Session() { nghttp2_session_del(session_); }

absl::StatusOr<int32_t> H2Session::Open(Request request, Stream* stream) {
  if (!takes_streams()) return base::Unavailable("the connection takes no further streams");
  auto call = std::make_unique<Call>();
  call->stream = stream;
  call->body = WithPrefix(request.message);
  std::vector<nghttp2_nv> fields = {
      Field(":method", "POST"),        Field(":scheme", scheme_),
      Field(":path", request.path),    Field(":authority", authority_),
      Field("te", "trailers"),         Field("content-type", "application/grpc"),
      Field("user-agent", "conclave"),
  };
  const std::string timeout = GrpcTimeout(request.timeout);
  if (request.timeout.count() > 0) fields.push_back(Field("grpc-timeout", timeout));
  nghttp2_data_provider body{};
  body.source.ptr = call.get();
  body.read_callback = H2Callbacks::ReadBody;
  const int32_t id =
      nghttp2_submit_request(session_, nullptr, fields.data(), fields.size(), &body, call.get());
  if (id < 0) return base::Unavailable(std::string("no stream: ") + nghttp2_strerror(id));
  calls_.emplace(id, std::move(call));
  return id;
}

void H2Session::Consume(int32_t id, size_t bytes) {
  if (bytes > 0) nghttp2_session_consume_stream(session_, id, bytes);
}

void H2Session::Cancel(int32_t id) {
  const auto it = calls_.find(id);
  if (it == calls_.end()) return;
  it->second->stream = nullptr;
  nghttp2_submit_rst_stream(session_, NGHTTP2_FLAG_NONE, id, NGHTTP2_CANCEL);
}

void H2Session::Ping() { nghttp2_submit_ping(session_, NGHTTP2_FLAG_NONE, nullptr); }

absl::Status H2Session::Receive(std::string_view bytes) {
  const ssize_t used = nghttp2_session_mem_recv(
      session_, reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
  if (used >= 0) return absl::OkStatus();
  return base::Unavailable(std::string("the peer does not speak HTTP/2: ") +
                           nghttp2_strerror(static_cast<int>(used)));
}

void H2Session::TakeOutput(std::string* out) {
  const uint8_t* data = nullptr;
  while (out->size() < kOutputBytes) {
    const ssize_t size = nghttp2_session_mem_send(session_, &data);
    if (size <= 0) return;  // an error here is one of memory; `over` tells the rest
    out->append(View(data, static_cast<size_t>(size)));
  }
}

bool H2Session::takes_streams() const {
  return nghttp2_session_check_request_allowed(session_) != 0;
}

bool H2Session::over() const {
  return nghttp2_session_want_read(session_) == 0 && nghttp2_session_want_write(session_) == 0;
}

}  // namespace conclave::mesh
