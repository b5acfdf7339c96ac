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

  const std::string list = h.Call("GET", "/v1/models").response.body;
  CHECK(list.find(R"({"object":"list","data":[{"id":"teacher","object":"model","created":7,)"
                  R"("owned_by":"conclave",)") == 0);
  CHECK(list.find(R"("model_type":"embedding")") != std::string::npos);

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
