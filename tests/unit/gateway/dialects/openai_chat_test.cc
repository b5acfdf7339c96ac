#include <string>

#include "base/json.h"
#include "catch2/catch.hpp"
#include "support/gateway_harness.h"

namespace conclave::gateway {
namespace {

const std::string kPath = "/v1/chat/completions";

std::string Body(const std::string& extra = "") {
  return R"({"model":"teacher","messages":[{"role":"user","content":"hi"}])" + extra + "}";
}

base::JsonDocument Parse(const std::string& text) {
  auto document = base::JsonDocument::Parse(text);
  INFO(text);
  REQUIRE(document.ok());
  return *std::move(document);
}

v1::GenerateEvent ToolDelta(const std::string& call) {
  return Proto<v1::GenerateEvent>("delta { tool_call { " + call + " } }");
}

const std::string kHead =
    R"({"id":"chatcmpl-test","object":"chat.completion.chunk","created":1767323045,)"
    R"("model":"teacher","system_fingerprint":"fp_0123456789ab",)";

}  // namespace

TEST_CASE("how an answer was made is told to who asks") {
  Harness h;
  h.inference.events = TextScript({"a"});
  h.inference.events.insert(
      h.inference.events.begin() + 1,
      Proto<v1::GenerateEvent>("progress { phase: PHASE_PREFILL done: 3 total: 5 }"));
  const std::string asked =
      R"(,"return_progress":true,"timings_per_token":true,"return_speed":true)";
  const std::string timings =
      R"("timings":{"cache_n":2,"prompt_n":3,"prompt_ms":2.0,)"
      R"("prompt_per_token_ms":0.6666666666666666,"prompt_per_second":1500.0,"predicted_n":1,)"
      R"("predicted_ms":3.5,"predicted_per_token_ms":3.5,"predicted_per_second":285.7142857142857}})";
  const std::string whole = h.Call("POST", kPath, Body(asked)).response.body;
  CHECK(whole.find(R"("prefill_time":0.002,"decode_time":0.0035},)") != std::string::npos);
  CHECK(whole.substr(whole.size() - timings.size()) == timings);
  const auto data =
      SseData(h.Call("POST", kPath,
                     Body(asked + R"(,"stream":true,"stream_options":{"include_usage":true})"))
                  .response.body);
  REQUIRE(data.size() == 6);
  CHECK(data[1].find(R"("choices":[],"usage":null,"prompt_progress":{"total":5,"cache":2,)"
                     R"("processed":3,"time_ms":)") != std::string::npos);
  CHECK(data[2].find("timings") == std::string::npos);
  CHECK(data[3].substr(data[3].size() - timings.size()) == timings);
  CHECK(data[4].find(R"("decode_time":0.0035})") != std::string::npos);
}

TEST_CASE("a call in the words of functions") {
  Harness h;
  h.inference.events = TextScript({});
  v1::GenerateEvent finished = h.inference.events.back();
  finished.mutable_finished()->set_reason(v1::Finished::REASON_TOOL_CALLS);
  h.inference.events.back() = ToolDelta(R"(state: STATE_STARTED id: "call_a" name: "f")");
  h.inference.events.push_back(ToolDelta(R"(state: STATE_IN_PROGRESS arguments: "{\"x\":1}")"));
  h.inference.events.push_back(ToolDelta("state: STATE_SUCCEEDED"));
  h.inference.events.push_back(finished);
  const std::string functions = R"(,"functions":[{"name":"f"}])";
  const RecordingWriter whole = h.Call("POST", kPath, Body(functions));
  CHECK(whole.response.body.find(
            R"("message":{"role":"assistant","content":null,"refusal":null,)"
            R"("function_call":{"name":"f","arguments":"{\"x\":1}"},"annotations":[]},)"
            R"("logprobs":null,"finish_reason":"function_call")") != std::string::npos);
  const RecordingWriter stream = h.Call("POST", kPath, Body(functions + R"(,"stream":true)"));
  const auto chunk = [](const std::string& delta, const std::string& finish) {
    return kHead + R"("choices":[{"index":0,"delta":)" + delta +
           R"(,"logprobs":null,"finish_reason":)" + finish + "}]}";
  };
  CHECK(SseData(stream.response.body) ==
        std::vector<std::string>{chunk(R"({"role":"assistant","content":""})", "null"),
                                 chunk(R"({"function_call":{"name":"f","arguments":""}})", "null"),
                                 chunk(R"({"function_call":{"arguments":"{\"x\":1}"}})", "null"),
                                 chunk("{}", R"("function_call")"), "[DONE]"});
}

