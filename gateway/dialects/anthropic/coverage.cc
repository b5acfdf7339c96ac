#include "gateway/dialects/coverage.h"

#include "gateway/dialects/anthropic/routes.h"

namespace conclave::gateway::anthropic {
namespace {

using enum Treatment;
using namespace schema;  // NOLINT(google-build-using-namespace): names of nothing but schemas

constexpr std::string_view kTools = R"("tools":[{"name":"look","input_schema":{"type":"object"}}])";
constexpr std::string_view kUsed =
    R"([{"role":"user","content":"Hi"},{"role":"assistant","content":[{"type":"tool_use","id":"toolu_1","name":"look","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":"1"}]}])";
constexpr std::string_view kCached = "prefixes are cached without being asked";

// ReadConversation, ReadThinking, ReadOutputConfig: of messages and count_tokens.
constexpr auto kConversation = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("pupil")", {}, {}, true},
    {"messages", kHonoured, kArray, R"([{"role":"user","content":"Other"}])", {}, {}, true},
    {"messages (tool_use, tool_result)", kHonoured, kArray, kUsed},
    {"messages[].content", kHonoured, kAny, R"([{"type":"text","text":"Other"}])",
     "text, tool_use, tool_result, thinking"},
    {"messages[].content (image)", kRefused, kArray,
     R"([{"type":"image","source":{"type":"url","url":"http://169.254.169.254/"}}])",
     "nothing is fetched"},
    {"messages[].content (document)", kRefused, kArray,
     R"([{"type":"document","source":{"type":"text","data":"x","media_type":"text/plain"}}])"},
    {"messages[].content[].cache_control", kIgnored, kObject, R"({"type":"ephemeral"})", kCached,
     R"("messages":[{"role":"user","content":[{"type":"text","text":"Hi"}]}])"},
    {"system", kHonoured, kText, R"("Be brief.")"},
    {"tools", kIfModelCan, R"({"type":"array","maxItems":128})",
     R"([{"name":"look","input_schema":{"type":"object"}}])"},
    {"tools (bash, text_editor, memory)", kIfModelCan, kArray,
     R"([{"type":"bash_20250124","name":"bash"}])", "the caller runs them; the model is told how"},
    {"tools (by other types)", kRefused, kArray,
     R"([{"type":"web_search_20250305","name":"web_search"}])",
     "web_search, computer and what else needs Anthropic's servers or pictures"},
    {"tools[].strict", kIfModelCan, kBool, "true", {}, kTools},
    {"tools[].cache_control", kIgnored, kObject, R"({"type":"ephemeral"})", kCached, kTools},
    {"tool_choice", kIfModelCan, kObject, R"({"type":"any"})", "auto, any, tool, none", kTools},
    {"tool_choice.disable_parallel_tool_use",
     kIfModelCan,
     kBool,
     "true",
     {},
     R"("tools":[{"name":"look","input_schema":{"type":"object"}}],"tool_choice":{"type":"any"})"},
    {"thinking", kIfModelCan, kObject, R"({"type":"enabled","budget_tokens":1024})",
     "enabled, disabled, adaptive; at the budget the end of the thinking is forced"},
    {"output_config.effort", kIfModelCan, R"({"enum":["low","medium","high","xhigh","max"]})",
     R"("low")", "a variable of the model's template, and a budget for its thinking"},
    {"cache_control", kIgnored, kObject, R"({"type":"ephemeral"})", kCached},
    {"context_management", kIgnored, kObject, R"({"edits":[]})"},
});
constexpr auto kMessages = Join(
    kConversation,
    std::to_array<Parameter>({
        {"max_tokens", kHonoured, kPositive, "5", {}, {}, true},
        {"temperature", kHonoured, kFraction, "0.5"},
        {"top_p", kHonoured, kFraction, "0.5"},
        {"top_k", kHonoured, kCount, "5"},
        {"stop_sequences", kHonoured, kStrings, R"(["END"])", "at most 16"},
        {"seed", kHonoured, kInteger, "7", "no field of Anthropic's"},
        {"stream", kHonoured, kBool, "true"},
        {"thinking.display", kHonoured, R"({"enum":["summarized","omitted"]})", R"("omitted")",
         "omitted: blocks without their text", R"("thinking":{"type":"adaptive"})"},
        {"output_config.format", kHonoured, kObject,
         R"({"type":"json_schema","schema":{"type":"object"}})", "docs/structured-output.md"},
        {"container", kRefused, kString, R"("c")"},
        {"mcp_servers", kRefused, kArray, R"([{"type":"url","url":"http://x/","name":"x"}])"},
        {"output_format", kHonoured, kObject,
         R"({"type":"json_schema","schema":{"type":"object"}})",
         "the name of output_config.format in beta"},
        {"thread", kRefused, kObject, R"({"id":"t"})", "no conversation is kept"},
        {"metadata", kIgnored, kObject, R"({"user_id":"u"})"},
        {"service_tier", kIgnored, R"({"enum":["auto","standard_only"]})", R"("standard_only")"},
        {"inference_geo", kIgnored, kString, R"("us")"},
        {"speed", kIgnored, kString, R"("fast")"},
    }));
constexpr auto kCountTokens =
    Join(kConversation, std::to_array<Parameter>({
                            {"max_tokens", kIgnored, kPositive, "5"},
                            {"temperature", kIgnored, kFraction, "0.5"},
                            {"stream", kIgnored, kBool, "true"},
                            {"thinking.display",
                             kIgnored,
                             kString,
                             R"("omitted")",
                             {},
                             R"("thinking":{"type":"adaptive"})"},
                            {"output_config.format", kIgnored, kObject,
                             R"({"type":"json_schema","schema":{"type":"object"}})"},
                            {"output_format", kIgnored, kObject,
                             R"({"type":"json_schema","schema":{"type":"object"}})"},
                        }));

constexpr auto kEndpoints = std::to_array<Endpoint>({
    {.method = "POST",
     .path = "/v1/messages",
     .summary = "An answer to a conversation, whole or streamed",
     .body = R"({"model":"teacher","max_tokens":4096,"messages":[{"role":"user","content":"Hi"}]})",
     .parameters = kMessages,
     .stream = "text/event-stream"},
    {"POST", "/v1/messages/count_tokens", "The tokens of a conversation",
     R"({"model":"teacher","messages":[{"role":"user","content":"Hi"}]})", kCountTokens},
});
constexpr Unserved kUnserved[] = {{"/messages/batches"}, {"/complete"}};

}  // namespace

Coverage DialectCoverage() {
  return {{kEndpoints.begin(), kEndpoints.end()},
          {std::begin(kUnserved), std::end(kUnserved)},
          "2023-06-01"};
}

}  // namespace conclave::gateway::anthropic
