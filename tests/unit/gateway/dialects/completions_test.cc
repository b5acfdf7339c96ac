#include <string>
#include <utility>

#include "catch2/catch.hpp"
#include "gateway/dialects/openai/legacy_logprobs.h"
#include "support/gateway_harness.h"

namespace conclave::gateway {
namespace {

std::string Body(const std::string& fields) { return R"({"model":"teacher",)" + fields + "}"; }

const std::string kHead =
    R"({"id":"cmpl-test","object":"text_completion","created":1767323045,"model":"teacher",)"
    R"("system_fingerprint":"fp_0123456789ab","choices":[{"text":")";

}  // namespace

TEST_CASE("a text completion in one piece and streamed") {
  Harness h;
  h.inference.events = TextScript({"a", "b"});
  const RecordingWriter whole = h.Call("POST", "/v1/completions", Body(R"("prompt":"x")"));
  CHECK(whole.response.body.find(kHead +
                                 R"(ab","index":0,"logprobs":null,"finish_reason":"stop"}],)"
                                 R"("usage":{"prompt_tokens":5,"completion_tokens":2,)") == 0);
  CHECK(h.inference.requests[0].text() == "x");
  CHECK(h.inference.requests[0].stop().max_tokens() == 16);
  const RecordingWriter stream =
      h.Call("POST", "/completions", Body(R"("prompt":[1,2],"stream":true,"max_tokens":3)"));
  const std::string tail = R"(","index":0,"logprobs":null,"finish_reason":)";
  CHECK(stream.response.body == "data: " + kHead + "a" + tail + "null}]}\n\ndata: " + kHead + "b" +
                                    tail + "null}]}\n\ndata: " + kHead + tail +
                                    "\"stop\"}]}\n\ndata: [DONE]\n\n");
  CHECK(h.inference.requests[1].token_ids().ids_size() == 2);
}

TEST_CASE("completions refuse what they cannot do") {
  Harness h;
  const auto status = [&h](const std::string& fields) {
    return h.Call("POST", "/v1/completions", Body(fields)).response.status;
  };
  CHECK(status(R"("x":1)") == 400);
  CHECK(status(R"("prompt":"")") == 400);
  CHECK(status(R"("prompt":[])") == 400);
  CHECK(status(R"("prompt":[[]])") == 400);
  CHECK(status(R"("prompt":["a",""])") == 400);
  CHECK(status(R"("prompt":[1,"a"])") == 400);
  CHECK(status(R"("prompt":[[[1]]])") == 400);
  CHECK(status(R"("prompt":[[-1]])") == 400);
  std::string many = R"("prompt":["a")";
  for (int i = 0; i < 64; ++i) many += R"(,"a")";
  CHECK(status(many + "]") == 400);
  CHECK(status(R"("prompt":"x","n":17)") == 400);
  CHECK(status(R"("prompt":"x","n":3,"best_of":2)") == 400);
  CHECK(status(R"("prompt":"x","best_of":17)") == 400);
  CHECK(status(R"("prompt":"x","best_of":2,"stream":true)") == 400);
  CHECK(status(R"("prompt":"x","max_tokens":0)") == 400);
  CHECK(status(R"("prompt":"x","logprobs":21)") == 400);
  CHECK(status(R"("prompt":"x","logprobs":true)") == 400);
  CHECK(status(R"("prompt":"x","echo":"yes")") == 400);
  CHECK(status(R"("prompt":"x","suffix":"y","echo":true)") == 400);
  CHECK(h.inference.requests.empty());
}

