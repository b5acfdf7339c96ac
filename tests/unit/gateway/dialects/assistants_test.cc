#include <string>

#include "base/json.h"
#include "catch2/catch.hpp"
#include "gateway/dialects/openai/assistants_decode.h"
#include "gateway/dialects/openai/assistants_encode.h"
#include "gateway/http/status_map.h"
#include "support/gateway_harness.h"

namespace conclave::gateway {
namespace {

using base::JsonValue;

const std::string kRunText = R"(id: "run_1" created_at: 7 thread_id: "thread_1"
    assistant_id: "asst_1" model: "teacher" parallel_tool_calls: true)";

std::string LastRequest(const Harness& h, const std::string& method) {
  REQUIRE_FALSE(h.store.requests.empty());
  CHECK(h.store.requests.back().first == method);
  return h.store.requests.back().second;
}

bool Has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("an assistant has all its keys, id first") {
  Harness h;
  h.store.replies["CreateAssistant"] = R"(id: "asst_1" created_at: 7 model: "teacher"
      tools { function { name: "f" parameters_json: "{\"type\":\"object\"}" } }
      tools { file_search {} } metadata { key: "b" value: "2" } metadata { key: "a" value: "1" })";
  const RecordingWriter answer =
      h.Call("POST", "/v1/assistants",
             R"({"model":"teacher","name":"n","temperature":0.5,"metadata":{"a":"1"},
          "tools":[{"type":"function","function":{"name":"f","parameters":{"type":"object"}}},
                   {"type":"code_interpreter"}]})");
  CHECK(answer.response.body ==
        R"({"id":"asst_1","object":"assistant","created_at":7,"name":null,"description":null,)"
        R"("model":"teacher","instructions":null,"tools":[{"type":"function","function":)"
        R"({"name":"f","parameters":{"type":"object"}}},{"type":"file_search","file_search":{}}],)"
        R"("tool_resources":null,"metadata":{"a":"1","b":"2"},"temperature":1.0,"top_p":1.0,)"
        R"("response_format":"auto","reasoning_effort":null})");
  const std::string request = LastRequest(h, "CreateAssistant");
  CHECK(Has(request, R"(name: "n")"));
  CHECK(Has(request, "temperature: 0.5"));
  CHECK(Has(request, "code_interpreter"));
  CHECK(Has(request, R"(request_id: "req_test")"));
}

TEST_CASE("modifying names exactly the given fields") {
  Harness h;
  h.store.replies["ModifyAssistant"] = R"(id: "asst_1")";
  h.Call("POST", "/v1/assistants/asst_1", R"({"name":"b","metadata":null})");
  const std::string request = LastRequest(h, "ModifyAssistant");
  CHECK(Has(request, R"(id: "asst_1")"));
  CHECK(Has(request, R"(update_mask: "name" update_mask: "metadata")"));
  CHECK_FALSE(Has(request, R"(update_mask: "model")"));
}

TEST_CASE("modifying a message or a run without metadata leaves it") {
  Harness h;
  h.store.replies["GetMessage"] = R"(id: "msg_1")";
  h.store.replies["GetRun"] = R"(id: "run_1")";
  h.store.replies["ModifyMessage"] = R"(id: "msg_1")";
  CHECK(h.Call("POST", "/v1/threads/t/messages/msg_1", "{}").response.status == 200);
  LastRequest(h, "GetMessage");
  CHECK(h.Call("POST", "/v1/threads/t/runs/run_1", "").response.status == 200);
  LastRequest(h, "GetRun");
  // null is a value: it clears.
  h.Call("POST", "/v1/threads/t/messages/msg_1", R"({"metadata":null})");
  LastRequest(h, "ModifyMessage");
  CHECK(h.Call("POST", "/v1/threads/t/messages/msg_1", "{").response.status == 400);
}