TEST_CASE("a completion in one piece") {
  Harness h;
  h.inference.events = TextScript({"Hel", "lo"});
  const RecordingWriter answer = h.Call("POST", kPath, Body());
  CHECK(answer.response.status == 200);
  CHECK(answer.response.content_type == "application/json");
  CHECK(answer.response.body ==
        R"({"id":"chatcmpl-test","object":"chat.completion","created":1767323045,)"
        R"("model":"teacher","system_fingerprint":"fp_0123456789ab",)"
        R"("choices":[{"index":0,"message":{"role":"assistant","content":"Hello","refusal":null,)"
        R"("annotations":[]},"logprobs":null,"finish_reason":"stop"}],)"
        R"("usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,)"
        R"("prompt_tokens_details":{"cached_tokens":2,"audio_tokens":0},)"
        R"("completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,)"
        R"("accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},)"
        R"("service_tier":"default"})");
  REQUIRE(h.inference.requests.size() == 1);
  CHECK(h.inference.requests[0].meta().request_id() == "req_test");
}

TEST_CASE("the fingerprint names numerics that are not exact") {
  Harness h;
  h.inference.events = TextScript({"Hel", "lo"});
  h.inference.events[0].mutable_accepted()->set_model_revision("sha256:0123456789abcdef+fast");
  const RecordingWriter answer = h.Call("POST", kPath, Body());
  CHECK(answer.response.body.find(R"("system_fingerprint":"fp_0123456789ab_fast")") !=
        std::string::npos);
}

TEST_CASE("a stream, byte for byte") {
  Harness h;
  h.inference.events = TextScript({"Hel", "lo"});
  const RecordingWriter answer =
      h.Call("POST", kPath, Body(R"(,"stream":true,"stream_options":{"include_usage":true})"));
  CHECK(answer.response.content_type == "text/event-stream; charset=utf-8");
  CHECK(answer.ended);
  CHECK_FALSE(answer.aborted);
  const std::string tail = R"(,"logprobs":null,"finish_reason":null}],"usage":null})";
  const auto chunk = [&](const std::string& delta) {
    return "data: " + kHead + R"("choices":[{"index":0,"delta":)" + delta + tail + "\n\n";
  };
  CHECK(answer.response.body ==
        chunk(R"({"role":"assistant","content":""})") + chunk(R"({"content":"Hel"})") +
            chunk(R"({"content":"lo"})") + "data: " + kHead +
            R"("choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],)"
            R"("usage":null})" +
            "\n\ndata: " + kHead +
            R"("choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7,)"
            R"("prompt_tokens_details":{"cached_tokens":2,"audio_tokens":0},)"
            R"("completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,)"
            R"("accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}})"
            "\n\ndata: [DONE]\n\n");
}

