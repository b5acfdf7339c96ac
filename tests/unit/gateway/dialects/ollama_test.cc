#include <string>

#include "base/json.h"
#include "catch2/catch.hpp"
#include "gateway/dialects/ollama/errors.h"
#include "gateway/dialects/ollama/names.h"
#include "support/gateway_harness.h"

namespace conclave::gateway {
namespace {

const std::string kAt = R"("created_at":"2026-01-02T03:04:05.678000000Z",)";

std::string Chat(const std::string& extra = "") {
  return R"({"model":"teacher","messages":[{"role":"user","content":"hi"}])" + extra + "}";
}

int StatusOf(Harness& h, const std::string& path, const std::string& body) {
  return h.Call("POST", path, body).response.status;
}

}  // namespace

TEST_CASE("ollama chat streams lines by default") {
  Harness h;
  h.inference.events = TextScript({"Hel", "lo"});
  const RecordingWriter answer = h.Call("POST", "/api/chat", Chat());
  CHECK(answer.response.content_type == "application/x-ndjson");
  const auto line = [](const std::string& text) {
    return R"({"model":"teacher",)" + kAt + R"("message":{"role":"assistant","content":")" + text +
           R"("},"done":)";
  };
  CHECK(answer.response.body ==
        line("Hel") + "false}\n" + line("lo") + "false}\n" + line("") +
            R"(true,"done_reason":"stop","total_duration":6000000,"load_duration":500000,)"
            R"("prompt_eval_count":5,"prompt_eval_duration":2000000,"eval_count":2,)"
            R"("eval_duration":3500000})"
            "\n");
  const v1::SamplingParams& sampling = h.inference.requests[0].sampling();
  CHECK(sampling.temperature() == 0.8f);
  CHECK(sampling.top_k() == 40);
  CHECK(sampling.top_p() == 0.9f);
}

TEST_CASE("ollama chat in one object, with thinking and whole tool calls") {
  Harness h;
  h.inference.events = TextScript({});
  const v1::GenerateEvent finished = h.inference.events.back();
  h.inference.events.pop_back();
  for (const std::string text :
       {R"(delta { reasoning: "hm" })",
        R"(delta { tool_call { state: STATE_STARTED id: "call_a" name: "f" } })",
        R"(delta { tool_call { state: STATE_IN_PROGRESS arguments: "{\"x\":1}" } })",
        R"(delta { tool_call { state: STATE_SUCCEEDED } })"}) {
    h.inference.events.push_back(Proto<v1::GenerateEvent>(text));
  }
  h.inference.events.push_back(finished);
  const std::string call =
      R"("tool_calls":[{"id":"call_a","function":{"index":0,"name":"f","arguments":{"x":1}}}]})";
  SECTION("one object") {
    const RecordingWriter answer = h.Call("POST", "/api/chat", Chat(R"(,"stream":false)"));
    CHECK(
        answer.response.body.find(R"("message":{"role":"assistant","content":"","thinking":"hm",)" +
                                  call + R"(,"done":true)") != std::string::npos);
  }
  SECTION("streamed") {
    const RecordingWriter answer = h.Call("POST", "/api/chat", Chat());
    CHECK(answer.response.body.find(R"("content":"","thinking":"hm"},"done":false})") !=
          std::string::npos);
    CHECK(answer.response.body.find(R"("content":"",)" + call + R"(,"done":false})") !=
          std::string::npos);
  }
}

TEST_CASE("ollama's load_duration is the time until the model took the request up") {
  Harness h;
  h.inference.events = TextScript({"x"});
  h.inference.events.back().mutable_finished()->mutable_timings()->set_queue_ms(0.25);
  const RecordingWriter answer = h.Call("POST", "/api/chat", Chat(R"(,"stream":false)"));
  CHECK(answer.response.body.find(R"("load_duration":750000,)") != std::string::npos);
}

