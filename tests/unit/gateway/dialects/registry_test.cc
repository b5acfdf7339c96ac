// Models that come and go: Ollama's create, copy, delete, blobs and pull, OpenAI's DELETE, and the
// administrator's routes.
#include "gateway/dialects/registry.h"

#include <string>

#include "base/json.h"
#include "catch2/catch.hpp"
#include "gateway/dialects/ollama/create_request.h"
#include "gateway/dialects/ollama/modelfile.h"
#include "support/gateway_harness.h"

namespace conclave::gateway {
namespace {

const std::string kDigest = "sha256:" + std::string(64, 'a');

std::string BodyOf(Harness& h, const std::string& method, const std::string& path,
                   const std::string& body, int status) {
  const RecordingWriter answer = h.Call(method, path, body);
  CHECK(answer.response.status == status);
  return answer.response.body;
}

std::string Error(const std::string& text) { return R"({"error":")" + text + R"("})"; }

}  // namespace

TEST_CASE("ollama creates a model from another and says so in lines") {
  Harness h;
  h.store.replies["RegisterModel"] = R"(name: "pirate")";
  const std::string body =
      R"({"model":"pirate:latest","from":"Teacher","system":"Arr.","parameters":{"top_k":3},)"
      R"("messages":[{"role":"user","content":"hi"}],"license":["a","b"])";
  const RecordingWriter answer = h.Call("POST", "/api/create", body + "}");
  CHECK(answer.response.content_type == "application/x-ndjson");
  CHECK(answer.response.body == "{\"status\":\"writing manifest\"}\n{\"status\":\"success\"}\n");
  REQUIRE(h.store.requests.size() == 1);
  const auto request = Proto<v1::RegisterModelRequest>(h.store.requests[0].second);
  const v1::ModelRegistration& made = request.registration();
  CHECK(request.replace());
  CHECK(made.name() == "pirate");
  CHECK(made.derived().base() == "teacher");
  CHECK(made.derived().system() == "Arr.");
  CHECK(made.derived().parameters_json() == R"({"top_k":3})");
  CHECK(made.derived().messages(0).content(0).text() == "hi");
  CHECK(made.derived().license() == "a\nb");
  CHECK(BodyOf(h, "POST", "/api/create", body + R"(,"stream":false})", 200) ==
        R"({"status":"success"})");
}

TEST_CASE("ollama creates a model from a file by its digest") {
  Harness h;
  h.store.replies["RegisterModel"] = R"(name: "mine")";
  const std::string body = R"({"model":"mine","files":{"m.gguf":")" + kDigest + R"("}})";
  CHECK(BodyOf(h, "POST", "/api/create", body, 200) ==
        "{\"status\":\"using existing layer " + kDigest +
            "\"}\n{\"status\":\"writing manifest\"}\n{\"status\":\"success\"}\n");
  const auto request = Proto<v1::RegisterModelRequest>(h.store.requests[0].second);
  CHECK(request.registration().path() == "sha256-" + std::string(64, 'a'));
  CHECK_FALSE(request.registration().has_derived());
}

TEST_CASE("what cannot be created is refused by name") {
  Harness h;
  const auto create = [&](const std::string& fields, int status) {
    return BodyOf(h, "POST", "/api/create", R"({"model":"m")" + fields + "}", status);
  };
  CHECK(BodyOf(h, "POST", "/api/create", "{}", 400) == Error("model is required"));
  CHECK(create("", 400) == Error("neither 'from' or 'files' was specified"));
  CHECK(create(R"(,"from":"ghost")", 404) == Error("model 'ghost' not found"));
  CHECK(create(R"(,"from":"teacher","files":{"x":")" + kDigest + R"("})", 400) ==
        Error("cannot specify both 'from' and 'files'"));
  CHECK(create(R"(,"files":{"x":"sha256:../../etc/passwd"})", 400) ==
        Error("invalid digest: expected sha256:<64 hex digits>"));
  CHECK(create(R"(,"from":"teacher","quantize":"q4_K_M")", 501).find("quantize") !=
        std::string::npos);
  CHECK(create(R"(,"from":"teacher","adapters":{"a":"b"})", 501) == Error("adapters: not served"));
  CHECK(create(R"(,"from":"teacher","messages":[{"role":"tool","content":""}])", 400) ==
        Error("messages[0].role: expected system, user or assistant"));
  CHECK(h.store.requests.empty());
  h.store.errors["RegisterModel"] =
      base::WithParam(base::InvalidArgument("Invalid 'name': expected 1 to 200 letters"), "name");
  CHECK(create(R"(,"from":"teacher")", 400) == Error("Invalid 'name': expected 1 to 200 letters"));
  h.services.store = nullptr;
  CHECK(create(R"(,"from":"teacher")", 501).find("assistant-store") != std::string::npos);
}

TEST_CASE("a copy is a model of its own, and a deleted one is unregistered by its own name") {
  Harness h;
  h.store.replies["RegisterModel"] = R"(name: "copy")";
  h.store.replies["UnregisterModel"] = R"(id: "teacher")";
  CHECK(BodyOf(h, "POST", "/api/copy", R"({"source":"TEACHER:latest","destination":"copy"})", 200)
            .empty());
  const auto request = Proto<v1::RegisterModelRequest>(h.store.requests[0].second);
  CHECK(request.registration().name() == "copy");
  CHECK(request.registration().derived().base() == "teacher");
  CHECK(BodyOf(h, "POST", "/api/copy", R"({"source":"ghost","destination":"copy"})", 404) ==
        Error("model 'ghost' not found"));
  CHECK(BodyOf(h, "POST", "/api/copy", R"({"source":"teacher","destination":"Teacher"})", 400) ==
        Error(R"(destination: \"Teacher\" is the model itself)"));

  CHECK(BodyOf(h, "DELETE", "/api/delete", R"({"model":"Teacher:latest"})", 200).empty());
  CHECK(h.store.requests.back().second.find(R"(name: "teacher")") != std::string::npos);
  CHECK(BodyOf(h, "DELETE", "/api/delete", R"({"name":"ghost"})", 404) ==
        Error("model 'ghost' not found"));
  // Not registered, and there all the same.
  h.store.replies.erase("UnregisterModel");
  CHECK(BodyOf(h, "DELETE", "/api/delete", R"({"model":"teacher"})", 403) ==
        Error("the model `teacher` is served by its workers' own configuration"));
}

TEST_CASE("blobs are found and taken piece by piece under their digest") {
  Harness h;
  const std::string path = "/api/blobs/" + kDigest;
  CHECK(h.Call("HEAD", path).response.status == 404);
  CHECK(h.Call("POST", path, "some bytes").response.status == 201);
  CHECK(h.files.blobs[kDigest] == "some bytes");
  CHECK(h.Call("HEAD", path).response.status == 200);
  CHECK(h.Call("POST", path, "some bytes").response.status == 200);
  h.files.blobs.clear();
  CHECK(BodyOf(h, "POST", path, "bad", 400) == Error("digest mismatch, expected " + kDigest));
  CHECK(h.files.blobs.empty());
  CHECK(BodyOf(h, "POST", "/api/blobs/sha256:abc", "x", 400) ==
        Error("invalid digest: expected sha256:<64 hex digits>"));
  h.files.refusal = base::WithReason(base::FailedPrecondition("no --blob-dir"), "no_blob_folder");
  CHECK(h.Call("HEAD", path).response.status == 400);
  CHECK(BodyOf(h, "POST", path, "x", 400) == Error("no --blob-dir"));
  h.files.workers.clear();
  CHECK(h.Call("HEAD", path).response.status == 503);
}

TEST_CASE("a pull tells its progress and ends with a registered model") {
  Harness h;
  h.store.replies["RegisterModel"] = R"(name: "tiny")";
  h.files.pull = {R"(status: "pulling manifest")",
                  R"(status: "pulling aaaa" digest: ")" + kDigest + R"(" total: 10)",
                  R"(status: "pulling aaaa" digest: ")" + kDigest + R"(" total: 10 completed: 10)",
                  R"(status: "verifying sha256 digest")",
                  R"(pulled { digest: ")" + kDigest + R"(" path: "sha256-aa"
                     derived { system: "Arr." } })"};
  const std::string layer = R"({"status":"pulling aaaa","digest":")" + kDigest + R"(","total":10)";
  CHECK(BodyOf(h, "POST", "/api/pull", R"({"model":"tiny:latest"})", 200) ==
        "{\"status\":\"pulling manifest\"}\n" + layer + "}\n" + layer +
            ",\"completed\":10}\n{\"status\":\"verifying sha256 digest\"}\n"
            "{\"status\":\"writing manifest\"}\n{\"status\":\"success\"}\n");
  const auto request = Proto<v1::RegisterModelRequest>(h.store.requests[0].second);
  CHECK(request.registration().name() == "tiny");
  CHECK(request.registration().path() == "sha256-aa");
  CHECK(request.registration().derived().system() == "Arr.");
  CHECK(BodyOf(h, "POST", "/api/pull", R"({"model":"tiny","stream":false})", 200) ==
        R"({"status":"success"})");
}

