#include "catch2/catch.hpp"
#include "gateway/dialects/llama_stack/request.h"
#include "support/gateway_harness.h"

namespace conclave::gateway::llama_stack {
namespace {

v1::GenerateRequest Decoded(const Wire& wire, const std::string& members) {
  const auto request = DecodeChat(
      wire, R"({"model":"m","messages":[{"role":"user","content":"Hi"}],)" + members + "}", "");
  INFO(request.status().ToString());
  REQUIRE(request.ok());
  return request->generate;
}

absl::Status Refusal(const Wire& wire, const std::string& members) {
  return DecodeChat(wire,
                    R"({"model":"m","messages":[{"role":"user","content":"Hi"}],)" + members + "}",
                    "")
      .status();
}

v1::SamplingParams Sampling(const Wire& wire, const std::string& params) {
  return Decoded(wire, R"("sampling_params":)" + params).sampling();
}

}  // namespace

TEST_CASE("2024: a named strategy decides, without one a temperature does") {
  CHECK(Sampling(kWire2024, "{}").temperature() == 0.0f);
  CHECK(Sampling(kWire2024, R"({"strategy":"greedy","temperature":0.7})").temperature() == 0.0f);
  const auto top_p = Sampling(kWire2024, R"({"strategy":"top_p","temperature":0.7})");
  CHECK(top_p.temperature() == 0.7f);
  CHECK(top_p.top_p() == 0.95f);
  CHECK_FALSE(top_p.has_top_k());
  const auto top_k = Sampling(kWire2024, R"({"strategy":"top_k","temperature":0.7,"top_k":5})");
  CHECK(top_k.top_k() == 5);
  CHECK_FALSE(top_k.has_top_p());
  CHECK(Sampling(kWire2024, R"({"temperature":0.7})").temperature() == 0.7f);
}

TEST_CASE("2025: what a tagged strategy leaves out is the model's own") {
  CHECK(Sampling(kWire2025, "{}").temperature() == 0.0f);
  const auto top_p = Sampling(kWire2025, R"({"strategy":{"type":"top_p","top_p":0.5}})");
  CHECK(top_p.top_p() == 0.5f);
  CHECK_FALSE(top_p.has_temperature());
  const auto top_k = Sampling(kWire2025, R"({"strategy":{"type":"top_k","top_k":3}})");
  CHECK(top_k.top_k() == 3);
  CHECK_FALSE(top_k.has_temperature());
  CHECK_FALSE(
      Refusal(kWire2025, R"("sampling_params":{"strategy":{"type":"top_k","top_k":0}})").ok());
}

TEST_CASE("max_tokens 0 is as much as the model can") {
  CHECK_FALSE(Decoded(kWire2024, R"("sampling_params":{"max_tokens":0})").stop().has_max_tokens());
  CHECK(Decoded(kWire2024, R"("sampling_params":{"max_tokens":7})").stop().max_tokens() == 7);
}

TEST_CASE("parameters become a JSON schema") {
  const auto request = Decoded(kWire2024,
                               R"("tools":[{"tool_name":"f","description":"d","parameters":{
           "a":{"param_type":"str","description":"A"},
           "b":{"param_type":"list[int]","required":false,"default":[1]},
           "c":{"param_type":"Path"},
           "d":{"param_type":"array","items":{"type":"number"}}}}])");
  CHECK(request.chat().tools(0).parameters_json() ==
        R"({"type":"object","properties":{"a":{"type":"string","description":"A"},)"
        R"("b":{"type":"array","items":{"type":"integer"},"default":[1]},"c":{},)"
        R"("d":{"type":"array","items":{"type":"number"}}},"required":["a","c","d"]})");
}

TEST_CASE("a built-in tool is known by its name alone") {
  const auto request = Decoded(kWire2024, R"("tools":[{"tool_name":"code_interpreter"}])");
  const v1::Tool& tool = request.chat().tools(0);
  CHECK_FALSE(tool.description().empty());
  CHECK(tool.parameters_json().find(R"("required":["code"])") != std::string::npos);
}

TEST_CASE("a choice is a word or the name of a tool, and the two places for it agree") {
  const std::string tools = R"("tools":[{"tool_name":"f"}],)";
  const auto mode = [&](const std::string& rest) {
    return Decoded(kWire2025, tools + rest).chat().tool_choice().mode();
  };
  CHECK(mode(R"("tool_choice":"required")") == v1::ToolChoice::MODE_REQUIRED);
  CHECK(mode(R"("tool_config":{"tool_choice":"none"})") == v1::ToolChoice::MODE_NONE);
  CHECK(mode(R"("tool_config":{"tool_choice":"f"})") == v1::ToolChoice::MODE_NAMED);
  CHECK(mode(R"("tool_choice":"auto","tool_config":{"tool_choice":"auto"})") ==
        v1::ToolChoice::MODE_AUTO);
  CHECK_FALSE(
      Refusal(kWire2025, tools + R"("tool_choice":"none","tool_config":{"tool_choice":"auto"})")
          .ok());
  CHECK_FALSE(Refusal(kWire2025, tools + R"("tool_choice":"g")").ok());
}

