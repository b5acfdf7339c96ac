// What another server streams, cut anywhere: the same events as in one piece, within bounds.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "backends/http_url.h"
#include "backends/remote_openai_wire.h"
#include "backends/sse_parser.h"
#include "base/check.h"

namespace {

using namespace conclave::backends;

std::string Story(std::string_view bytes, size_t piece) {
  SseParser parser;
  OpenAiStream stream({.split_reasoning = true, .logprobs = true, .call_id_prefix = "c"});
  std::vector<Event> events;
  absl::Status status;
  for (size_t at = 0; at < bytes.size() && status.ok(); at += piece) {
    status = parser.Feed(bytes.substr(at, piece));
    while (status.ok()) {
      const auto event = parser.Next();
      if (!event) break;
      status = stream.Read(event->data, &events);
    }
    if (status.ok()) status = parser.status();
  }
  std::string story;
  if (status.ok()) {
    const auto finished = stream.End(&events);
    story = finished.ok() ? "end" : "early";
  }
  int64_t seq = 0;
  for (const Event& event : events) {
    const Delta& delta = std::get<Delta>(event);
    CHECK(delta.seq == seq++);
    story += delta.text + "|" + delta.reasoning + "|";
    if (delta.tool_call) story += delta.tool_call->name + delta.tool_call->arguments;
  }
  return story;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const std::string whole = Story(bytes, size == 0 ? 1 : size);
  for (const size_t piece : {size_t{1}, size_t{7}}) CHECK(Story(bytes, piece) == whole);
  static_cast<void>(OpenAiError({.status = 400, .content_type = "", .retry_after = {}}, bytes));
  static_cast<void>(ParseHttpUrl(std::string(bytes)));
  return 0;
}