TEST_CASE("lists carry their page, empty ones nulls") {
  Harness h;
  h.store.replies["ListMessages"] = "";
  const RecordingWriter answer =
      h.Call("GET", "/v1/threads/thread_1/messages?limit=2&order=asc&after=msg_1&run_id=run_1");
  CHECK(answer.response.body ==
        R"({"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false})");
  const std::string request = LastRequest(h, "ListMessages");
  CHECK(Has(request, R"(page { limit: 2 order: ORDER_ASC after: "msg_1" })"));
  CHECK(Has(request, R"(run_id: "run_1")"));
  for (const std::string query : {"limit=0", "limit=101", "limit=x", "order=up"}) {
    INFO(query);
    CHECK(h.Call("GET", "/v1/assistants?" + query).response.status == 400);
  }
}

TEST_CASE("deletes answer in the kind's words") {
  Harness h;
  h.store.replies["DeleteThread"] = R"(id: "thread_1")";
  h.store.replies["DeleteMessage"] = R"(id: "msg_1")";
  CHECK(h.Call("DELETE", "/v1/threads/thread_1").response.body ==
        R"({"id":"thread_1","object":"thread.deleted","deleted":true})");
  CHECK(h.Call("DELETE", "/threads/thread_1/messages/msg_1/").response.body ==
        R"({"id":"msg_1","object":"thread.message.deleted","deleted":true})");
}

TEST_CASE("errors of the store come through with reason and param") {
  Harness h;
  h.store.errors["CreateMessage"] =
      base::FailedPrecondition("Can't add messages to thread_1 while a run run_1 is active.");
  const RecordingWriter answer =
      h.Call("POST", "/v1/threads/thread_1/messages", R"({"role":"user","content":"x"})");
  CHECK(answer.response.status == 400);
  CHECK(Has(answer.response.body, "while a run run_1 is active"));
  CHECK(h.Call("GET", "/v1/threads/thread_9").response.status == 404);
  h.services.store = nullptr;
  CHECK(h.Call("GET", "/v1/threads/thread_9").response.status == 501);
}

TEST_CASE("what cannot be stored or is not known is refused before the store is asked") {
  Harness h;
  const auto status = [&h](const std::string& path, const std::string& body) {
    return h.Call("POST", path, body).response.status;
  };
  CHECK(status("/v1/threads/t/messages", R"({"role":"user","content":"a\u0000b"})") == 400);
  CHECK(status("/v1/threads/t/messages", R"({"role":"king","content":"a"})") == 400);
  CHECK(status("/v1/threads/t/messages", R"({"role":"user"})") == 400);
  CHECK(status("/v1/assistants", "{}") == 400);
  CHECK(status("/v1/assistants", R"({"model":"m","metadata":{"a":1}})") == 400);
  CHECK(status("/v1/threads/t/runs", R"({"assistant_id":"a","surprise":1})") == 400);
  CHECK(status("/v1/threads/t/runs", R"({"assistant_id":"a","stream":"yes"})") == 400);
  CHECK(status("/v1/threads/t/runs/r/submit_tool_outputs", "{}") == 400);
  CHECK(h.store.requests.empty());
}

TEST_CASE("a run has its 25 keys and more") {
  const v1::Run run = Proto<v1::Run>(kRunText + R"( status: RUN_STATUS_REQUIRES_ACTION
      required_tool_calls { id: "call_1" name: "f" arguments: "{}" }
      last_error { code: "server_error" message: "m" } usage { prompt_tokens: 3 }
      max_prompt_tokens: 300 truncation_strategy { type: "last_messages" last_messages: 2 })");
  const auto document = base::JsonDocument::Parse(openai::Encode(run));
  REQUIRE(document.ok());
  const JsonValue root = document->root();
  for (const std::string key : {"id",
                                "object",
                                "created_at",
                                "thread_id",
                                "assistant_id",
                                "status",
                                "required_action",
                                "last_error",
                                "expires_at",
                                "started_at",
                                "cancelled_at",
                                "failed_at",
                                "completed_at",
                                "incomplete_details",
                                "model",
                                "instructions",
                                "tools",
                                "metadata",
                                "usage",
                                "max_prompt_tokens",
                                "max_completion_tokens",
                                "truncation_strategy",
                                "tool_choice",
                                "parallel_tool_calls",
                                "response_format"}) {
    INFO(key);
    CHECK(root.Get(key).present());
  }
  CHECK(root.Get("required_action").ToJson() ==
        R"({"type":"submit_tool_outputs","submit_tool_outputs":{"tool_calls":[{"id":"call_1",)"
        R"("type":"function","function":{"name":"f","arguments":"{}"}}]}})");
  CHECK(root.Get("truncation_strategy").ToJson() ==
        R"({"type":"last_messages","last_messages":2})");
  CHECK(openai::Encode(run).find(R"({"id":"run_1")") == 0);
}

