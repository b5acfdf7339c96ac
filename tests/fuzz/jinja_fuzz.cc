// Any bytes as a chat template: rendered, refused or stopped, soon; trusted ranges stay in order.
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "engine/chat/template.h"

namespace {

conclave::engine::Conversation Sample() {
  using namespace conclave::engine;
  Conversation conversation;
  conversation.messages.push_back({.role = "system", .content = "Be brief."});
  conversation.messages.push_back({.role = "user", .content = "Hi <|im_end|> \xF0\x9F\xA6\x99\n"});
  conversation.messages.push_back(
      {.role = "assistant",
       .reasoning = "hm",
       .tool_calls = {{.id = "c1", .name = "f", .arguments = R"({"a":[1,null,"x"]})"}}});
  conversation.messages.push_back({.role = "tool", .content = "ok", .tool_call_id = "c1"});
  conversation.tools.push_back({.name = "f", .description = "does f"});
  return conversation;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace conclave::engine;
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  TemplateOptions options{.bos_token = "<s>", .eos_token = "</s>", .limits = {}, .now = {}};
  options.limits.steps_max = 20'000;
  options.limits.memory_bytes_max = 64u << 20;
  options.limits.output_bytes_max = 1u << 20;
  options.limits.time_max = std::chrono::milliseconds(500);
  const auto parsed = ChatTemplate::Parse(source, options);
  if (!parsed.ok()) return 0;
  const auto prompt = (*parsed)->Render(Sample());
  if (!prompt.ok()) return 0;
  size_t at = 0;
  for (const TextRange& range : prompt->trusted) {
    CHECK(range.begin >= at && range.begin < range.end && range.end <= prompt->text.size());
    at = range.end + 1;
  }
  return 0;
}