TEST_CASE("what lm-eval asks arrives as it means it") {
  Harness h;
  h.inference.events = TextScript({"a"});
  h.Call("POST", "/v1/completions",
         Body(R"("prompt":[[1,2,3],[4,5]],"temperature":0,"max_tokens":1,"logprobs":1,"seed":1234,
                 "echo":true)"));
  REQUIRE(h.inference.requests.size() == 2);
  const v1::GenerateRequest& second = h.inference.requests[1];
  CHECK(second.model() == "teacher");
  CHECK(second.token_ids().ids_size() == 2);
  CHECK(second.stop().max_tokens() == 1);
  CHECK(second.sampling().seed() == 1234);
  CHECK(second.sampling().has_temperature());
  CHECK(second.logprobs().top() == 1);
  CHECK(second.prompt_logprobs().top() == 1);
  CHECK(second.prompt_logprobs().stop_token());
  CHECK_FALSE(second.prompt_logprobs().tokens_only());
  // Without logprobs the text of ids is asked for, that of a text is known.
  h.Call("POST", "/v1/completions", Body(R"("prompt":[[7],"x"],"echo":true,"max_tokens":0)"));
  CHECK(h.inference.requests[2].prompt_logprobs().tokens_only());
  CHECK_FALSE(h.inference.requests[3].has_prompt_logprobs());
  CHECK(h.inference.requests[3].stop().max_tokens() == 0);
  CHECK(h.inference.requests[3].stop().has_max_tokens());
}

TEST_CASE("the best of several completions are the most probable ones") {
  Harness h;
  h.inference.events = {Proto<v1::GenerateEvent>("accepted { prompt_tokens: 5 }")};
  for (const auto& [index, logprob] : {std::pair(0, -2.0), {1, -0.5}, {2, -1.0}}) {
    const std::string i = std::to_string(index);
    h.inference.events.push_back(Proto<v1::GenerateEvent>(
        "delta { index: " + i + " seq: " + i + " token_ids: 1 text: 'c" + i +
        "' logprobs { token_id: 1 token: 'x' logprob: " + std::to_string(logprob) + " } }"));
    h.inference.events.push_back(
        Proto<v1::GenerateEvent>("finished { index: " + i +
                                 " reason: REASON_STOP usage { prompt_tokens: 5 "
                                 "completion_tokens: 1 } }"));
  }
  const std::string body =
      h.Call("POST", "/v1/completions", Body(R"("prompt":"x","n":2,"best_of":3)")).response.body;
  CHECK(h.inference.requests[0].n() == 3);
  CHECK(h.inference.requests[0].has_logprobs());
  CHECK(body.find(R"("choices":[{"text":"c1","index":0,"logprobs":null,"finish_reason":"stop"},)"
                  R"({"text":"c2","index":1,"logprobs":null,"finish_reason":"stop"}],"usage":)"
                  R"({"prompt_tokens":5,"completion_tokens":3,)") != std::string::npos);
}

TEST_CASE("tokens that are no text by themselves keep their bytes apart") {
  using openai::LegacyTokenText;
  CHECK(LegacyTokenText("owl \xF0\x9F\xA6\x89") == "owl \xF0\x9F\xA6\x89");
  CHECK(LegacyTokenText("\xF0\x9F") == "bytes:\\xf0\\x9f");
  CHECK(LegacyTokenText("\xA6") != LegacyTokenText("\x89"));
  CHECK(LegacyTokenText("").empty());

  openai::LegacyLogprobs logprobs;
  const auto token = [](const std::string& bytes, float logprob) {
    v1::TokenLogprob one;
    one.set_token(bytes);
    one.set_logprob(logprob);
    return one;
  };
  v1::TokenLogprob cut = token("\xF0\x9F", -1.0f);
  *cut.add_top() = token("a", -0.25f);
  *cut.add_top() = token("a", -0.5f);  // another token that reads the same
  logprobs.AddFirst(token("ab", 0));
  logprobs.Add(cut);
  logprobs.Add(token("\xA6\x89", -2.0f));
  logprobs.Add(token("c", -3.0f));
  base::JsonWriter json;
  logprobs.Write(json);
  CHECK(json.Take() ==
        R"({"tokens":["ab","bytes:\\xf0\\x9f","bytes:\\xa6\\x89","c"],)"
        R"("token_logprobs":[null,-1.0,-2.0,-3.0],)"
        R"("top_logprobs":[null,{"a":-0.25,"bytes:\\xf0\\x9f":-1.0},{"bytes:\\xa6\\x89":-2.0},)"
        R"({"c":-3.0}],"text_offset":[0,2,3,3]})");
  CHECK(logprobs.empty());
}

}  // namespace conclave::gateway