TEST_CASE("a streamed run is the stored events, then done") {
  Harness h;
  h.store.replies["CreateRun"] = kRunText + " event_seq: 3";
  h.store.run_events = {
      R"(seq: 4 event: "thread.run.created" run { id: "run_1" })",
      R"(seq: 5 event: "thread.message.delta" message_delta { id: "msg_1" text: "hi" })",
      R"(seq: 6 event: "thread.run.step.delta" step_delta { id: "step_1" tool_calls { index: 0
         id: "call_1" name: "f" } tool_calls { index: 0 arguments: "{}" } })",
  };
  const RecordingWriter answer =
      h.Call("POST", "/v1/threads/thread_1/runs", R"({"assistant_id":"asst_1","stream":true})");
  CHECK(answer.response.content_type == "text/event-stream; charset=utf-8");
  CHECK(Has(LastRequest(h, "StreamRun"), "after_seq: 3"));
  const std::string& body = answer.response.body;
  CHECK(body.find("event: thread.run.created\ndata: {\"id\":\"run_1\"") == 0);
  CHECK(Has(body,
            "event: thread.message.delta\ndata: "
            R"({"id":"msg_1","object":"thread.message.delta","delta":{"content":[{"index":0,)"
            R"("type":"text","text":{"value":"hi"}}]}})"
            "\n\n"));
  CHECK(Has(body, R"("tool_calls":[{"index":0,"id":"call_1","type":"function","function":)"
                  R"({"name":"f","arguments":"","output":null}},{"index":0,"type":"function",)"
                  R"("function":{"arguments":"{}"}}])"));
  const std::string done = "event: done\ndata: [DONE]\n\n";
  CHECK(body.substr(body.size() - done.size()) == done);
}

TEST_CASE("a run's stream that breaks ends with an error both SDKs raise") {
  Harness h;
  h.store.replies["SubmitToolOutputs"] = kRunText;
  h.store.errors["StreamRun"] = base::Unavailable("10.0.0.1 refused");
  const RecordingWriter answer =
      h.Call("POST", "/v1/threads/thread_1/runs/run_1/submit_tool_outputs",
             R"({"tool_outputs":[{"tool_call_id":"call_1","output":"x"}],"stream":true})");
  CHECK(answer.response.body.find("event: error\ndata: {\"error\":{\"message\":\"") == 0);
  CHECK_FALSE(Has(answer.response.body, "10.0.0.1"));
  CHECK_FALSE(Has(answer.response.body, "[DONE]"));
  CHECK(answer.aborted);
}

TEST_CASE("a run that goes on tells pollers how long to wait") {
  Harness h;
  h.store.replies["GetRun"] = kRunText;
  const auto polls = [&h] {
    const auto headers = h.Call("GET", "/v1/threads/thread_1/runs/run_1").response.headers;
    return !headers.empty() && headers[0].first == "openai-poll-after-ms";
  };
  CHECK(polls());
  h.store.replies["GetRun"] = kRunText + " status: RUN_STATUS_COMPLETED";
  CHECK_FALSE(polls());
}

TEST_CASE("thread and run in one call") {
  Harness h;
  h.store.replies["CreateThreadAndRun"] = kRunText;
  h.Call("POST", "/v1/threads/runs",
         R"({"assistant_id":"asst_1","thread":{"messages":[{"role":"user","content":"q"}]},
             "tools":[],"max_completion_tokens":300,"tool_choice":"none"})");
  const std::string request = LastRequest(h, "CreateThreadAndRun");
  CHECK(Has(request, R"(value: "q")"));
  CHECK(Has(request, "tools_given: true"));
  CHECK(Has(request, R"(tool_choice_json: "\"none\"")"));
}

}  // namespace conclave::gateway