TEST_CASE("ollama options arrive, wrong types are told in Ollama's words") {
  Harness h;
  h.inference.events = TextScript({"x"});
  h.Call("POST", "/api/chat",
         Chat(R"(,"think":"high","options":{"temperature":0,"top_k":1,"seed":7,"num_predict":9,
             "stop":["a"],"repeat_penalty":1.5,"repeat_last_n":-1,"num_ctx":4096,"new":true})"));
  const v1::GenerateRequest& request = h.inference.requests.at(0);
  CHECK(request.sampling().temperature() == 0);
  CHECK(request.sampling().seed() == 7);
  CHECK(request.sampling().repetition_penalty() == 1.5f);
  CHECK(request.sampling().penalty_last_n() == -1);
  CHECK(request.stop().max_tokens() == 9);
  CHECK(request.stop().strings(0) == "a");
  CHECK(request.chat().template_variables().at("reasoning_effort") == "\"high\"");
  const RecordingWriter wrong =
      h.Call("POST", "/api/chat", Chat(R"(,"options":{"num_predict":"many"})"));
  CHECK(wrong.response.status == 400);
  CHECK(wrong.response.body == R"({"error":"option \"num_predict\" must be of type integer"})");
}

TEST_CASE("ollama refusals") {
  Harness h;
  const RecordingWriter unknown =
      h.Call("POST", "/api/chat", R"({"model":"no","messages":[{"role":"user","content":""}]})");
  CHECK(unknown.response.status == 404);
  CHECK(unknown.response.body == R"({"error":"model 'no' not found"})");
  CHECK(StatusOf(h, "/api/chat", "{}") == 400);
  CHECK(StatusOf(h, "/api/chat", Chat(R"(,"format":"yaml")")) == 400);
  CHECK(StatusOf(h, "/api/chat", Chat(R"(,"think":"very")")) == 400);
  CHECK(StatusOf(h, "/api/chat", Chat(R"(,"logprobs":true,"top_logprobs":21)")) == 400);
  CHECK(StatusOf(h, "/api/chat",
                 R"({"model":"teacher","messages":[{"role":"user","images":["aGk="]}]})") == 400);
  const std::string prompt = R"({"model":"teacher","prompt":"x",)";
  CHECK(StatusOf(h, "/api/generate", prompt + R"("suffix":"y"})") == 400);
  CHECK(StatusOf(h, "/api/generate", prompt + R"("template":"y"})") == 400);
  CHECK(StatusOf(h, "/api/generate", prompt + R"("raw":true,"system":"y"})") == 400);
  CHECK(StatusOf(h, "/api/generate", prompt + R"("context":[-1]})") == 400);
  CHECK(h.Call("POST", "/api/push", "{}").response.status == 501);
  CHECK(h.inference.requests.empty());
}

TEST_CASE("an empty request loads or unloads") {
  Harness h;
  CHECK(h.Call("POST", "/api/chat", R"({"model":"teacher","messages":[]})").response.body ==
        R"({"model":"teacher",)" + kAt +
            R"("message":{"role":"assistant","content":""},"done":true,"done_reason":"load"})");
  CHECK_FALSE(h.admin.keep_requests.at(0).has_keep_alive_ms());
  CHECK(h.Call("POST", "/api/generate", R"({"model":"teacher","keep_alive":0})").response.body ==
        R"({"model":"teacher",)" + kAt + R"("response":"","done":true,"done_reason":"unload"})");
  CHECK(h.admin.keep_requests.at(1).name() == "teacher");
  CHECK(h.admin.keep_requests.at(1).has_keep_alive_ms());
  CHECK(h.admin.keep_requests.at(1).keep_alive_ms() == 0);
  h.admin.kept =
      base::WithReason(base::FailedPrecondition("the model \"teacher\" is pinned"), "model_pinned");
  const RecordingWriter pinned =
      h.Call("POST", "/api/generate", R"({"model":"teacher","keep_alive":0})");
  CHECK(pinned.response.status == 400);
  CHECK(pinned.response.body == R"({"error":"the model \"teacher\" is pinned"})");
}

