#include "backends/http_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/clock.h"
#include "base/status.h"

namespace conclave::backends {

using base::SteadyTime;
using std::chrono::milliseconds;

namespace {

constexpr size_t kHeadBytesMax = 64 * 1024;
constexpr milliseconds kPollMax{1'000};
constexpr milliseconds kRetryAfterMax{3'600'000};

SteadyTime Now() { return base::Clock::System().Now(); }

absl::Status Unreachable(std::string_view what) {
  return base::WithReason(
      base::Unavailable(absl::StrCat("the remote server cannot be reached: ", std::string(what))),
      "upstream_unreachable");
}

absl::Status TimedOut(std::string_view what) {
  return base::WithReason(
      absl::DeadlineExceededError(absl::StrCat("the remote server ", std::string(what))),
      "upstream_timeout");
}

absl::Status FromCurl(CURLcode code) {
  switch (code) {
    case CURLE_OK:
      return absl::OkStatus();
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_CONNECT:
    case CURLE_INTERFACE_FAILED:
      return Unreachable(curl_easy_strerror(code));
    case CURLE_OPERATION_TIMEDOUT:
      return TimedOut("took longer than the whole request may");
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_ISSUER_ERROR:
      return base::WithReason(base::Unavailable(absl::StrCat("TLS with the remote server failed: ",
                                                             curl_easy_strerror(code))),
                              "upstream_tls");
    default:
      return base::WithReason(
          base::Unavailable(absl::StrCat("the connection to the remote server broke: ",
                                         curl_easy_strerror(code))),
          "upstream_lost");
  }
}

}  // namespace

// Owned by the client's thread from Start to OnEnd, except what is const.
class HttpExchange final {
 public:
  HttpExchange(HttpRequest r, std::shared_ptr<HttpListener> l)
      : request(std::move(r)), listener(std::move(l)), submitted(Now()) {}
  ~HttpExchange() {
    curl_slist_free_all(headers);
    curl_easy_cleanup(easy);
  }
  HttpExchange(const HttpExchange&) = delete;
  HttpExchange& operator=(const HttpExchange&) = delete;

  // When it will have been silent for too long.
  SteadyTime Deadline() const {
    const SteadyTime whole = submitted + request.times.total;
    if (easy == nullptr || paused) return whole;
    const milliseconds quiet = head_told ? request.times.idle : request.times.first_byte;
    return std::min(whole, last_read + quiet);
  }

