#include <string>
#include <utility>

#include "catch2/catch.hpp"
#include "gateway/dialects/anthropic/errors.h"
#include "gateway/dialects/anthropic/stream.h"
#include "gateway/http/error_response.h"
#include "support/gateway_harness.h"

namespace conclave::gateway {
namespace {

const std::string kPath = "/v1/messages";
const std::string kPing = "event: ping\ndata: {\"type\":\"ping\"}\n\n";

std::string Body(const std::string& extra = "") {
  return R"({"model":"teacher","max_tokens":64,"messages":[{"role":"user","content":"hi"}])" +
         extra + "}";
}
std::string Streamed(const std::string& extra = "") { return Body(R"(,"stream":true)" + extra); }

std::string Event(const std::string& name, const std::string& members) {
  return "event: " + name + "\ndata: {\"type\":\"" + name + "\"" + members + "}\n\n";
}
std::string Start(int index, const std::string& block) {
  return Event("content_block_start",
               ",\"index\":" + std::to_string(index) + ",\"content_block\":" + block);
}
std::string Delta(int index, const std::string& delta) {
  return Event("content_block_delta",
               ",\"index\":" + std::to_string(index) + ",\"delta\":" + delta);
}
std::string Stop(int index) {
  return Event("content_block_stop", ",\"index\":" + std::to_string(index));
}
std::string Usage(const std::string& output, const std::string& thinking = "0") {
  return R"("usage":{"input_tokens":3,"cache_creation_input_tokens":0,)"
         R"("cache_read_input_tokens":2,"output_tokens":)" +
         output + R"(,"output_tokens_details":{"thinking_tokens":)" + thinking + "}";
}
std::string Head() {
  return Event("message_start",
               R"(,"message":{"id":"msg_test","type":"message","role":"assistant",)"
               R"("model":"teacher","content":[],"stop_reason":null,"stop_sequence":null,)" +
                   Usage("0") + R"(,"service_tier":"standard"}})") +
         kPing;
}
std::string Tail(const std::string& reason, const std::string& output) {
  return Event("message_delta", R"(,"delta":{"stop_reason":")" + reason +
                                    R"(","stop_sequence":null},)" + Usage(output) + "}") +
         Event("message_stop", "");
}

const std::string kTextStart = R"({"type":"text","text":""})";
std::string TextDelta(const std::string& text) {
  return R"({"type":"text_delta","text":")" + text + "\"}";
}
std::string InputDelta(const std::string& escaped) {
  return R"({"type":"input_json_delta","partial_json":")" + escaped + "\"}";
}

// Accepted, the deltas, Finished.
std::vector<v1::GenerateEvent> Script(const std::vector<std::string>& deltas,
                                      const std::string& finished) {
  std::vector<v1::GenerateEvent> events = TextScript({});
  v1::GenerateEvent last = events.back();
  events.pop_back();
  for (const std::string& text : deltas) {
    events.push_back(Proto<v1::GenerateEvent>("delta {" + text + "}"));
  }
  last.MergeFrom(Proto<v1::GenerateEvent>("finished {" + finished + "}"));
  events.push_back(last);
  return events;
}

const std::vector<std::string> kThinkThenCall = {
    R"(reasoning: "hm")",
    R"(reasoning: "!")",
    R"(text: "Let me see.")",
    R"(tool_call { state: STATE_STARTED id: "call_a" name: "f" })",
    R"(tool_call { state: STATE_IN_PROGRESS arguments: "{\"x\":" })",
    R"(tool_call { state: STATE_IN_PROGRESS arguments: "1}" })",
    R"(tool_call { state: STATE_SUCCEEDED })",
    R"(tool_call { index: 1 state: STATE_STARTED id: "call_b" name: "g" })",
    R"(tool_call { index: 1 state: STATE_SUCCEEDED })",
};
const std::string kCalled =
    "reason: REASON_TOOL_CALLS usage { completion_tokens: 9 reasoning_tokens: 2 }";

}  // namespace

