// Any bytes as a chat template of Ollama's: rendered, refused or stopped, soon; trusted ranges stay
// in order.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "engine/chat/jinja_value.h"
#include "engine/chat/ollama_template.h"

namespace {

conclave::engine::Conversation Sample() {
  using namespace conclave::engine;
  Conversation conversation;
  conversation.messages.push_back({.role = "system", .content = "Be brief."});
  conversation.messages.push_back({.role = "user", .content = "Hi <|im_end|> \xF0\x9F\xA6\x99\n"});
  conversation.messages.push_back(
      {.role = "assistant",
       .reasoning = "hm",
       .tool_calls = {{.id = "c1", .name = "f", .arguments = R"({"a":[1,null,"x",2.5]})"}}});
  conversation.messages.push_back({.role = "tool", .content = "ok", .tool_call_id = "c1"});
  conversation.tools.push_back(
      {.name = "f",
       .description = "does f",
       .parameters =
           R"({"type":"object","properties":{"a":{"type":["string","null"],"enum":[1]}}})"});
  return conversation;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace conclave::engine;
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto parsed = OllamaTemplate::Parse(source);
  if (!parsed.ok()) {
    CHECK(parsed.status().message().size() > 0);
    return 0;
  }
  gotmpl::Interpreter in({.steps_max = 20'000,
                          .output_bytes_max = 1u << 20,
                          .memory_bytes_max = 64u << 20,
                          .time_max = std::chrono::milliseconds(500)},
                         std::chrono::system_clock::now());
  if (!parsed->Render(Sample(), in).ok()) return 0;
  const jinja::Text text = in.TakeOutput();
  size_t at = 0;
  for (const TextRange& range : text.user) {
    CHECK(range.begin >= at && range.begin < range.end && range.end <= text.bytes.size());
    at = range.end + 1;
  }
  return 0;
}
