// What llama-server's clients ask of a server besides text: /props, /slots, and its router's verbs.
#include <string>

#include "base/json.h"
#include "catch2/catch.hpp"
#include "gateway/dialects/utility/model_events.h"
#include "support/endpoint_probe.h"
#include "support/error_forms.h"
#include "support/gateway_harness.h"

namespace conclave::gateway {
namespace {

using base::JsonDocument;
using base::JsonValue;

void SetSlots(Harness& h, const std::string& model, int total, int busy) {
  h.admin.slots[model].set_total(total);
  h.admin.slots[model].set_busy(busy);
}

}  // namespace

TEST_CASE("props tell a model's defaults in llama-server's words") {
  Harness h;
  v1::ModelStatus& teacher = h.models.models[0];
  teacher.set_context_length(4096);
  v1::ModelDetails& details = *teacher.mutable_details();
  details.set_quantization("Q8_0");
  details.set_chat_template("{{ system }}");
  details.mutable_tokenizer()->set_bos_token("<s>");
  details.mutable_tokenizer()->set_eos_token("</s>");
  details.mutable_derived()->set_parameters_json(
      R"({"temperature":0.25,"top_k":7,"num_predict":9,"repeat_penalty":1.5,"seed":3})");
  (*details.mutable_metadata())["general.sampling.temp"] = "0.75";
  (*details.mutable_metadata())["general.sampling.top_p"] = "0.875";
  SetSlots(h, "teacher", 6, 1);

  const RecordingWriter answer = h.Call("GET", "/props");
  CHECK(answer.response.status == 200);
  CHECK(
      answer.response.body ==
      R"({"default_generation_settings":{"params":{"n_predict":9,"max_tokens":9,"seed":3,)"
      R"("temperature":0.25,"dynatemp_range":0,"dynatemp_exponent":1,"top_k":7,"top_p":0.875,)"
      R"("min_p":0.0,"top_n_sigma":-1,"xtc_probability":0,"xtc_threshold":1,"typical_p":1.0,)"
      R"("repeat_last_n":-1,"repeat_penalty":1.5,"presence_penalty":0.0,)"
      R"("frequency_penalty":0.0,"dry_multiplier":0,"mirostat":0,"n_keep":0,)"
      R"("ignore_eos":false,"stream":false,"n_probs":0,"min_keep":0,"samplers":["penalties",)"
      R"("temperature","top_k","typ_p","top_p","min_p"],"lora":[]},"n_ctx":4096},)"
      R"("total_slots":6,"model_alias":"teacher","model_ftype":"Q8_0","model_path":"teacher",)"
      R"("chat_template":"{{ system }}","chat_template_caps":{"supports_string_content":true,)"
      R"("supports_typed_content":true,"supports_system_role":true,"supports_tools":true,)"
      R"("supports_tool_calls":true,"supports_parallel_tool_calls":true,)"
      R"("supports_preserve_reasoning":true},"bos_token":"<s>","eos_token":"</s>",)"
      R"("is_sleeping":false,"modalities":{"vision":false,"audio":false,"video":false},)"
      R"("endpoint_slots":true,"endpoint_props":false,"endpoint_metrics":true,)"
      R"("build_info":"conclave-)" +
          Parsed(h.Call("GET", "/version").response.body).root().Get("version").AsString().value() +
          R"(-unknown"})");
}

TEST_CASE("props and slots of a model that is not in memory leave it there") {
  Harness h;
  h.models.models[0].set_state(v1::ModelStatus::STATE_UNLOADED);
  const RecordingWriter props = h.Call("GET", "/props");
  CHECK(props.response.body.find(R"("is_sleeping":true)") != std::string::npos);
  CHECK(h.Call("GET", "/slots").response.body == "[]");
  CHECK(h.admin.keep_requests.empty());
  CHECK(h.inference.requests.empty());

  h.models.models[0].set_state(v1::ModelStatus::STATE_LOADING);
  for (const char* const path : {"/props", "/slots"}) {
    const RecordingWriter loading = h.Call("GET", path);
    CHECK(loading.response.status == 503);
    CHECK(loading.response.body.find("unavailable_error") != std::string::npos);
  }
}

