#include <string>

#include "catch2/catch.hpp"
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
  CHECK(status(R"("prompt":["a","b"])") == 400);
  CHECK(status(R"("prompt":[1,"a"])") == 400);
  CHECK(status(R"("prompt":"x","best_of":2)") == 400);
  CHECK(status(R"("prompt":"x","echo":true)") == 501);
  CHECK(status(R"("prompt":"x","logprobs":1)") == 501);
  CHECK(status(R"("prompt":"x","suffix":"y")") == 501);
  CHECK(h.inference.requests.empty());
}

}  // namespace conclave::gateway