  const HttpRequest request;
  const std::shared_ptr<HttpListener> listener;
  const SteadyTime submitted;
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  HttpHead head;
  size_t head_bytes = 0;
  bool head_told = false;
  bool paused = false;
  bool denied = false;   // an address was
  bool stopped = false;  // the listener has heard enough
  bool ended = false;
  SteadyTime last_read{};
};

namespace {

void TellHead(HttpExchange& exchange) {
  if (exchange.head_told) return;
  exchange.head_told = true;
  exchange.listener->OnHead(exchange.head);
}

void ReadRetryAfter(std::string_view value, double unit_ms, HttpHead* head) {
  double number = 0;
  if (!absl::SimpleAtod(absl::string_view(value.data(), value.size()), &number)) return;
  const double ms = std::clamp(number * unit_ms, 0.0, static_cast<double>(kRetryAfterMax.count()));
  head->retry_after = milliseconds(static_cast<int64_t>(ms));
}

void ReadHeader(absl::string_view line, HttpHead* head) {
  const size_t colon = line.find(':');
  if (colon == absl::string_view::npos) return;
  const std::string name = absl::AsciiStrToLower(line.substr(0, colon));
  absl::string_view value = absl::StripAsciiWhitespace(line.substr(colon + 1));
  const std::string_view text(value.data(), value.size());
  if (name == "content-type") {
    head->content_type =
        absl::AsciiStrToLower(absl::StripAsciiWhitespace(value.substr(0, value.find(';'))));
  } else if (name == "retry-after-ms") {
    ReadRetryAfter(text, 1, head);
  } else if (name == "retry-after" && head->retry_after.count() == 0) {
    ReadRetryAfter(text, 1'000, head);  // a date is no number, and not worth a parser
  } else if (name == "content-length") {
    if (!absl::SimpleAtoi(value, &head->content_length)) head->content_length = -1;
  } else if (name == "content-range" && absl::ConsumePrefix(&value, "bytes ")) {
    // 100-199/1000
    if (!absl::SimpleAtoi(value.substr(0, value.find('-')), &head->range_begin)) {
      head->range_begin = -1;
    }
  }
}

size_t OnHeader(char* data, size_t, size_t size, void* user) {
  auto& exchange = *static_cast<HttpExchange*>(user);
  exchange.last_read = Now();
  exchange.head_bytes += size;
  if (exchange.head_bytes > kHeadBytesMax) return 0;
  const absl::string_view line(data, size);
  if (absl::StartsWith(line, "HTTP/")) {
    exchange.head = {};
    int status = 0;
    const size_t space = line.find(' ');
    if (space != absl::string_view::npos && absl::SimpleAtoi(line.substr(space + 1, 3), &status)) {
      exchange.head.status = status;
    }
  } else {
    ReadHeader(line, &exchange.head);
  }
  return size;
}

size_t OnBodyBytes(char* data, size_t, size_t size, void* user) {
  auto& exchange = *static_cast<HttpExchange*>(user);
  exchange.last_read = Now();
  TellHead(exchange);
  switch (exchange.listener->OnBody({data, size})) {
    case HttpFlow::kContinue:
      return size;
    case HttpFlow::kPause:
      exchange.paused = true;
      curl_easy_pause(exchange.easy, CURLPAUSE_RECV);
      return size;
    case HttpFlow::kStop:
      exchange.stopped = true;
      return 0;
  }
  return 0;
}

curl_socket_t OnOpenSocket(void* user, curlsocktype, curl_sockaddr* address) {
  auto& exchange = *static_cast<HttpExchange*>(user);
  if (exchange.request.allow_address && !exchange.request.allow_address(address->addr)) {
    exchange.denied = true;
    return CURL_SOCKET_BAD;
  }
  return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

}  // namespace

struct HttpClient::Impl {
  explicit Impl(HttpClientOptions o) : options(std::move(o)) {}

  void Run();
  void RunPosted();
  void Begin(const std::shared_ptr<HttpExchange>& exchange);
  void StartWaiting();
  void Collect();
  void CheckTimes();
  int PollMs();
  // By value: the container it may come from is changed.
  void End(std::shared_ptr<HttpExchange> exchange, absl::Status status);

  const HttpClientOptions options;
  CURLM* multi = nullptr;

  mutable std::mutex mutex;
  std::vector<std::function<void()>> posted;
  bool stopping = false;
  Load load;  // counts those not urgent

  // The thread's own.
  std::map<CURL*, std::shared_ptr<HttpExchange>> running;
  std::deque<std::shared_ptr<HttpExchange>> waiting;
  int32_t places_taken = 0;
  std::thread thread;
};

HttpClient::HttpClient(HttpClientOptions options)
    : impl_(std::make_unique<Impl>(std::move(options))) {
  static const CURLcode ready = curl_global_init(CURL_GLOBAL_DEFAULT);
  static_cast<void>(ready);
  impl_->multi = curl_multi_init();
  impl_->thread = std::thread([impl = impl_.get()] { impl->Run(); });
}

HttpClient::~HttpClient() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  curl_multi_wakeup(impl_->multi);
  impl_->thread.join();
  curl_multi_cleanup(impl_->multi);
}

absl::StatusOr<std::shared_ptr<HttpExchange>> HttpClient::Start(
    HttpRequest request, std::shared_ptr<HttpListener> listener) {
  auto exchange = std::make_shared<HttpExchange>(std::move(request), std::move(listener));
  if (!exchange->request.urgent) {
    const std::lock_guard lock(impl_->mutex);
    // Counted together: a newcomer waits for the thread even where a place is free.
    const int64_t all = int64_t{impl_->load.running} + impl_->load.waiting;
    if (all >= int64_t{impl_->options.running_max} + impl_->options.queued_max) {
      return base::ResourceExhausted(absl::StrCat("the queue of this provider is full (",
                                                  impl_->options.queued_max, " waiting)"));
    }
    ++impl_->load.waiting;
  }
  Post([impl = impl_.get(), exchange] {
    if (exchange->ended) return;
    if (exchange->request.urgent) return impl->Begin(exchange);
    impl->waiting.push_back(exchange);
  });
  return exchange;
}

void HttpClient::Cancel(const std::shared_ptr<HttpExchange>& exchange) {
  Post([impl = impl_.get(), exchange] { impl->End(exchange, absl::CancelledError("cancelled")); });
}

void HttpClient::Unpause(const std::shared_ptr<HttpExchange>& exchange) {
  Post([exchange] {
    if (exchange->ended || !exchange->paused) return;
    exchange->paused = false;
    exchange->last_read = Now();
    curl_easy_pause(exchange->easy, CURLPAUSE_CONT);
  });
}

void HttpClient::Post(std::function<void()> task) {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->posted.push_back(std::move(task));
  }
  curl_multi_wakeup(impl_->multi);
}

HttpClient::Load HttpClient::load() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->load;
}

void HttpClient::Impl::Run() {
  while (true) {
    RunPosted();
    {
      const std::lock_guard lock(mutex);
      if (stopping && posted.empty()) break;
    }
    StartWaiting();
    int active = 0;
    curl_multi_perform(multi, &active);
    Collect();
    CheckTimes();
    StartWaiting();
    curl_multi_poll(multi, nullptr, 0, PollMs(), nullptr);
  }
  const absl::Status gone = absl::CancelledError("the client is closed");
  while (!waiting.empty()) End(waiting.front(), gone);
  while (!running.empty()) End(running.begin()->second, gone);
}

void HttpClient::Impl::RunPosted() {
  std::vector<std::function<void()>> tasks;
  {
    const std::lock_guard lock(mutex);
    tasks.swap(posted);
  }
  for (const auto& task : tasks) task();
}

void HttpClient::Impl::StartWaiting() {
  while (places_taken < options.running_max && !waiting.empty()) {
    const std::shared_ptr<HttpExchange> exchange = std::move(waiting.front());
    waiting.pop_front();
    ++places_taken;
    {
      const std::lock_guard lock(mutex);
      --load.waiting;
      ++load.running;
    }
    Begin(exchange);
  }
}

void HttpClient::Impl::Begin(const std::shared_ptr<HttpExchange>& exchange) {
  const HttpRequest& request = exchange->request;
  CURL* easy = curl_easy_init();
  exchange->easy = easy;
  exchange->last_read = Now();
  for (const std::string& header : request.headers) {
    exchange->headers = curl_slist_append(exchange->headers, header.c_str());
  }
  exchange->headers = curl_slist_append(exchange->headers, "Expect:");
  curl_easy_setopt(easy, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, long{CURL_HTTP_VERSION_1_1});
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  curl_easy_setopt(easy, CURLOPT_PROXY, "");
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, long{request.times.connect.count()});
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, exchange->headers);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "conclave");
  if (request.method != "GET" || !request.body.empty()) {
    curl_easy_setopt(easy, CURLOPT_POST, 1L);
    curl_easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request.method.c_str());
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, request.body.data());
  }
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYPEER, options.verify_tls ? 1L : 0L);
  curl_easy_setopt(easy, CURLOPT_SSL_VERIFYHOST, options.verify_tls ? 2L : 0L);
  if (!options.ca_file.empty()) {
    curl_easy_setopt(easy, CURLOPT_CAINFO, options.ca_file.c_str());
  }
  if (!options.cert_file.empty()) {
    curl_easy_setopt(easy, CURLOPT_SSLCERT, options.cert_file.c_str());
    curl_easy_setopt(easy, CURLOPT_SSLKEY, options.key_file.c_str());
  }
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, OnHeader);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, exchange.get());
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, OnBodyBytes);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, exchange.get());
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, OnOpenSocket);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, exchange.get());
  running[easy] = exchange;
  curl_multi_add_handle(multi, easy);
}

