// /v1/openai/v1/*: the OpenAI layer of Llama Stack, which is the OpenAI dialect at another path.
#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "gateway/dialects/llama_stack/routes.h"

namespace conclave::gateway::llama_stack {
namespace {

constexpr std::string_view kPrefix = "/v1/";
constexpr std::string_view kFamilies[] = {
    "batches", "chat",        "completions", "embeddings",    "files",
    "models",  "moderations", "responses",   "vector_stores",
};

bool IsOpenAi(const Route& route) {
  const std::string_view pattern = route.pattern;
  if (pattern.substr(0, kPrefix.size()) != kPrefix) return false;
  const std::string_view rest = pattern.substr(kPrefix.size());
  return std::find(std::begin(kFamilies), std::end(kFamilies), rest.substr(0, rest.find('/'))) !=
         std::end(kFamilies);
}

constexpr std::string_view kMark = "data: [DONE]\n\n";

// Takes the mark off the end of a stream: the clients of this layer would read it as JSON, and the
// servers they come from do not send it.
class Unmarked final : public ResponseWriter {
 public:
  explicit Unmarked(ResponseWriter& out) : out_(out) {}

  Task<absl::StatusOr<bool>> ReadBody(std::string* piece) override { return out_.ReadBody(piece); }
  Task<void> Reply(Response response) override { return out_.Reply(std::move(response)); }
  Task<bool> BeginStream(int status, std::string_view content_type, HeaderList headers) override {
    return out_.BeginStream(status, content_type, std::move(headers));
  }
  Task<bool> Write(std::string_view bytes) override {
    const bool marked =
        bytes.size() >= kMark.size() && bytes.substr(bytes.size() - kMark.size()) == kMark;
    if (marked) bytes.remove_suffix(kMark.size());
    return out_.Write(bytes);
  }
  Task<void> EndStream() override { return out_.EndStream(); }
  void Abort() override { out_.Abort(); }
  bool started() const override { return out_.started(); }
  CancelReason cancel_reason() const override { return out_.cancel_reason(); }
  void OnCancel(std::function<void()> listener) override { out_.OnCancel(std::move(listener)); }

 private:
  ResponseWriter& out_;
};

Task<void> HandleUnmarked(const Handler& handler, Exchange& exchange) {
  Unmarked out(exchange.out);
  Exchange inner{exchange.request, out, exchange.record};
  co_await handler(inner);
}

}  // namespace

void AddOpenAiAliases(Router& router) {
  std::vector<Route> routes;
  for (const Route* route : router.routes()) {
    if (IsOpenAi(*route)) routes.push_back(*route);
  }
  for (Route& route : routes) {
    const auto handle = [inner = std::move(route.handler)](Exchange& exchange) {
      return HandleUnmarked(inner, exchange);
    };
    router.Add(route.method, "/v1/openai" + route.pattern, handle, route.options);
  }
}

}  // namespace conclave::gateway::llama_stack