TEST_CASE("keep-alives as Ollama's clients write them") {
  const auto sent = [](const std::string& keep_alive) -> std::string {
    Harness h;
    h.inference.events = TextScript({"a"});
    const RecordingWriter answer =
        h.Call("POST", "/api/chat",
               R"({"model":"teacher","messages":[{"role":"user","content":"hi"}],"keep_alive":)" +
                   keep_alive + "}");
    if (answer.response.status != 200) return std::to_string(answer.response.status);
    const v1::RequestMeta& meta = h.inference.requests.at(0).meta();
    return meta.has_keep_alive_ms() ? std::to_string(meta.keep_alive_ms()) + "ms" : "none";
  };
  CHECK(sent("null") == "none");
  CHECK(sent("0") == "0ms");
  CHECK(sent("300") == "300000ms");
  CHECK(sent("0.5") == "500ms");
  CHECK(sent("-1") == "-1ms");
  CHECK(sent("1e300") == "-1ms");
  CHECK(sent(R"("5m")") == "300000ms");
  CHECK(sent(R"("1h30m")") == "5400000ms");
  CHECK(sent(R"("1.5h")") == "5400000ms");
  CHECK(sent(R"("250ms")") == "250ms");
  CHECK(sent(R"("0")") == "0ms");
  CHECK(sent(R"("60")") == "60000ms");
  CHECK(sent(R"("-1")") == "-1ms");
  CHECK(sent(R"("-5m")") == "-1ms");
  for (const char* const bad :
       {R"("")", R"("soon")", R"("5x")", R"("m")", R"("1h-5m")", "[1]", "true", R"("1.2.3s")"}) {
    INFO(bad);
    CHECK(sent(bad) == "400");
  }
}

TEST_CASE("ollama waits for a model that is loading, for as long as an answer may take") {
  Harness h;
  h.inference.events = TextScript({"a"});
  h.models.models[0].set_state(v1::ModelStatus::STATE_LOADING);
  h.services.times.load_wait = std::chrono::milliseconds(7);
  CHECK(h.Call("POST", "/api/chat", Chat()).response.status == 200);
  CHECK(h.inference.requests.at(0).meta().load_wait_ms() == h.services.times.generate.count());
}

TEST_CASE("generate gives a context and takes it back") {
  Harness h;
  h.inference.events = TextScript({"a", "b"});
  h.inference.token_ids = {1, 2};
  const RecordingWriter first =
      h.Call("POST", "/api/generate", R"({"model":"teacher","prompt":"x","stream":false})");
  CHECK(first.response.body.find(R"("context":[1,2,100,101])") != std::string::npos);
  CHECK(first.response.body.find(R"("response":"ab")") != std::string::npos);
  const RecordingWriter second = h.Call(
      "POST", "/api/generate", R"({"model":"teacher","prompt":"y","context":[1,2,100,101]})");
  const auto& ids = h.inference.requests.at(1).token_ids().ids();
  CHECK(std::vector<int>(ids.begin(), ids.end()) == std::vector<int>{1, 2, 100, 101, 1, 2});
  CHECK(second.response.body.find(R"("context":[1,2,100,101,1,2,100,101])") != std::string::npos);
  h.inference.token_ids.clear();
  CHECK(h.Call("POST", "/api/generate", R"({"model":"teacher","prompt":"x","stream":false})")
            .response.body.find("context") == std::string::npos);
}

TEST_CASE("raw prompts pass by the template") {
  Harness h;
  h.inference.events = TextScript({"a"});
  h.Call("POST", "/api/generate", R"({"model":"teacher","prompt":"<x>","raw":true})");
  CHECK(h.inference.requests.at(0).text() == "<x>");
  h.Call("POST", "/api/generate", R"({"model":"teacher","prompt":"p","system":"s"})");
  const auto& messages = h.inference.requests.at(1).chat().messages();
  REQUIRE(messages.size() == 2);
  CHECK(messages[0].role() == v1::ROLE_SYSTEM);
  CHECK(messages[1].content(0).text() == "p");
}