void HttpClient::Impl::Collect() {
  int left = 0;
  while (const CURLMsg* message = curl_multi_info_read(multi, &left)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    const auto found = running.find(message->easy_handle);
    if (found == running.end()) continue;
    const std::shared_ptr<HttpExchange> exchange = found->second;
    if (exchange->denied && !exchange->head_told) {
      End(exchange,
          base::WithReason(absl::PermissionDeniedError(
                               "the destination resolves to an address that is not allowed"),
                           "address_denied"));
    } else if (exchange->stopped) {
      End(exchange, absl::CancelledError("the listener has heard enough"));
    } else if (code == CURLE_OPERATION_TIMEDOUT) {
      End(exchange, Unreachable("the connection took too long"));  // the other clocks are ours
    } else {
      if (code == CURLE_OK) TellHead(*exchange);
      End(exchange, FromCurl(code));
    }
  }
}

void HttpClient::Impl::CheckTimes() {
  const SteadyTime now = Now();
  std::vector<std::shared_ptr<HttpExchange>> late;
  for (const auto& [easy, exchange] : running) {
    if (exchange->Deadline() <= now) late.push_back(exchange);
  }
  for (const auto& exchange : waiting) {
    if (exchange->Deadline() <= now) late.push_back(exchange);
  }
  for (const auto& exchange : late) {
    if (exchange->submitted + exchange->request.times.total <= now) {
      End(exchange, TimedOut("took longer than the whole request may"));
    } else {
      End(exchange, TimedOut(exchange->head_told ? "fell silent" : "did not begin to answer"));
    }
  }
}

