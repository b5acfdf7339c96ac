// What the routes over the store do with each field: assistants, threads, messages, runs, steps.
// Ranges are checked by the store, which is the same for all its callers.
#include "gateway/dialects/openai/coverage.h"

namespace conclave::gateway::openai {
namespace {

using enum Treatment;
using namespace schema;  // NOLINT(google-build-using-namespace): names of nothing but schemas

constexpr std::string_view kTools =
    R"([{"type":"function","function":{"name":"look","parameters":{"type":"object"}}}])";
constexpr std::string_view kMetadataSchema =
    R"({"type":"object","maxProperties":16,"additionalProperties":{"type":"string","maxLength":512}})";
constexpr std::string_view kMessages = R"([{"role":"user","content":"Hi"}])";
constexpr std::string_view kImageMessage =
    R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"http://x/"}}]}])";

constexpr auto kPage = std::to_array<Parameter>({
    {"limit", kHonoured, R"({"type":"integer","minimum":1,"maximum":100})", "5"},
    {"order", kHonoured, R"({"enum":["asc","desc"]})", "asc"},
    {"after", kHonoured, kString, "id_1"},
    {"before", kHonoured, kString, "id_1"},
});
constexpr auto kMessagePage =
    Join(kPage, std::to_array<Parameter>({{"run_id", kHonoured, kString, "run_1"}}));

constexpr auto kModel = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("pupil")", {}, {}, true},
});
constexpr auto kOtherModel = std::to_array<Parameter>({
    {"model", kHonoured, kString, R"("pupil")"},
});
constexpr auto kAssistantFields = std::to_array<Parameter>({
    {"name", kHonoured, kString, R"("Ann")"},
    {"description", kHonoured, kString, R"("d")"},
    {"instructions", kHonoured, kString, R"("i")"},
    {"tools", kHonoured, R"({"type":"array","maxItems":128})", kTools,
     "functions are called; file_search and code_interpreter are kept and shown, not run"},
    {"tool_resources", kHonoured, kObject, R"({"file_search":{"vector_store_ids":["vs_1"]}})",
     "kept and shown"},
    {"metadata", kHonoured, kMetadataSchema, R"({"a":"b"})"},
    {"temperature", kHonoured, R"({"type":"number","minimum":0,"maximum":2})", "0.5"},
    {"top_p", kHonoured, kFraction, "0.5"},
    {"response_format", kHonoured, kAny, R"({"type":"json_object"})"},
    {"reasoning_effort", kIfModelCan, kString, R"("low")"},
});
constexpr auto kCreateAssistant = Join(kModel, kAssistantFields);
constexpr auto kModifyAssistant = Join(kOtherModel, kAssistantFields);

constexpr auto kMetadata = std::to_array<Parameter>({
    {"metadata", kHonoured, kMetadataSchema, R"({"a":"b"})"},
});
constexpr auto kThread = std::to_array<Parameter>({
    {"metadata", kHonoured, kMetadataSchema, R"({"a":"b"})"},
    {"tool_resources", kHonoured, kObject, R"({"file_search":{"vector_store_ids":["vs_1"]}})",
     "kept and shown"},
});
constexpr auto kCreateThread = Join(
    kThread, std::to_array<Parameter>({{"messages", kHonoured, kArray, kMessages},
                                       {"messages (image_url)", kRefused, kArray, kImageMessage}}));

