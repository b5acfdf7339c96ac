// An HTTP server of the worst kind, for what is a client of other servers: reads a request, then
// does exactly what the test says — sends bytes, half of them, none, hangs, hangs up.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

namespace conclave::support {

struct PeerRequest {
  std::string method;
  std::string path;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

// One connection, while its handler runs.
class PeerConnection final {
 public:
  explicit PeerConnection(int fd) : fd_(fd) {}
  // False when the client has gone.
  bool Send(std::string_view bytes);
  // A whole answer with its length.
  void Reply(int status, std::string_view body, std::string_view headers = "");
  // The head of a stream that ends with the connection.
  void BeginStream(std::string_view content_type = "text/event-stream");
  // Sends nothing until the client hangs up; false after 20 s.
  bool WaitForHangUp();

 private:
  const int fd_;
};

// A thread per connection; each serves one request and closes. Stops when destroyed.
class HttpPeer final {
 public:
  using Handler = std::function<void(const PeerRequest&, PeerConnection&)>;
  explicit HttpPeer(Handler handler);
  ~HttpPeer();
  HttpPeer(const HttpPeer&) = delete;
  HttpPeer& operator=(const HttpPeer&) = delete;

  int port() const { return port_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  std::vector<PeerRequest> requests() const;

 private:
  void Listen();
  void Serve(int fd);

  const Handler handler_;
  int listener_ = -1;
  int port_ = 0;
  mutable std::mutex mutex_;
  bool stopping_ = false;
  std::set<int> open_;
  std::vector<std::thread> servers_;
  std::vector<PeerRequest> requests_;
  std::thread thread_;
};

}  // namespace conclave::support
