#include "catch2/catch.hpp"
#include "gateway/dialects/ai_backend/query.h"
#include "support/gateway_harness.h"

namespace conclave::gateway {
namespace {

using ai_backend::ParseQuery;

v1::ModelStatus& AddPredictor(Harness& h) {
  v1::ModelStatus& model = h.models.Add("echo");
  model.clear_capabilities();
  model.add_capabilities("predict");
  return model;
}

}  // namespace

TEST_CASE("a query is read with either separator, with quotes and with escapes") {
  const auto seed = ParseQuery(R"(id=X?type=httpmodel?dest="127.0.0.1:8888")");
  CHECK(seed.at("id") == "X");
  CHECK(seed.at("type") == "httpmodel");
  CHECK(seed.at("dest") == "127.0.0.1:8888");
  const auto mixed = ParseQuery("id=a%2Fb+c&dest='x'&&?x=%22q%22?id=second");
  CHECK(mixed.at("id") == "a/b c");
  CHECK(mixed.at("dest") == "x");
  CHECK(mixed.at("x") == "q");
  CHECK(ParseQuery("").empty());
  CHECK(ParseQuery("=a&b&c=%zz").empty());
  CHECK(ParseQuery("a=\"").at("a") == "\"");
}

TEST_CASE("what a model of its own kind is asked and says is passed on as it is") {
  Harness h;
  AddPredictor(h);
  h.inference.prediction = R"({"answer":[1, 2]})";
  const RecordingWriter answer = h.Call("POST", "/post/predict?id=echo", R"({"question": 1})");
  CHECK(answer.response.status == 200);
  CHECK(answer.response.body == R"({"answer":[1, 2]})");
  CHECK(h.inference.predict_requests.at(0).model() == "echo");
  CHECK(h.inference.predict_requests.at(0).body_json() == R"({"question": 1})");
  h.Call("GET", "/get/predict?id=echo");
  CHECK(h.inference.predict_requests.at(1).body_json() == "{}");
  // The word is the method towards the model; the request's own says nothing.
  CHECK(h.inference.predict_requests.at(0).method() == "POST");
  CHECK(h.inference.predict_requests.at(1).method() == "GET");
  h.Call("GET", "/post/predict?id=echo");
  CHECK(h.inference.predict_requests.at(2).method() == "POST");
}

TEST_CASE("a body that is no JSON is refused before the model sees it") {
  Harness h;
  AddPredictor(h);
  h.inference.prediction = "{}";
  CHECK(h.Call("POST", "/post/predict?id=echo", "{").response.status == 400);
  CHECK(h.inference.predict_requests.empty());
}

TEST_CASE("a model that cannot be reached is 502, one that is loading 503") {
  Harness h;
  v1::ModelStatus& model = AddPredictor(h);
  h.inference.predict_status = base::WithReason(base::Unavailable("refused"), "unreachable");
  const RecordingWriter gone = h.Call("POST", "/post/predict?id=echo", "{}");
  CHECK(gone.response.status == 502);
  CHECK(gone.response.body == R"({"error":"refused"})");
  h.inference.predict_status = absl::DeadlineExceededError("late");
  CHECK(h.Call("POST", "/post/predict?id=echo", "{}").response.status == 504);
  model.set_state(v1::ModelStatus::STATE_LOADING);
  CHECK(h.Call("POST", "/post/predict?id=echo", "{}").response.status == 503);
}

}  // namespace conclave::gateway