TEST_CASE("a pull that fails says so: by its status, or in the middle by its last line") {
  Harness h;
  h.files.refusal = base::WithReason(base::NotFound("no source has \"tiny\""), "model_not_found");
  CHECK(BodyOf(h, "POST", "/api/pull", R"({"model":"tiny"})", 404) ==
        Error(R"(no source has \"tiny\")"));
  h.files.pull = {R"(status: "pulling manifest")"};
  CHECK(BodyOf(h, "POST", "/api/pull", R"({"model":"tiny"})", 200) ==
        "{\"status\":\"pulling manifest\"}\n" + Error(R"(no source has \"tiny\")") + "\n");
}

TEST_CASE("a model's defaults stand in front of Ollama's, and a request's in front of both") {
  Harness h;
  h.inference.events = TextScript({"x"});
  h.models.models[0].mutable_details()->mutable_derived()->set_parameters_json(
      R"({"temperature":0.1,"top_k":7})");
  const std::string head = R"({"model":"teacher","prompt":"hi","stream":false)";
  CHECK(h.Call("POST", "/api/generate", head + R"(,"options":{"top_k":3}})").response.status ==
        200);
  const v1::SamplingParams& sampling = h.inference.requests[0].sampling();
  CHECK_FALSE(sampling.has_temperature());
  CHECK(sampling.top_k() == 3);
  CHECK(sampling.top_p() == 0.9f);
}