TEST_CASE("of several models the one that is named is told of") {
  Harness h;
  h.models.Add("org/pupil").set_context_length(77);
  SetSlots(h, "org/pupil", 1, 0);
  const RecordingWriter router = h.Call("GET", "/props");
  CHECK(router.response.body.find(R"({"role":"router","max_instances":2,)") == 0);
  CHECK(router.response.body.find(R"("default_generation_settings":{"params":{},"n_ctx":0})") !=
        std::string::npos);
  const RecordingWriter pupil = h.Call("GET", "/props?model=org%2Fpupil");
  CHECK(pupil.response.body.find(R"("n_ctx":77)") != std::string::npos);
  CHECK(h.Call("GET", "/slots").response.status == 400);
  CHECK(h.Call("GET", "/slots?model=org%2Fpupil").response.status == 200);
  CHECK(h.Call("GET", "/props?model=nobody").response.status == 404);
  CHECK(h.Call("GET", "/slots?model=nobody").response.status == 404);
  h.services.default_model = "org/pupil";
  CHECK(h.Call("GET", "/props").response.body == pupil.response.body);
}

TEST_CASE("slots say which are taken, and the full server is 503 for who asks") {
  Harness h;
  h.models.models[0].set_context_length(4096);
  SetSlots(h, "teacher", 2, 1);
  const JsonDocument slots = Parsed(h.Call("GET", "/slots?fail_on_no_slot=1").response.body);
  REQUIRE(slots.root().size() == 2);
  for (size_t id = 0; id < 2; ++id) {
    const JsonValue slot = slots.root().At(id);
    CHECK(slot.Get("id").AsInt().value() == static_cast<int64_t>(id));
    CHECK(slot.Get("is_processing").AsBool().value() == (id == 0));
    CHECK(slot.Get("next_token").At(0).Get("has_next_token").AsBool().value() == (id == 0));
    CHECK(slot.Get("n_ctx").AsInt().value() == 4096);
    CHECK(slot.Get("params").Get("temperature").AsNumber().value() == 1);
    CHECK(slot.Get("prompt").missing());
  }
  SetSlots(h, "teacher", 2, 2);
  CHECK(h.Call("GET", "/slots").response.status == 200);
  const RecordingWriter full = h.Call("GET", "/slots?fail_on_no_slot=1");
  CHECK(full.response.status == 503);
  CHECK(full.response.body ==
        R"({"error":{"message":"no slot available","type":"unavailable_error","param":null,)"
        R"("code":"no_slot"}})");
  const RecordingWriter changed = h.Call("POST", "/props", "{}");
  CHECK(changed.response.status == 501);
  CHECK(changed.response.body.find("not_supported_error") != std::string::npos);
}

TEST_CASE("a model's state stands in llama-server's words beside OpenAI's fields") {
  Harness h;
  v1::ModelStatus& teacher = h.models.models[0];
  const auto status = [&] {
    const JsonDocument list = Parsed(h.Call("GET", "/models").response.body);
    return list.root().Get("data").At(0).Get("status").ToJson();
  };
  CHECK(status() == R"({"value":"loaded"})");
  teacher.set_state(v1::ModelStatus::STATE_UNLOADED);
  CHECK(status() == R"({"value":"unloaded"})");
  teacher.set_state(v1::ModelStatus::STATE_FAILED);
  CHECK(status() == R"({"value":"unloaded","failed":true,"exit_code":1})");
  teacher.set_state(v1::ModelStatus::STATE_LOADING);
  teacher.set_progress(0.5);
  CHECK(status() ==
        R"({"value":"loading","progress":{"stages":["text_model"],"current":"text_model",)"
        R"("value":0.5}})");
}

