#include "support/http_peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cctype>
#include <cstdlib>

namespace conclave::support {
namespace {

std::string Lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// False when the client went before the request was whole.
bool ReadRequest(int fd, PeerRequest* request) {
  std::string bytes;
  size_t head = std::string::npos;
  size_t length = 0;
  char buffer[65536];
  while (head == std::string::npos || bytes.size() < head + 4 + length) {
    const ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    if (got <= 0) return false;
    bytes.append(buffer, static_cast<size_t>(got));
    if (head != std::string::npos) continue;
    head = bytes.find("\r\n\r\n");
    if (head == std::string::npos) continue;
    const size_t line = bytes.find("\r\n");
    const size_t space = bytes.find(' ');
    request->method = bytes.substr(0, space);
    request->path = bytes.substr(space + 1, bytes.find(' ', space + 1) - space - 1);
    for (size_t at = line + 2; at < head;) {
      const size_t end = bytes.find("\r\n", at);
      const size_t colon = bytes.find(':', at);
      const size_t value = bytes.find_first_not_of(' ', colon + 1);
      request->headers[Lower(bytes.substr(at, colon - at))] = bytes.substr(value, end - value);
      at = end + 2;
    }
    const auto found = request->headers.find("content-length");
    if (found != request->headers.end()) length = std::strtoul(found->second.c_str(), nullptr, 10);
  }
  request->body = bytes.substr(head + 4);
  return true;
}

}  // namespace

bool PeerConnection::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

void PeerConnection::Reply(int status, std::string_view body, std::string_view headers) {
  std::string text = "HTTP/1.1 " + std::to_string(status) +
                     " Word\r\nContent-Length: " + std::to_string(body.size()) +
                     "\r\nContent-Type: application/json\r\n" + "Connection: close\r\n";
  text += headers;
  text += "\r\n";
  text += body;
  Send(text);
}

void PeerConnection::BeginStream(std::string_view content_type) {
  Send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: " + std::string(content_type) +
       "\r\n\r\n");
}

bool PeerConnection::WaitForHangUp() {
  char byte = 0;
  pollfd fd{fd_, POLLIN, 0};
  return poll(&fd, 1, 20'000) == 1 && recv(fd_, &byte, 1, 0) <= 0;
}

HttpPeer::HttpPeer(Handler handler) : handler_(std::move(handler)) {
  listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(listener_, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      listen(listener_, 64) != 0 ||
      getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    std::abort();
  }
  port_ = ntohs(address.sin_port);
  thread_ = std::thread([this] { Listen(); });
}

HttpPeer::~HttpPeer() {
  std::vector<std::thread> servers;
  shutdown(listener_, SHUT_RDWR);
  thread_.join();
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const int fd : open_) shutdown(fd, SHUT_RDWR);
    servers.swap(servers_);
  }
  for (std::thread& server : servers) server.join();
  close(listener_);
}

std::vector<PeerRequest> HttpPeer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

void HttpPeer::Listen() {
  while (true) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    const std::lock_guard lock(mutex_);
    open_.insert(fd);
    servers_.emplace_back([this, fd] { Serve(fd); });
  }
}

void HttpPeer::Serve(int fd) {
  PeerRequest request;
  if (ReadRequest(fd, &request)) {
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(request);
    }
    PeerConnection connection(fd);
    handler_(request, connection);
  }
  const std::lock_guard lock(mutex_);
  open_.erase(fd);
  shutdown(fd, SHUT_RDWR);
  close(fd);
}

}  // namespace conclave::support