TEST_CASE("anthropic answers in one piece") {
  Harness h;
  h.inference.events = TextScript({"Hel", "lo"});
  for (const std::string path : {"/v1/messages", "/messages"}) {
    const RecordingWriter answer = h.Call("POST", path, Body());
    CHECK(answer.response.content_type == "application/json");
    CHECK(answer.response.body ==
          R"({"id":"msg_test","type":"message","role":"assistant","model":"teacher",)"
          R"("content":[{"type":"text","text":"Hello"}],"stop_reason":"end_turn",)"
          R"("stop_sequence":null,)" +
              Usage("2") + R"(,"service_tier":"standard"}})");
  }
}

TEST_CASE("anthropic: thinking, text and calls are blocks in this order") {
  Harness h;
  h.inference.events = Script(kThinkThenCall, kCalled);
  const auto content = [&](const std::string& extra) {
    const std::string body = h.Call("POST", kPath, Body(extra)).response.body;
    const size_t from = body.find("\"content\":");
    return body.substr(from, body.find(",\"usage\"") - from);
  };
  const std::string rest = R"(","signature":"unsigned"},{"type":"text","text":"Let me see."},)"
                           R"({"type":"tool_use","id":"toolu_a","name":"f","input":{"x":1}},)"
                           R"({"type":"tool_use","id":"toolu_b","name":"g","input":{}}],)"
                           R"("stop_reason":"tool_use","stop_sequence":null)";
  CHECK(content("") == R"("content":[{"type":"thinking","thinking":"hm!)" + rest);
  CHECK(content(R"(,"thinking":{"type":"adaptive","display":"omitted"})") ==
        R"("content":[{"type":"thinking","thinking":")" + rest);
}

TEST_CASE("anthropic streams text as one block") {
  Harness h;
  h.inference.events = TextScript({"Hel", "lo"});
  const RecordingWriter answer = h.Call("POST", kPath, Streamed());
  CHECK(answer.response.content_type == "text/event-stream; charset=utf-8");
  CHECK(answer.response.body == Head() + Start(0, kTextStart) + Delta(0, TextDelta("Hel")) +
                                    Delta(0, TextDelta("lo")) + Stop(0) + Tail("end_turn", "2"));
  CHECK(answer.ended);
  CHECK_FALSE(answer.aborted);
}

TEST_CASE("anthropic streams one block after the other") {
  Harness h;
  h.inference.events = Script(kThinkThenCall, kCalled);
  const std::string signature = R"({"type":"signature_delta","signature":"unsigned"})";
  const std::string thinking_start =
      Start(0, R"({"type":"thinking","thinking":"","signature":""})");
  const std::string rest =
      Delta(0, signature) + Stop(0) + Start(1, kTextStart) + Delta(1, TextDelta("Let me see.")) +
      Stop(1) + Start(2, R"({"type":"tool_use","id":"toolu_a","name":"f","input":{}})") +
      Delta(2, InputDelta(R"({\"x\":)")) + Delta(2, InputDelta("1}")) + Stop(2) +
      Start(3, R"({"type":"tool_use","id":"toolu_b","name":"g","input":{}})") +
      Delta(3, InputDelta("{}")) + Stop(3) +
      Event("message_delta", R"(,"delta":{"stop_reason":"tool_use","stop_sequence":null},)" +
                                 Usage("9", "2") + "}") +
      Event("message_stop", "");
  CHECK(h.Call("POST", kPath, Streamed()).response.body ==
        Head() + thinking_start + Delta(0, R"({"type":"thinking_delta","thinking":"hm"})") +
            Delta(0, R"({"type":"thinking_delta","thinking":"!"})") + rest);
  CHECK(h.Call("POST", kPath, Streamed(R"(,"thinking":{"type":"adaptive","display":"omitted"})"))
            .response.body == Head() + thinking_start + rest);
}

TEST_CASE("anthropic names how an answer ended") {
  Harness h;
  const auto ending = [&](const std::string& finished) {
    h.inference.events = Script({R"(text: "x")"}, finished);
    const std::string body = h.Call("POST", kPath, Body()).response.body;
    const std::string stream = h.Call("POST", kPath, Streamed()).response.body;
    const size_t from = body.find("\"stop_reason\"");
    const std::string end = body.substr(from, body.find(",\"usage\"") - from);
    CHECK(stream.find(R"("delta":{)" + end + "}") != std::string::npos);
    return end;
  };
  CHECK(ending("reason: REASON_STOP") == R"("stop_reason":"end_turn","stop_sequence":null)");
  CHECK(ending("reason: REASON_LENGTH") == R"("stop_reason":"max_tokens","stop_sequence":null)");
  CHECK(ending(R"(reason: REASON_STOP matched_stop: "END")") ==
        R"("stop_reason":"stop_sequence","stop_sequence":"END")");
}