TEST_CASE("an ollama error in the middle of a stream is its last line") {
  Harness h;
  h.inference.events = TextScript({"a"});
  h.inference.events.pop_back();
  h.inference.status = base::WithReason(base::Unavailable("worker lost"), "worker_lost");
  const RecordingWriter answer = h.Call("POST", "/api/chat", Chat());
  CHECK(answer.response.status == 200);
  CHECK(answer.response.body.substr(answer.response.body.find('\n') + 1) ==
        "{\"error\":\"worker lost\"}\n");
  CHECK(answer.aborted);
}

TEST_CASE("ollama keep-alives are objects that add nothing") {
  Harness h;
  h.services.times.keep_alive = std::chrono::milliseconds(5);
  h.inference.never_ends = true;
  const RecordingWriter answer = h.Call("POST", "/api/chat", Chat(), [](RecordingWriter& writer) {
    writer.reason = CancelReason::kClientGone;
    if (const auto cancel = std::exchange(writer.on_cancel, nullptr)) cancel();
  });
  CHECK(answer.response.body == R"({"model":"teacher",)" + kAt +
                                    R"("message":{"role":"assistant","content":""},"done":false})"
                                    "\n");
}

TEST_CASE("ollama names") {
  using namespace ollama;
  CHECK(Tagged("teacher") == "teacher:latest");
  CHECK(Tagged("teacher:8b") == "teacher:8b");
  CHECK(Tagged("host:80/ns/m") == "host:80/ns/m:latest");
  Harness h;
  h.models.Add("Org/Big:8B");
  CHECK(ResolveModel(h.models, "TEACHER:latest").value() == "teacher");
  CHECK(ResolveModel(h.models, "org/big:8b").value() == "Org/Big:8B");
  CHECK_FALSE(ResolveModel(h.models, "org/big").ok());
}

TEST_CASE("ollama lists and shows models") {
  Harness h;
  v1::ModelStatus& model = h.models.models[0];
  model.mutable_details()->set_digest("sha256:ab12");
  model.mutable_details()->set_quantization("Q8_0");
  (*model.mutable_details()->mutable_metadata())["general.architecture"] = "\"qwen3moe\"";
  const std::string tags = h.Call("GET", "/api/tags").response.body;
  CHECK(tags.find(R"({"models":[{"name":"teacher:latest","model":"teacher:latest",)") == 0);
  CHECK(tags.find(R"("digest":"ab12")") != std::string::npos);
  const std::string shown =
      h.Call("POST", "/api/show", R"({"model":"teacher:latest"})").response.body;
  CHECK(shown.find(R"("model_info":{"general.architecture":"qwen3moe"})") != std::string::npos);
  CHECK(shown.find(R"("capabilities":["completion","tools","thinking"])") != std::string::npos);
  CHECK(h.Call("POST", "/api/show", R"({"name":"no"})").response.status == 404);
  h.models.Add("cold").set_state(v1::ModelStatus::STATE_LOADING);
  CHECK(h.Call("GET", "/api/ps").response.body.find("cold") == std::string::npos);
  h.models.models.back().set_state(v1::ModelStatus::STATE_UNLOADED);
  CHECK(h.Call("GET", "/api/ps").response.body.find("cold") == std::string::npos);
  CHECK(h.Call("GET", "/api/tags").response.body.find("cold") != std::string::npos);
  const auto of_ps = [&](std::string_view text) {
    return h.Call("GET", "/api/ps").response.body.find(text) != std::string::npos;
  };
  CHECK(of_ps(R"("expires_at":"2318-01-01T00:00:00.000000000Z","size_vram":0)"));
  h.models.models.front().set_expires_unix_ms(1'767'323'345'678);
  h.models.models.front().mutable_details()->set_device_bytes(77);
  CHECK(of_ps(R"("expires_at":"2026-01-02T03:09:05.678000000Z","size_vram":77)"));
  CHECK(h.Call("GET", "/").response.body == "Ollama is running");
  CHECK(h.Call("GET", "/api/version").response.body == R"({"version":"0.13.0"})");
}

}  // namespace conclave::gateway
