#include "catch2/catch.hpp"
#include "gateway/dialects/llm_serving/quirks.h"
#include "gateway/dialects/openai/kt_legacy.h"
#include "support/gateway_harness.h"

namespace conclave::gateway {

TEST_CASE("kt-legacy: old spellings are read where fields stand, and nowhere else") {
  CHECK(openai::Respelled(R"({"meta_data":{"meta_data":"x"},"max_propmp_tokens":5})") ==
        R"({"metadata":{"meta_data":"x"},"max_prompt_tokens":5})");
  CHECK(openai::Respelled(R"({"thread":{"messages":[{"meta_data":{}}]}})") ==
        R"({"thread":{"messages":[{"metadata":{}}]}})");
  CHECK(openai::Respelled(R"({"tools":[{"meta_data":1}]})") == R"({"tools":[{"meta_data":1}]})");
  CHECK(openai::Respelled("{") == "{");
}

TEST_CASE("kt-legacy: of a run's stream the run and the text are sent") {
  CHECK(openai::KtSendsEvent("thread.run.created"));
  CHECK(openai::KtSendsEvent("thread.run.completed"));
  CHECK(openai::KtSendsEvent("thread.message.delta"));
  CHECK(openai::KtSendsEvent("error"));
  CHECK_FALSE(openai::KtSendsEvent("thread.run.queued"));
  CHECK_FALSE(openai::KtSendsEvent("thread.run.step.created"));
  CHECK_FALSE(openai::KtSendsEvent("thread.message.created"));
}

TEST_CASE("llm-serving: a conversation is a bare prompt only when no message has a role") {
  const auto prompt = [](const std::string& messages) {
    return llm_serving::BarePrompt(R"({"messages":)" + messages + "}");
  };
  CHECK(prompt(R"([{"content":"a"},{"content":"b"}])") == "a\nb");
  CHECK_FALSE(prompt(R"([{"content":"a"},{"role":"user","content":"b"}])"));
  CHECK_FALSE(prompt(R"([{"content":[{"type":"text","text":"a"}]}])"));
  CHECK_FALSE(prompt("[]"));
}

TEST_CASE("llm-serving: vectors have 512 dimensions where the model has more") {
  Harness h;
  h.profile = CompatProfile::kLlmServing;
  v1::ModelStatus& model = h.models.Add("big");
  model.clear_capabilities();
  model.add_capabilities("embedding");
  model.mutable_details()->set_embedding_length(768);
  h.embedding.reply.vectors.emplace_back();
  CHECK(h.Call("POST", "/embeddings", R"({"input":["a"]})").response.status == 200);
  CHECK(h.embedding.requests.at(0).model() == "big");
  CHECK(h.embedding.requests.at(0).dimensions() == 512);
  model.mutable_details()->set_embedding_length(384);
  h.Call("POST", "/embeddings", R"({"input":["a"]})");
  CHECK(h.embedding.requests.at(1).dimensions() == 0);
  h.Call("POST", "/embeddings", R"({"input":["a"],"dimensions":64})");
  CHECK(h.embedding.requests.at(2).dimensions() == 64);
}

TEST_CASE("kt-legacy: Ollama's paths have one model, whatever it is called") {
  Harness h;
  h.profile = CompatProfile::kKtLegacy;
  h.inference.events = TextScript({"a"});
  CHECK(h.Call("POST", "/api/generate", R"({"model":"any","prompt":"x"})").response.status == 200);
  CHECK(h.Call("POST", "/api/chat", R"({"model":"any","messages":[{"role":"user","content":"x"}]})")
            .response.status == 200);
  REQUIRE(h.inference.requests.size() == 2);
  for (const auto& request : h.inference.requests) CHECK(request.model() == "teacher");
  h.profile = CompatProfile::kStrict;
  CHECK(h.Call("POST", "/api/generate", R"({"model":"any","prompt":"x"})").response.status == 404);
}

}  // namespace conclave::gateway