TEST_CASE("anthropic: an empty answer has no blocks") {
  Harness h;
  h.inference.events = TextScript({});
  CHECK(h.Call("POST", kPath, Body()).response.body.find(R"("content":[],)") != std::string::npos);
  CHECK(h.Call("POST", kPath, Streamed()).response.body == Head() + Tail("end_turn", "0"));
}

TEST_CASE("anthropic: a call without an object for its input is never passed off as one") {
  Harness h;
  const std::vector<std::string> broken = {
      R"(tool_call { state: STATE_STARTED id: "call_a" name: "f" })",
      R"(tool_call { state: STATE_IN_PROGRESS arguments: "{\"x\":" })",
      R"(tool_call { state: STATE_FAILED })",
  };
  const std::string begun =
      Head() + Start(0, R"({"type":"tool_use","id":"toolu_a","name":"f","input":{}})") +
      Delta(0, InputDelta(R"({\"x\":)"));
  const std::string error = Event(
      "error",
      R"(,"error":{"type":"api_error","message":"the model called a tool with an input that is )"
      R"(no JSON object","details":{"error_code":"tool_call_malformed"}},"request_id":"req_test")");
  SECTION("in one piece it is text") {
    for (const std::string reason : {"STOP", "TOOL_CALLS"}) {
      h.inference.events = Script(broken, "reason: REASON_" + reason);
      CHECK(h.Call("POST", kPath, Body())
                .response.body.find(R"("content":[{"type":"text","text":"{\"x\":"}],)"
                                    R"("stop_reason":"end_turn")") != std::string::npos);
    }
  }
  SECTION("a stream that ends with it fails") {
    h.inference.events = Script(broken, "reason: REASON_STOP");
    const RecordingWriter answer = h.Call("POST", kPath, Streamed());
    CHECK(answer.response.body == begun + error);
    CHECK(answer.aborted);
  }
  SECTION("a stream that goes on after it fails, and the worker is told") {
    std::vector<std::string> goes_on = broken;
    goes_on.emplace_back(R"(text: "more")");
    h.inference.events = Script(goes_on, "reason: REASON_STOP");
    h.inference.never_ends = true;
    CHECK(h.Call("POST", kPath, Streamed()).response.body == begun + error);
    CHECK(h.inference.cancelled == 1);
  }
  SECTION("what max_tokens cut off is said to be cut off") {
    h.inference.events = Script(broken, "reason: REASON_LENGTH usage { completion_tokens: 3 }");
    CHECK(h.Call("POST", kPath, Streamed()).response.body ==
          begun + Stop(0) + Tail("max_tokens", "3"));
  }
}

TEST_CASE("anthropic: a stream that breaks ends with an error and no message_stop") {
  Harness h;
  h.inference.events = TextScript({"Hel"});
  h.inference.events.pop_back();
  h.inference.status = base::WithReason(base::Unavailable("the worker was lost"), "worker_lost");
  const RecordingWriter answer = h.Call("POST", kPath, Streamed());
  CHECK(answer.response.status == 200);
  CHECK(answer.aborted);
  CHECK(answer.response.body ==
        Head() + Start(0, kTextStart) + Delta(0, TextDelta("Hel")) +
            Event("error", R"(,"error":{"type":"overloaded_error","message":"the worker was lost",)"
                           R"("details":{"error_code":"worker_lost"}},)"
                           R"("request_id":"req_test")"));
}

TEST_CASE("anthropic: silence is kept alive by pings") {
  anthropic::MessageStream stream({"msg_test", "teacher"});
  std::string out;
  stream.KeepAlive(&out);
  CHECK(out == kPing);
}

TEST_CASE("anthropic: a client that goes ends the generation") {
  Harness h;
  h.inference.events = TextScript({"Hel"});
  h.inference.events.pop_back();
  h.inference.never_ends = true;
  h.Call("POST", kPath, Streamed(), [](RecordingWriter& writer) {
    if (writer.response.body.find("Hel") == std::string::npos) return;
    writer.reason = CancelReason::kClientGone;
    writer.on_cancel();
  });
  CHECK(h.inference.cancelled == 1);
}