constexpr auto kMessage = std::to_array<Parameter>({
    {"role", kHonoured, R"({"enum":["user","assistant"]})", R"("assistant")", {}, {}, true},
    {"content", kHonoured, kAny, R"([{"type":"text","text":"Other"}])", {}, {}, true},
    {"content (image_url)", kRefused, kArray,
     R"([{"type":"image_url","image_url":{"url":"http://x/"}}])"},
    {"attachments", kHonoured, kArray, R"([{"file_id":"file-1","tools":[{"type":"file_search"}]}])",
     "kept and shown"},
    {"metadata", kHonoured, kMetadataSchema, R"({"a":"b"})"},
});

constexpr auto kAnyRun = std::to_array<Parameter>({
    {"assistant_id", kHonoured, kString, R"("asst_2")", {}, {}, true},
    {"model", kHonoured, kString, R"("pupil")"},
    {"instructions", kHonoured, kString, R"("i")"},
    {"tools", kHonoured, kArray, kTools},
    {"metadata", kHonoured, kMetadataSchema, R"({"a":"b"})"},
    {"temperature", kHonoured, R"({"type":"number","minimum":0,"maximum":2})", "0.5"},
    {"top_p", kHonoured, kFraction, "0.5"},
    {"stream", kHonoured, kBool, "true"},
    {"max_prompt_tokens", kHonoured, R"({"type":"integer","minimum":256})", "300"},
    {"max_completion_tokens", kHonoured, R"({"type":"integer","minimum":256})", "300"},
    {"truncation_strategy", kHonoured, kObject, R"({"type":"last_messages","last_messages":3})"},
    {"tool_choice", kHonoured, kAny, R"("none")"},
    {"parallel_tool_calls", kHonoured, kBool, "false"},
    {"response_format", kHonoured, kAny, R"({"type":"json_object"})"},
    {"reasoning_effort", kIfModelCan, kString, R"("low")"},
});
constexpr auto kRun =
    Join(kAnyRun, std::to_array<Parameter>({
                      {"additional_instructions", kHonoured, kString, R"("more")"},
                      {"additional_messages", kHonoured, kArray, kMessages},
                  }));
constexpr auto kThreadAndRun = Join(
    kAnyRun, std::to_array<Parameter>({
                 {"thread", kHonoured, kObject, R"({"messages":[{"role":"user","content":"Hi"}]})"},
                 {"tool_resources", kHonoured, kObject,
                  R"({"file_search":{"vector_store_ids":["vs_1"]}})", "kept and shown"},
             }));
constexpr auto kOutputs = std::to_array<Parameter>({
    {"tool_outputs",
     kHonoured,
     kArray,
     R"([{"tool_call_id":"call_1","output":"2"}])",
     {},
     {},
     true},
    {"stream", kHonoured, kBool, "true"},
});

constexpr std::string_view kSse = "text/event-stream";
constexpr std::string_view kOneAssistant = "/v1/assistants/{assistant}";
constexpr std::string_view kOneThread = "/v1/threads/{thread}";
constexpr std::string_view kThreadMessages = "/v1/threads/{thread}/messages";
constexpr std::string_view kOneMessage = "/v1/threads/{thread}/messages/{message}";
constexpr std::string_view kRuns = "/v1/threads/{thread}/runs";
constexpr std::string_view kOneRun = "/v1/threads/{thread}/runs/{run}";
constexpr std::string_view kRunBody = R"({"assistant_id":"asst_1"})";

constexpr auto kEndpoints = std::to_array<Endpoint>({
    {"POST", "/v1/assistants", "Create an assistant", R"({"model":"teacher"})", kCreateAssistant},
    {.method = "GET", .path = "/v1/assistants", .summary = "List assistants", .query = kPage},
    {"GET", kOneAssistant, "One assistant"},
    {"POST", kOneAssistant, "Change an assistant", "{}", kModifyAssistant},
    {"DELETE", kOneAssistant, "Delete an assistant"},
    {"POST", "/v1/threads", "Create a thread", "{}", kCreateThread},
    {.method = "GET",
     .path = "/v1/threads",
     .summary = "List threads (OpenAI has none)",
     .query = kPage},
    {"GET", kOneThread, "One thread"},
    {"POST", kOneThread, "Change a thread", "{}", kThread},
    {"DELETE", kOneThread, "Delete a thread"},
    {"POST", kThreadMessages, "Add a message", R"({"role":"user","content":"Hi"})", kMessage},
    {.method = "GET", .path = kThreadMessages, .summary = "List messages", .query = kMessagePage},
    {"GET", kOneMessage, "One message"},
    {"POST", kOneMessage, "Change a message", "{}", kMetadata},
    {"DELETE", kOneMessage, "Delete a message"},
    {.method = "POST",
     .path = "/v1/threads/runs",
     .summary = "Create a thread and run it",
     .body = kRunBody,
     .parameters = kThreadAndRun,
     .stream = kSse,
     .refuses_unknown = true},
    {.method = "POST",
     .path = kRuns,
     .summary = "Run a thread",
     .body = kRunBody,
     .parameters = kRun,
     .stream = kSse,
     .refuses_unknown = true},
    {.method = "GET", .path = kRuns, .summary = "List runs", .query = kPage},
    {"GET", kOneRun, "One run"},
    {"POST", kOneRun, "Change a run", "{}", kMetadata},
    {"POST", "/v1/threads/{thread}/runs/{run}/cancel", "Cancel a run"},
    {.method = "POST",
     .path = "/v1/threads/{thread}/runs/{run}/submit_tool_outputs",
     .summary = "Give a run what its tools said",
     .body = R"({"tool_outputs":[{"tool_call_id":"call_1","output":"1"}]})",
     .parameters = kOutputs,
     .stream = kSse},
    {.method = "GET",
     .path = "/v1/threads/{thread}/runs/{run}/steps",
     .summary = "List steps",
     .query = kPage},
    {"GET", "/v1/threads/{thread}/runs/{run}/steps/{step}", "One step"},
});

}  // namespace

std::span<const Endpoint> AssistantEndpoints() { return kEndpoints; }

}  // namespace conclave::gateway::openai