TEST_CASE("the router's verb loads without waiting, and says what fails at once") {
  Harness h;
  const auto load = [&] { return h.Call("POST", "/models/load", R"({"model":"teacher"})"); };
  h.admin.kept = base::WithReason(base::Unavailable("is loading (3 %)"), "model_loading");
  CHECK(load().response.body == R"({"success":true,"model":"teacher","state":"loading"})");
  CHECK(h.admin.keep_requests.back().load_wait_ms() == 0);
  CHECK_FALSE(h.admin.keep_requests.back().has_keep_alive_ms());
  h.admin.kept = base::WithReason(base::Unavailable("no room"), "memory_in_use");
  CHECK(load().response.status == 503);
  // The administrator's own verb waits, and so does not take it for a success.
  h.admin.kept = base::WithReason(base::Unavailable("is loading (3 %)"), "model_loading");
  const std::string body = R"({"model":"teacher"})";
  CHECK(h.Call("POST", "/admin/models/load", body).response.status == 503);
  CHECK(h.admin.keep_requests.back().load_wait_ms() > 0);
  h.admin.kept = Proto<v1::KeepModelReply>(R"(model { name: "teacher" state: STATE_UNLOADED })");
  const RecordingWriter gone = h.Call("POST", "/models/unload", body);
  CHECK(gone.response.body ==
        R"({"success":true,"model":"teacher","state":"unloaded","in_use":false})");
  CHECK(h.admin.keep_requests.back().keep_alive_ms() == 0);
}

TEST_CASE("model events are what has changed since, once") {
  std::vector<v1::ModelStatus> models;
  models.push_back(Proto<v1::ModelStatus>(R"(name: "a" state: STATE_READY)"));
  models.push_back(Proto<v1::ModelStatus>(R"(name: "b" state: STATE_UNLOADED)"));
  utility::ModelEvents events(models);
  CHECK(events.Since(models).empty());
  models[1].set_state(v1::ModelStatus::STATE_LOADING);
  models[1].set_progress(0.25);
  CHECK(events.Since(models) ==
        R"(data: {"model":"b","event":"model_status","data":{"status":"loading","progress":)"
        R"({"stages":["text_model"],"current":"text_model","value":0.25}}})"
        "\n\n");
  CHECK(events.Since(models).empty());
  models[1].set_state(v1::ModelStatus::STATE_FAILED);
  models.erase(models.begin());
  models.push_back(Proto<v1::ModelStatus>(R"(name: "c" state: STATE_READY)"));
  CHECK(events.Since(models) ==
        R"(data: {"model":"b","event":"model_status","data":{"status":"unloaded","failed":true,)"
        R"("exit_code":1}})"
        "\n\n"
        R"(data: {"model":"c","event":"model_status","data":{"status":"loaded"}})"
        "\n\n"
        R"(data: {"model":"a","event":"model_remove"})"
        "\n\n");
}

TEST_CASE("who listens to the models hears of them until it goes, or the server does") {
  for (const bool drains : {false, true}) {
    Harness h;
    h.services.times.keep_alive = std::chrono::milliseconds(1);
    bool draining = false;
    h.services.draining = [&] { return draining; };
    const RecordingWriter answer = h.Call("GET", "/models/sse", "", [&](RecordingWriter& writer) {
      const bool told = writer.response.body.find("unloaded") != std::string::npos;
      h.models.models[0].set_state(v1::ModelStatus::STATE_UNLOADED);
      if (told && drains) draining = true;
      if (told && !drains) writer.reason = CancelReason::kClientGone;
    });
    CHECK(answer.response.status == 200);
    CHECK(answer.response.content_type == "text/event-stream");
    CHECK(answer.response.body.find(": keep-alive\n\n") == 0);
    CHECK(SseData(answer.response.body) ==
          std::vector<std::string>{
              R"({"model":"teacher","event":"model_status","data":{"status":"unloaded"}})"});
    CHECK(answer.ended == drains);
  }
}

}  // namespace conclave::gateway
