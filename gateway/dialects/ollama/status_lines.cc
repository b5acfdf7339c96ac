#include "gateway/dialects/ollama/status_lines.h"

#include <utility>

#include "base/json.h"

namespace conclave::gateway::ollama {

std::string StatusLine(std::string_view status) {
  base::JsonWriter json;
  json.BeginObject();
  json.Field("status", status);
  json.EndObject();
  return json.Take() + "\n";
}

std::string StatusLine(std::string_view status, const LayerProgress& progress) {
  base::JsonWriter json;
  json.BeginObject();
  json.Field("status", status);
  json.Field("digest", progress.digest);
  json.Field("total", progress.total);
  if (progress.completed > 0) json.Field("completed", progress.completed);
  json.EndObject();
  return json.Take() + "\n";
}

Task<void> ReplyLines(Exchange& exchange, bool stream, std::string lines) {
  if (!stream) {
    lines.pop_back();
    const size_t last = lines.rfind('\n');
    co_await ReplyJson(exchange, last == std::string::npos ? lines : lines.substr(last + 1));
    co_return;
  }
  const bool began = co_await exchange.out.BeginStream(200, "application/x-ndjson", {});
  if (!began) co_return;
  const bool written = co_await exchange.out.Write(lines);
  if (written) co_await exchange.out.EndStream();
}

}  // namespace conclave::gateway::ollama