TEST_CASE("formats are a schema, the text of a grammar, or its rules") {
  CHECK(Decoded(kWire2025,
                R"("response_format":{"type":"json_schema","json_schema":{"type":"null"}})")
            .response_format()
            .json_schema()
            .schema_json() == R"({"type":"null"})");
  const auto gbnf = [](const std::string& bnf) {
    return Decoded(kWire2025, R"("response_format":{"type":"grammar","bnf":)" + bnf + "}")
        .response_format()
        .gbnf();
  };
  CHECK(gbnf(R"("root ::= \"a\"")") == R"(root ::= "a")");
  CHECK(gbnf(R"({"grammar":"root ::= \"a\""})") == R"(root ::= "a")");
  CHECK(gbnf(R"({"root":"x","x":"\"a\""})") == "root ::= x\nx ::= \"a\"\n");
}

TEST_CASE("an assistant's turn of calls needs no content") {
  const auto request =
      DecodeChat(kWire2025,
                 R"({"model_id":"m","messages":[{"role":"user","content":"a"},{"role":"assistant",
          "stop_reason":"end_of_turn","tool_calls":[{"call_id":"1","tool_name":"f",
          "arguments":{"a":1}}]},{"role":"tool","call_id":"1","content":"r"}]})",
                 "");
  REQUIRE(request.ok());
  const v1::ChatMessage& call = request->generate.chat().messages(1);
  CHECK(call.content_is_null());
  CHECK(call.tool_calls(0).arguments() == R"({"a":1})");
  CHECK(request->generate.chat().messages(2).tool_call_id() == "1");
}

TEST_CASE("a stream that is taken up elsewhere starts once") {
  Harness h;
  h.inference.events = TextScript({"a"});
  h.inference.events.insert(h.inference.events.begin(), h.inference.events.front());
  const RecordingWriter answer =
      h.Call("POST", "/inference/chat_completion",
             R"({"model":"teacher","messages":[{"role":"user","content":"a"}],"stream":true})");
  size_t starts = 0;
  for (const std::string& data : SseData(answer.response.body)) {
    starts += data.find(R"("event_type":"start")") != std::string::npos ? 1 : 0;
  }
  CHECK(starts == 1);
}

TEST_CASE("routes are told by api and as a list") {
  Harness h;
  const std::string by_api = h.Call("GET", "/routes/list").response.body;
  CHECK(by_api.find(R"("route":"/inference/chat_completion","method":"POST")") !=
        std::string::npos);
  const auto document = base::JsonDocument::Parse(by_api);
  REQUIRE(document.ok());
  CHECK(document->root().Get("inference").size() > 0);
  CHECK(document->root().Get("models").size() > 0);
  CHECK(h.Call("GET", "/alpha/routes/list").response.body == by_api);
  const std::string list = h.Call("GET", "/v1/inspect/routes").response.body;
  CHECK(base::JsonDocument::Parse(list)->root().Get("data").size() == h.router.routes().size());
}

TEST_CASE("the entries of a batch share all but their prompts") {
  const auto requests = DecodeChatBatch(
      kWire2024,
      R"({"model":"m","sampling_params":{"strategy":"top_p","temperature":0.5,"max_tokens":7},
          "tools":[{"tool_name":"f"}],"tool_choice":"required","messages_batch":[
          [{"role":"user","content":"a"}],
          [{"role":"system","content":"s"},{"role":"user","content":"b"}]]})",
      "be kind");
  REQUIRE(requests.ok());
  REQUIRE(requests->size() == 2);
  for (const v1::GenerateRequest& request : *requests) {
    CHECK(request.model() == "m");
    CHECK(request.sampling().temperature() == 0.5f);
    CHECK(request.stop().max_tokens() == 7);
    CHECK(request.chat().tools(0).name() == "f");
    CHECK(request.chat().tool_choice().mode() == v1::ToolChoice::MODE_REQUIRED);
    CHECK(request.chat().messages_size() == 2);
  }
  CHECK((*requests)[0].chat().messages(0).content(0).text() == "be kind");
  CHECK((*requests)[0].chat().messages(1).content(0).text() == "a");
  CHECK((*requests)[1].chat().messages(0).content(0).text() == "s");
}

TEST_CASE("a batch calls the model once for each entry") {
  Harness h;
  h.inference.events = TextScript({"a", "b"});
  const RecordingWriter answer = h.Call("POST", "/v1/inference/batch-completion",
                                        R"({"model_id":"teacher","content_batch":["x","y","z"]})");
  CHECK(answer.response.body ==
        R"({"batch":[{"content":"ab","stop_reason":"end_of_turn","logprobs":null},)"
        R"({"content":"ab","stop_reason":"end_of_turn","logprobs":null},)"
        R"({"content":"ab","stop_reason":"end_of_turn","logprobs":null}],"metrics":[)"
        R"({"metric":"prompt_tokens","value":15,"unit":"tokens"},)"
        R"({"metric":"completion_tokens","value":6,"unit":"tokens"},)"
        R"({"metric":"total_tokens","value":21,"unit":"tokens"}]})");
  REQUIRE(h.inference.requests.size() == 3);
  CHECK(h.inference.requests[2].text() == "z");
}

}  // namespace conclave::gateway::llama_stack
