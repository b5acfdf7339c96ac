#include <string>

#include "base/json.h"
#include "catch2/catch.hpp"
#include "gateway/dialects/embedding_call.h"
#include "gateway/dialects/openai/embeddings_codec.h"
#include "gateway/http/status_map.h"
#include "support/gateway_harness.h"

namespace conclave::gateway {
namespace {

Harness& WithEmbedder(Harness& h) {
  h.models.Add("mini").add_capabilities("embedding");
  v1::EmbeddingVector vector;
  vector.add_values(0.5f);
  vector.add_values(-0.1f);
  h.embedding.reply.vectors = {vector, vector};
  h.embedding.reply.usage.set_prompt_tokens(4);
  return h;
}

}  // namespace

TEST_CASE("embeddings as floats and as base64") {
  Harness harness;
  Harness& h = WithEmbedder(harness);
  const RecordingWriter floats =
      h.Call("POST", "/v1/embeddings", R"({"model":"mini","input":["a","b"],"dimensions":2})");
  CHECK(floats.response.body ==
        R"({"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5,-0.1]},)"
        R"({"object":"embedding","index":1,"embedding":[0.5,-0.1]}],"model":"mini",)"
        R"("usage":{"prompt_tokens":4,"total_tokens":4}})");
  CHECK(h.embedding.requests[0].dimensions() == 2);
  const RecordingWriter packed = h.Call(
      "POST", "/embeddings", R"({"model":"mini","input":["a","b"],"encoding_format":"base64"})");
  // 0.5f and -0.1f, little-endian.
  CHECK(packed.response.body.find(R"("embedding":"AAAAP83MzL0=")") != std::string::npos);
}

TEST_CASE("every shape of input is read") {
  const auto decoded = [](const std::string& input) {
    const auto request = openai::DecodeEmbeddingsRequest(R"({"model":"m","input":)" + input + "}");
    INFO(input);
    REQUIRE(request.ok());
    return request->embed;
  };
  CHECK(decoded(R"("")").inputs(0).text().empty());
  CHECK(decoded(R"(["a","b"])").inputs_size() == 2);
  CHECK(decoded("[1,2,3]").inputs(0).token_ids().ids_size() == 3);
  CHECK(decoded("[[1],[2,3]]").inputs(1).token_ids().ids(1) == 3);
}

TEST_CASE("embedding refusals name the field") {
  const auto param = [](const std::string& fields) {
    const auto request = openai::DecodeEmbeddingsRequest(R"({"model":"m",)" + fields + "}");
    INFO(fields);
    REQUIRE_FALSE(request.ok());
    return ErrorInfoOf(request.status()).param;
  };
  CHECK(param(R"("x":1)") == "input");
  CHECK(param(R"("input":[])") == "input");
  CHECK(param(R"("input":{})") == "input");
  CHECK(param(R"("input":["a",7])") == "input[1]");
  CHECK(param(R"("input":[-1])") == "input[0]");
  CHECK(param(R"("input":[1.5])") == "input[0]");
  CHECK(param(R"("input":"a","dimensions":0)") == "dimensions");
  CHECK(param(R"("input":"a","encoding_format":"hex")") == "encoding_format");
  CHECK(param(R"("input":"a","truncate":"middle")") == "truncate");
  std::string many = R"("input":["")";
  for (int i = 0; i < 2048; ++i) many += R"(,"")";
  CHECK(param(many + "]") == "input");
}

TEST_CASE("a model that does not embed says so") {
  Harness harness;
  Harness& h = WithEmbedder(harness);
  const RecordingWriter answer =
      h.Call("POST", "/v1/embeddings", R"({"model":"teacher","input":"a"})");
  CHECK(answer.response.status == 400);
  CHECK(answer.response.body.find(R"("param":"model")") != std::string::npos);
  CHECK(h.Call("POST", "/v1/embeddings", R"({"model":"no","input":"a"})").response.status == 404);
}

TEST_CASE("ollama's two embedding routes") {
  Harness harness;
  Harness& h = WithEmbedder(harness);
  const RecordingWriter answer =
      h.Call("POST", "/api/embed", R"({"model":"mini:latest","input":["a","b"],"truncate":false})");
  CHECK(answer.response.body ==
        R"({"model":"mini:latest","embeddings":[[0.5,-0.1],[0.5,-0.1]],"prompt_eval_count":4})");
  CHECK(h.embedding.requests[0].truncate() == v1::EmbedRequest::TRUNCATE_NONE);
  CHECK(h.Call("POST", "/api/embeddings", R"({"model":"mini","prompt":"a"})").response.body ==
        R"({"embedding":[0.5,-0.1]})");
  CHECK_FALSE(h.embedding.requests[1].normalize());
  CHECK(h.Call("POST", "/api/embeddings", R"({"model":"mini","prompt":""})").response.body ==
        R"({"embedding":[]})");
  CHECK(h.Call("POST", "/api/embed", R"({"model":"mini","input":7})").response.status == 400);
}

TEST_CASE("floats are written short and never as words") {
  const float values[] = {0.1f, 1e-10f, 3.0f, std::numeric_limits<float>::infinity()};
  CHECK(EncodeFloats(values) == "[0.1,1e-10,3,0]");
}

}  // namespace conclave::gateway
