#include <string>

#include "catch2/catch.hpp"
#include "support/gateway_harness.h"

namespace conclave::gateway {

TEST_CASE("models are listed and found by name or alias, slashes and all") {
  Harness h;
  h.models.models[0].set_created_unix(7);
  v1::ModelStatus& other = h.models.Add("org/name:tag");
  other.add_aliases("short");
  other.clear_capabilities();
  other.add_capabilities("embedding");
  other.mutable_details()->set_embedding_length(384);
  other.set_context_length(256);
  v1::ModelStatus& judge = h.models.Add("judge");
  judge.clear_capabilities();
  judge.add_capabilities("rerank");

  const std::string list = h.Call("GET", "/v1/models").response.body;
  CHECK(list.find(R"({"object":"list","data":[{"id":"teacher","object":"model","created":7,)"
                  R"("owned_by":"conclave",)") == 0);
  CHECK(list.find(
            R"("model_type":"embedding",)"
            R"("metadata":{"embedding_dimension":384,"context_length":256},)"
            R"("display_name":"org/name:tag","created_at":"1970-01-01T00:00:00.000000000Z",)") !=
        std::string::npos);
  CHECK(list.find(R"("model_type":"rerank")") != std::string::npos);
  const std::string page = R"("has_more":false,"first_id":"teacher","last_id":"judge"})";
  CHECK(list.substr(list.size() - page.size()) == page);

  for (const std::string target : {"/v1/models/org/name:tag", "/models/org%2Fname%3Atag",
                                   "/v1/models/short", "/v1/models/short/"}) {
    const RecordingWriter answer = h.Call("GET", target);
    INFO(target);
    CHECK(answer.response.status == 200);
    CHECK(answer.response.body.find(R"({"id":"org/name:tag")") == 0);
  }
  const RecordingWriter missing = h.Call("GET", "/v1/models/nobody");
  CHECK(missing.response.status == 404);
  CHECK(missing.response.body.find("model_not_found") != std::string::npos);
}

}  // namespace conclave::gateway
