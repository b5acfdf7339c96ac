#include <string>

#include "catch2/catch.hpp"
#include "support/gateway_harness.h"

namespace conclave::gateway {

TEST_CASE("probes tell ready from alive") {
  Harness h;
  CHECK(h.Call("GET", "/livez").response.status == 200);
  CHECK(h.Call("GET", "/readyz").response.status == 200);
  CHECK(h.Call("GET", "/health").response.body == R"({"status":"ok"})");
  h.models.models[0].set_state(v1::ModelStatus::STATE_LOADING);
  h.models.models[0].set_progress(0.25);
  const RecordingWriter loading = h.Call("GET", "/v1/health");
  CHECK(loading.response.status == 503);
  CHECK(loading.response.body ==
        R"({"error":{"code":503,"message":"loading model","type":"unavailable_error"},)"
        R"("loading":{"models":1,"progress":0.25}})");
  CHECK(h.Call("GET", "/ping").response.status == 503);
  CHECK(h.Call("GET", "/livez").response.status == 200);
}

TEST_CASE("an embedding model alone makes ready only a gateway without inference workers") {
  Harness h;
  h.models.models.clear();
  v1::ModelStatus& mini = h.models.Add("mini");
  mini.clear_capabilities();
  mini.add_capabilities("embedding");
  const RecordingWriter answer = h.Call("GET", "/readyz");
  CHECK(answer.response.status == 503);
  CHECK(answer.response.body.find(R"("status":"no model is served")") != std::string::npos);
  h.services.completion_wanted = false;
  CHECK(h.Call("GET", "/readyz").response.status == 200);
}

TEST_CASE("a model whose workers are away is called all the same") {
  Harness h;
  h.inference.status = base::WithRetryAfter(base::Unavailable("no worker is available"),
                                            std::chrono::milliseconds(1000));
  h.models.lost = h.models.models;
  h.models.models.clear();
  const std::string body = R"({"model":"teacher","messages":[{"role":"user","content":"hi"}]})";
  const RecordingWriter answer = h.Call("POST", "/v1/chat/completions", body);
  CHECK(h.inference.requests.size() == 1);
  CHECK(answer.response.status == 503);
  h.models.lost.clear();
  CHECK(h.Call("POST", "/v1/chat/completions", body).response.status == 404);
}

TEST_CASE("a draining gateway is alive and not ready") {
  Harness h;
  h.services.draining = [] { return true; };
  const RecordingWriter answer = h.Call("GET", "/readyz");
  CHECK(answer.response.status == 503);
  CHECK(answer.response.headers[0].first == "Retry-After");
  CHECK(answer.response.body.find(R"("status":"draining")") != std::string::npos);
}

TEST_CASE("seed 001's status") {
  Harness h;
  const std::string running = h.Call("GET", "/chat").response.body;
  CHECK(running.find(R"({"status":"running",)") == 0);
  CHECK(running.find(R"("model_name":"teacher","max_new_tokens":1024)") != std::string::npos);
  h.models.models.clear();
  const RecordingWriter stopped = h.Call("GET", "/chat");
  CHECK(stopped.response.status == 200);
  CHECK(stopped.response.body.find(R"("status":"not started")") != std::string::npos);
}

TEST_CASE("a default model stands for names nobody serves, where the profile forgives them") {
  const std::string body = R"({"model":"gpt-4o","messages":[{"content":"hi"}]})";
  Harness h;
  h.inference.events = TextScript({"x"});
  h.services.default_model = "teacher";
  CHECK(h.Call("POST", "/chat/completions", body).response.status == 404);
  h.profile = CompatProfile::kLlmServing;
  const RecordingWriter answer = h.Call("POST", "/chat/completions", body);
  CHECK(answer.response.status == 200);
  CHECK(h.inference.requests.at(0).model() == "teacher");
  CHECK(answer.response.body.find(R"("model":"gpt-4o")") != std::string::npos);
}

TEST_CASE("no route is open to a stranger but probes, version and the root") {
  Harness h;
  for (const Route* route : h.router.routes()) {
    INFO(route->method << " " << route->pattern);
    const std::string& path = route->pattern;
    const bool may_be_open = path == "/" || path == "/livez" || path == "/readyz" ||
                             path == "/ping" || path == "/health" || path == "/v1/health" ||
                             path == "/version" || path == "/v1/version" ||
                             path == "/api/version" || path == "/alpha/health";
    CHECK(route->options.open == may_be_open);
  }
}

TEST_CASE("an editor's gap reaches the worker whole") {
  Harness h;
  h.models.models[0].add_capabilities("insert");
  h.inference.events = TextScript({"b", "c"});
  const RecordingWriter answer =
      h.Call("POST", "/infill",
             R"({"input_prefix":"a\n","prompt":"x = ","input_suffix":";\n","n_predict":0,"seed":-1,
          "repeat_last_n":-1,"repeat_penalty":1.5,"input_extra":[{"filename":"f","text":"t"}]})");
  CHECK(answer.response.status == 200);
  REQUIRE(h.inference.requests.size() == 1);
  const v1::GenerateRequest& request = h.inference.requests[0];
  CHECK(request.text() == "a\nx = ");
  CHECK(request.suffix() == ";\n");
  CHECK(request.infill().files(0).name() == "f");
  CHECK(request.infill().files(0).text() == "t");
  CHECK(request.stop().max_tokens() == 0);
  CHECK_FALSE(request.sampling().has_seed());
  CHECK(request.sampling().penalty_last_n() == -1);
  CHECK(request.sampling().repetition_penalty() == 1.5f);
  CHECK(answer.response.body ==
        R"({"index":0,"content":"bc","id_slot":-1,"tokens":[],"model":"teacher",)"
        R"("has_new_line":false,"stop":true,"tokens_predicted":2,"tokens_evaluated":5,)"
        R"("truncated":false,"stop_type":"eos","stopping_word":"","tokens_cached":7,)"
        R"("timings":{"cache_n":2,"prompt_n":3,"prompt_ms":2.0,)"
        R"("prompt_per_token_ms":0.6666666666666666,"prompt_per_second":1500.0,)"
        R"("predicted_n":2,"predicted_ms":3.5,"predicted_per_token_ms":1.75,)"
        R"("predicted_per_second":571.4285714285715}})");
}

TEST_CASE("what is too large for a gap is told in the words of its request") {
  Harness h;
  h.models.models[0].add_capabilities("insert");
  const std::string large((1 << 20) + 1, 'a');
  const auto refused = [&](const std::string& body, const std::string& field) {
    const RecordingWriter answer = h.Call("POST", "/infill", body);
    CHECK(answer.response.status == 400);
    CHECK(answer.response.body.find(R"("param":")" + field + "\"") != std::string::npos);
  };
  refused(R"({"input_prefix":"","input_suffix":")" + large + "\"}", "input_suffix");
  refused(R"({"input_prefix":"","input_suffix":"","input_extra":[{"text":")" + large + "\"}]}",
          "input_extra");
  CHECK(h.inference.requests.empty());
}

}  // namespace conclave::gateway