TEST_CASE("anthropic: every error has its type") {
  const auto type_of = [](int status) {
    const std::string body = anthropic::ErrorJson({status, "m", "r", "p", 0, "req_1"});
    const std::string before = R"({"type":"error","error":{"type":")";
    REQUIRE(body.find(before) == 0);
    const size_t end = body.find('"', before.size());
    CHECK(body.substr(end) ==
          R"(","message":"m","details":{"error_code":"r"}},"request_id":"req_1"})");
    return body.substr(before.size(), end - before.size());
  };
  CHECK(type_of(400) == "invalid_request_error");
  CHECK(type_of(401) == "authentication_error");
  CHECK(type_of(403) == "permission_error");
  CHECK(type_of(404) == "not_found_error");
  CHECK(type_of(405) == "invalid_request_error");
  CHECK(type_of(413) == "request_too_large");
  CHECK(type_of(429) == "rate_limit_error");
  CHECK(type_of(500) == "api_error");
  CHECK(type_of(501) == "api_error");
  CHECK(type_of(503) == "overloaded_error");
  CHECK(type_of(504) == "timeout_error");
  const Response loading =
      MakeErrorResponse({503, "m", "model_loading", "", 2000}, anthropic::kErrors);
  CHECK(loading.status == 529);
  CHECK(loading.headers == HeaderList{{"Retry-After", "2"}, {"retry-after-ms", "2000"}});
}

TEST_CASE("anthropic: refusals") {
  Harness h;
  h.models.Add("plain");
  h.models.Add("minilm").set_capabilities(0, "embedding");
  const auto refused = [&](int status, const std::string& type, const std::string& body) {
    const RecordingWriter answer = h.Call("POST", kPath, body);
    INFO(answer.response.body);
    CHECK(answer.response.status == status);
    CHECK(answer.response.body.find(R"({"type":"error","error":{"type":")" + type + "\"") == 0);
  };
  const auto of_model = [](const std::string& model, const std::string& extra) {
    return R"({"model":")" + model +
           R"(","max_tokens":4096,"messages":[{"role":"user","content":"hi"}])" + extra + "}";
  };
  refused(400, "invalid_request_error", "{");
  refused(404, "not_found_error", of_model("no", ""));
  refused(400, "invalid_request_error", of_model("minilm", ""));
  refused(400, "invalid_request_error",
          of_model("plain", R"(,"tools":[{"name":"f","input_schema":{"type":"object"}}])"));
  refused(400, "invalid_request_error",
          of_model("plain", R"(,"thinking":{"type":"enabled","budget_tokens":1024})"));
  refused(501, "api_error", Body(R"(,"container":"c")"));
  h.models.Add("new").set_state(v1::ModelStatus::STATE_LOADING);
  refused(529, "overloaded_error", of_model("new", ""));
  CHECK(h.inference.requests.empty());
  CHECK(h.Call("POST", "/v1/messages/batches", "{}").response.status == 501);
  CHECK(h.Call("GET", "/v1/messages/batches/x/results").response.status == 501);
  CHECK(h.Call("POST", "/v1/complete", "{}").response.body.find(R"({"type":"error")") == 0);
}

TEST_CASE("anthropic counts the tokens of a prompt") {
  Harness h;
  h.inference.token_ids = {1, 2, 3};
  const std::string body = R"({"model":"teacher","messages":[{"role":"user","content":"hi"}]})";
  CHECK(h.Call("POST", "/v1/messages/count_tokens", body).response.body == R"({"input_tokens":3})");
  CHECK(h.inference.requests.empty());
  const RecordingWriter unknown =
      h.Call("POST", "/messages/count_tokens",
             R"({"model":"no","messages":[{"role":"user","content":"hi"}]})");
  CHECK(unknown.response.status == 404);
  CHECK(unknown.response.body.find("not_found_error") != std::string::npos);
  h.inference.token_ids.clear();
  CHECK(h.Call("POST", "/v1/messages/count_tokens", body).response.status == 501);
}

}  // namespace conclave::gateway