TEST_CASE("reasoning and tool calls have their own deltas") {
  Harness h;
  auto script = TextScript({});
  const v1::GenerateEvent finished = script.back();
  script.pop_back();
  script.push_back(Proto<v1::GenerateEvent>(R"(delta { reasoning: "hm" })"));
  script.push_back(ToolDelta(R"(index: 0 state: STATE_STARTED id: "call_a" name: "f")"));
  script.push_back(ToolDelta(R"(index: 0 state: STATE_IN_PROGRESS arguments: "{\"x\":")"));
  script.push_back(ToolDelta(R"(index: 0 state: STATE_IN_PROGRESS arguments: "1}")"));
  script.push_back(ToolDelta(R"(index: 0 state: STATE_SUCCEEDED)"));
  script.push_back(ToolDelta(R"(index: 1 state: STATE_STARTED id: "call_b" name: "g")"));
  script.push_back(ToolDelta(R"(index: 1 state: STATE_SUCCEEDED)"));
  script.push_back(finished);
  script.back().mutable_finished()->set_reason(v1::Finished::REASON_TOOL_CALLS);
  h.inference.events = script;

  SECTION("streamed") {
    const RecordingWriter answer = h.Call("POST", kPath, Body(R"(,"stream":true)"));
    std::vector<std::string> deltas;
    for (const std::string& data : SseData(answer.response.body)) {
      if (data == "[DONE]") break;
      deltas.push_back(Parse(data).root().Get("choices").At(0).Get("delta").ToJson());
    }
    CHECK(
        deltas ==
        std::vector<std::string>{
            R"({"role":"assistant","content":""})",
            R"({"reasoning_content":"hm"})",
            R"({"tool_calls":[{"index":0,"id":"call_a","type":"function","function":{"name":"f","arguments":""}}]})",
            R"({"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":"}}]})",
            R"({"tool_calls":[{"index":0,"function":{"arguments":"1}"}}]})",
            R"({"tool_calls":[{"index":1,"id":"call_b","type":"function","function":{"name":"g","arguments":""}}]})",
            R"({"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]})",
            "{}",
        });
  }
  SECTION("in one piece") {
    const RecordingWriter answer = h.Call("POST", kPath, Body());
    const base::JsonDocument document = Parse(answer.response.body);
    const base::JsonValue choice = document.root().Get("choices").At(0);
    CHECK(
        choice.Get("message").ToJson() ==
        R"({"role":"assistant","content":null,"refusal":null,"reasoning_content":"hm",)"
        R"("tool_calls":[{"id":"call_a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}},)"
        R"({"id":"call_b","type":"function","function":{"name":"g","arguments":"{}"}}],)"
        R"("annotations":[]})");
    CHECK(choice.Get("finish_reason").AsString().value() == "tool_calls");
  }
}

TEST_CASE("logprobs of held-back tokens come with the text that shows them") {
  Harness h;
  auto script = TextScript({"", "é"});
  script[1].mutable_delta()->add_logprobs()->set_token("\xC3");
  script[2].mutable_delta()->add_logprobs()->set_token("\xA9");
  script[2].mutable_delta()->mutable_logprobs(0)->set_logprob(-0.5);
  script[2].mutable_delta()->mutable_logprobs(0)->add_top()->set_token("x");
  h.inference.events = script;
  const RecordingWriter answer =
      h.Call("POST", kPath, Body(R"(,"stream":true,"logprobs":true,"top_logprobs":1)"));
  const auto data = SseData(answer.response.body);
  REQUIRE(data.size() == 4);
  const base::JsonDocument document = Parse(data[1]);
  const base::JsonValue content =
      document.root().Get("choices").At(0).Get("logprobs").Get("content");
  REQUIRE(content.size() == 2);
  CHECK(content.At(0).Get("bytes").ToJson() == "[195]");
  CHECK(content.At(1).Get("logprob").AsNumber().value() == -0.5);
  CHECK(content.At(1).Get("top_logprobs").At(0).Get("token").AsString().value() == "x");
}