TEST_CASE("the recipe of a derived model is shown") {
  v1::ModelStatus model;
  model.set_name("pirate");
  v1::DerivedModel* derived = model.mutable_details()->mutable_derived();
  derived->set_base("teacher");
  derived->set_system("Arr.");
  derived->set_parameters_json(R"({"stop":["a","b"],"temperature":0.5})");
  v1::ChatMessage* example = derived->add_messages();
  example->set_role(v1::ROLE_ASSISTANT);
  example->add_content()->set_text("Ahoy");
  CHECK(ollama::ParametersText(derived->parameters_json()) ==
        "stop                           \"a\"\n"
        "stop                           \"b\"\n"
        "temperature                    0.5");
  CHECK(ollama::Modelfile(model) ==
        "FROM teacher:latest\nSYSTEM \"\"\"Arr.\"\"\"\nPARAMETER stop \"a\"\nPARAMETER stop \"b\"\n"
        "PARAMETER temperature 0.5\nMESSAGE assistant \"\"\"Ahoy\"\"\"");
}

TEST_CASE("OpenAI's clients delete what was registered") {
  Harness h;
  h.store.replies["UnregisterModel"] = R"(id: "teacher")";
  CHECK(BodyOf(h, "DELETE", "/v1/models/teacher", "", 200) ==
        R"({"id":"teacher","object":"model","deleted":true})");
  CHECK(h.Call("DELETE", "/v1/models/ghost").response.status == 404);
  h.store.errors["UnregisterModel"] =
      base::WithReason(base::FailedPrecondition("\"teacher\" is in use"), "model_in_use");
  CHECK(BodyOf(h, "DELETE", "/v1/models/teacher", "", 400).find("model_in_use") !=
        std::string::npos);
}

TEST_CASE("an administrator registers, lists and removes models") {
  Harness h;
  h.store.replies["RegisterModel"] =
      R"(name: "big" aliases: "b" path: "big.gguf" created_at: 7 metadata { key: "k" value: "v" })";
  h.store.replies["ListRegistrations"] = R"(registrations { name: "pirate" created_at: 7
      derived { base: "teacher" system: "Arr." parameters_json: "{\"top_k\":3}" } })";
  h.store.replies["UnregisterModel"] = R"(id: "a/b")";
  const std::string body =
      R"({"name":"big","aliases":["b"],"path":"big.gguf","config":{"x":1},"metadata":{"k":"v"}})";
  CHECK(BodyOf(h, "POST", "/admin/models", body, 200) ==
        R"({"name":"big","object":"model.registration","created":7,"aliases":["b"],)"
        R"("path":"big.gguf","model_type":"llm","metadata":{"k":"v"}})");
  const auto request = Proto<v1::RegisterModelRequest>(h.store.requests[0].second);
  CHECK_FALSE(request.replace());
  CHECK(request.registration().config_json() == R"({"x":1})");
  const std::string listed = BodyOf(h, "GET", "/admin/models", "", 200);
  CHECK(listed.find(R"("derived":{"base":"teacher","system":"Arr.","parameters":{"top_k":3})") !=
        std::string::npos);
  CHECK(listed.find(R"({"name":"teacher","state":"ready","registered":false})") !=
        std::string::npos);
  CHECK(BodyOf(h, "DELETE", "/admin/models/a/b", "", 200) ==
        R"({"name":"a/b","object":"model.registration","deleted":true})");
  CHECK(BodyOf(h, "POST", "/admin/models", R"({"name":7})", 400).find(R"("param":"name")") !=
        std::string::npos);
  CHECK(h.Call("GET", "/admin/models/teacher/logs?limit=x").response.status == 400);
}

TEST_CASE("every route that changes the models is an administrator's") {
  const Harness h;
  int admin = 0;
  for (const Route* route : h.router.routes()) admin += route->options.admin;
  CHECK(admin >= 13);
  for (const auto& [method, path] : {std::pair{"POST", "/api/create"},
                                     {"POST", "/api/copy"},
                                     {"DELETE", "/api/delete"},
                                     {"POST", "/api/pull"},
                                     {"DELETE", "/v1/models/x"},
                                     {"GET", "/admin/models"}}) {
    INFO(method << " " << path);
    CHECK(h.router.Find(method, path).route->options.admin);
  }
}

}  // namespace conclave::gateway
