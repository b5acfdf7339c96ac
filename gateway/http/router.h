// Method and path → route. Patterns are made of literal segments, "{name}" for one segment and, at
// the end, "{name...}" for the rest of the path (model ids contain slashes). Where several patterns
// fit, literals win over "{name}", and that over "{name...}". A trailing slash changes nothing.
#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateway/http/response.h"
#include "gateway/http/status_map.h"

namespace conclave::gateway {

using ErrorBody = std::string (*)(const ErrorInfo& error);

// How a family of paths dresses its errors, and what its protocol calls otherwise than HTTP does.
struct ErrorFamily {
  // NOLINTNEXTLINE(google-explicit-constructor): a body is all that most families differ in.
  constexpr ErrorFamily(ErrorBody error_body) : body(error_body) {}

  ErrorBody body;
  int unavailable_status = 503;             // Anthropic says 529
  std::string_view request_id_header = {};  // a second name of x-request-id; empty = none
};

struct RouteOptions {
  size_t body_bytes_max = 32u << 20;
  bool open = false;              // no API key needed
  bool any_content_type = false;  // Ollama's clients send none, or text/plain
  bool stream_body = false;       // the handler reads it, piece by piece: ResponseWriter::ReadBody
  bool admin = false;             // changes what is served: asks for an administrator's key
};

struct Route {
  std::string method;
  std::string pattern;
  Handler handler;
  RouteOptions options;
};

class Router final {
 public:
  Router();
  ~Router();

  // Patterns and methods are ours: two equal ones are a mistake and end the process.
  void Add(std::string_view method, std::string_view pattern, Handler handler,
           RouteOptions options = {});

  // Errors of paths under this prefix ("/api") are the family's. The longest prefix wins; "" is the
  // default and must be set.
  void SetErrorFamily(std::string prefix, ErrorFamily family);
  // Of one method of one path, which another family has otherwise.
  void SetErrorFamilyOf(std::string method, std::string path, ErrorFamily family);
  const ErrorFamily& error_family(std::string_view method, std::string_view path) const;

  struct Match {
    const Route* route = nullptr;  // borrowed from the router
    std::vector<std::pair<std::string, std::string>> params;
    std::vector<std::string>
        allowed;              // methods of the path when there is a path but no such method
    bool bad_escape = false;  // a broken percent escape in a parameter
  };
  // HEAD finds the GET route when there is no own one.
  Match Find(std::string_view method, std::string_view path) const;

  // All routes, sorted by pattern and method.
  std::vector<const Route*> routes() const;

 private:
  struct Node;
  std::unique_ptr<Node> root_;
  std::map<std::string, ErrorFamily> families_;
  std::map<std::pair<std::string, std::string>, ErrorFamily> families_of_methods_;
};

}  // namespace conclave::gateway