TEST_CASE("errors before the first event are statuses, later ones events without [DONE]") {
  Harness h;
  SECTION("unknown model") {
    const RecordingWriter answer =
        h.Call("POST", kPath, R"({"model":"nobody","messages":[{"role":"user","content":"hi"}]})");
    CHECK(answer.response.status == 404);
    CHECK(answer.response.body ==
          R"({"error":{"message":"The model `nobody` does not exist",)"
          R"("type":"invalid_request_error","param":"model","code":"model_not_found"}})");
  }
  SECTION("loading") {
    h.models.models[0].set_state(v1::ModelStatus::STATE_LOADING);
    const RecordingWriter answer = h.Call("POST", kPath, Body(R"(,"stream":true)"));
    CHECK(answer.response.status == 503);
    CHECK(answer.response.headers[0].first == "Retry-After");
    CHECK(answer.response.body.find("model_loading") != std::string::npos);
  }
  SECTION("before the first event") {
    h.inference.status = base::WithReason(
        base::InvalidArgument("messages: 9000 tokens do not fit the context of 4096"),
        "context_length_exceeded");
    const RecordingWriter answer = h.Call("POST", kPath, Body(R"(,"stream":true)"));
    CHECK(answer.response.status == 400);
    CHECK(answer.response.body.find("context_length_exceeded") != std::string::npos);
  }
  SECTION("in the middle") {
    h.inference.events = TextScript({"a"});
    h.inference.events.pop_back();
    h.inference.status = base::WithReason(base::Unavailable("worker lost"), "worker_lost");
    const RecordingWriter answer = h.Call("POST", kPath, Body(R"(,"stream":true)"));
    CHECK(answer.response.status == 200);
    CHECK(answer.aborted);
    const auto data = SseData(answer.response.body);
    CHECK(data.back() ==
          R"({"error":{"message":"worker lost","type":"unavailable_error","param":null,)"
          R"("code":"worker_lost"}})");
    CHECK(answer.response.body.find("[DONE]") == std::string::npos);
  }
}

TEST_CASE("a client that goes cancels the call") {
  Harness h;
  h.inference.events = TextScript({"a"});
  h.inference.events.pop_back();
  h.inference.never_ends = true;
  const RecordingWriter answer =
      h.Call("POST", kPath, Body(R"(,"stream":true)"), [](RecordingWriter& writer) {
        writer.reason = CancelReason::kClientGone;
        if (const auto cancel = std::exchange(writer.on_cancel, nullptr)) cancel();
      });
  CHECK(h.inference.cancelled == 1);
  CHECK(answer.response.body.find("error") == std::string::npos);
}

TEST_CASE("silence is filled with comments that make no event") {
  Harness h;
  h.services.times.keep_alive = std::chrono::milliseconds(5);
  h.inference.never_ends = true;
  int writes = 0;
  const RecordingWriter answer =
      h.Call("POST", kPath, Body(R"(,"stream":true)"), [&writes](RecordingWriter& writer) {
        if (++writes < 3) return;
        writer.reason = CancelReason::kClientGone;
        if (const auto cancel = std::exchange(writer.on_cancel, nullptr)) cancel();
      });
  CHECK(answer.response.body == ": ping\n: ping\n: ping\n");
}

TEST_CASE("a drain's end is told to the client") {
  Harness h;
  h.inference.events = TextScript({"a"});
  h.inference.events.pop_back();
  h.inference.never_ends = true;
  const RecordingWriter answer =
      h.Call("POST", kPath, Body(R"(,"stream":true)"), [](RecordingWriter& writer) {
        writer.reason = CancelReason::kDrain;
        if (const auto cancel = std::exchange(writer.on_cancel, nullptr)) cancel();
      });
  CHECK(answer.response.body.find("server_draining") != std::string::npos);
  CHECK(answer.response.body.find("[DONE]") == std::string::npos);
}

TEST_CASE("surfaces we know and do not serve say so") {
  Harness h;
  CHECK(h.Call("POST", "/v1/images/generations", "{}").response.status == 501);
  CHECK(h.Call("GET", "/vector_stores/vs_1/files").response.status == 501);
}

TEST_CASE("a stream whose next piece is overdue ends with an error, whatever keeps it alive") {
  Harness h;
  h.services.times.keep_alive = std::chrono::milliseconds(5);
  h.services.times.stream_idle = std::chrono::milliseconds(20);
  h.inference.events = TextScript({"a"});
  h.inference.events.pop_back();
  h.inference.never_ends = true;
  const RecordingWriter answer = h.Call("POST", kPath, Body(R"(,"stream":true)"));
  const std::vector<std::string> data = SseData(answer.response.body);
  CHECK(data.back().find(R"("code":"stream_idle")") != std::string::npos);
  CHECK(answer.response.body.find("[DONE]") == std::string::npos);
  CHECK(answer.aborted);
  CHECK(h.inference.cancelled == 1);
}

}  // namespace conclave::gateway