int HttpClient::Impl::PollMs() {
  SteadyTime next = Now() + kPollMax;
  for (const auto& [easy, exchange] : running) next = std::min(next, exchange->Deadline());
  for (const auto& exchange : waiting) next = std::min(next, exchange->Deadline());
  const auto left = std::chrono::ceil<milliseconds>(next - Now());
  return static_cast<int>(std::max(left, milliseconds(0)).count());
}

void HttpClient::Impl::End(std::shared_ptr<HttpExchange> exchange, absl::Status status) {
  if (std::exchange(exchange->ended, true)) return;
  const bool begun = exchange->easy != nullptr;
  if (begun) {
    // Closes the connection unless the whole answer has been read.
    curl_multi_remove_handle(multi, exchange->easy);
    running.erase(exchange->easy);
  } else {
    std::erase(waiting, exchange);
  }
  if (!exchange->request.urgent) {
    if (begun) --places_taken;
    const std::lock_guard lock(mutex);
    --(begun ? load.running : load.waiting);
  }
  exchange->listener->OnEnd(status);
}

namespace {

class WholeReply final : public HttpListener {
 public:
  explicit WholeReply(size_t bytes_max) : bytes_max_(bytes_max) {}

  void OnHead(const HttpHead& head) override { reply_.head = head; }
  HttpFlow OnBody(std::string_view bytes) override {
    too_long_ = reply_.body.size() + bytes.size() > bytes_max_;
    if (too_long_) return HttpFlow::kStop;
    reply_.body += bytes;
    return HttpFlow::kContinue;
  }
  void OnEnd(const absl::Status& status) override {
    const std::lock_guard lock(mutex_);
    status_ = too_long_ ? base::ResourceExhausted(absl::StrCat(
                              "the remote server's answer is longer than ", bytes_max_, " bytes"))
                        : status;
    done_ = true;
    ended_.notify_all();
  }
  absl::StatusOr<HttpReply> Wait() {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [&] { return done_; });  // the exchange has deadlines of its own
    RETURN_IF_ERROR(status_);
    return std::move(reply_);
  }

 private:
  const size_t bytes_max_;
  HttpReply reply_;
  bool too_long_ = false;
  std::mutex mutex_;
  std::condition_variable ended_;
  bool done_ = false;
  absl::Status status_;
};

}  // namespace

absl::StatusOr<HttpReply> Fetch(HttpClient& client, HttpRequest request, size_t bytes_max) {
  auto listener = std::make_shared<WholeReply>(bytes_max);
  RETURN_IF_ERROR(client.Start(std::move(request), listener).status());
  return listener->Wait();
}

}  // namespace conclave::backends
