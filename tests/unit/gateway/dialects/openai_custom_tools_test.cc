#include "gateway/dialects/openai/custom_tools.h"

#include <string>
#include <vector>

#include "catch2/catch.hpp"
#include "gateway/dialects/openai/chat_request.h"
#include "gateway/http/status_map.h"
#include "support/gateway_harness.h"

namespace conclave::gateway::openai {
namespace {

const std::string kPath = "/v1/chat/completions";
const std::string kTool = R"({"type":"custom","custom":{"name":"sql","description":"Runs it."}})";

std::string Body(const std::string& extra) {
  return R"({"model":"teacher","messages":[{"role":"user","content":"hi"}],)" + extra + "}";
}

std::string WithFormat(const std::string& format) {
  return Body(R"("tools":[{"type":"custom","custom":{"name":"sql","format":)" + format + "}}]");
}

v1::ChatPrompt Decoded(const std::string& body) {
  const auto request = DecodeChatRequest(body, "");
  INFO(body << " " << std::string(request.status().ToString()));
  REQUIRE(request.ok());
  return request->generate.chat();
}

std::string Refused(const std::string& body) {
  const auto request = DecodeChatRequest(body, "");
  INFO(body);
  REQUIRE_FALSE(request.ok());
  return ErrorInfoOf(request.status()).param;
}

v1::GenerateEvent ToolDelta(const std::string& call) {
  return Proto<v1::GenerateEvent>("delta { tool_call { " + call + " } }");
}

// One call of `name` with these fragments of arguments.
void Script(Harness& h, const std::string& name, const std::vector<std::string>& fragments) {
  std::vector<v1::GenerateEvent> script = TextScript({});
  v1::GenerateEvent finished = script.back();
  finished.mutable_finished()->set_reason(v1::Finished::REASON_TOOL_CALLS);
  script.back() = ToolDelta("state: STATE_STARTED id: \"call_a\" name: \"" + name + "\"");
  for (const std::string& fragment : fragments) {
    script.push_back(ToolDelta("state: STATE_IN_PROGRESS"));
    script.back().mutable_delta()->mutable_tool_call()->set_arguments(fragment);
  }
  script.push_back(ToolDelta("state: STATE_SUCCEEDED"));
  script.push_back(finished);
  h.inference.events = script;
}

std::vector<std::string> ToolDeltas(const RecordingWriter& answer) {
  std::vector<std::string> deltas;
  for (const std::string& data : SseData(answer.response.body)) {
    const auto document = base::JsonDocument::Parse(data);
    if (!document.ok()) continue;  // [DONE]
    const base::JsonValue choice = document->root().Get("choices").At(0);
    const base::JsonValue calls = choice.Get("delta").Get("tool_calls");
    if (calls.present()) deltas.push_back(calls.ToJson());
  }
  return deltas;
}

}  // namespace

TEST_CASE("a custom tool is a strict function of one text") {
  const v1::ChatPrompt chat = Decoded(Body(R"("tools":[)" + kTool + "]"));
  REQUIRE(chat.tools_size() == 1);
  CHECK(chat.tools(0).name() == "sql");
  CHECK(chat.tools(0).description() == "Runs it.");
  CHECK(chat.tools(0).strict());
  CHECK(chat.tools(0).parameters_json() ==
        R"({"type":"object","properties":{"input":{"type":"string"}},"required":["input"],)"
        R"("additionalProperties":false})");
  CHECK(Decoded(WithFormat(R"({"type":"text"})")).tools(0).parameters_json() ==
        chat.tools(0).parameters_json());
}

TEST_CASE("a custom tool's expression is of the whole input") {
  const v1::Tool tool = Decoded(WithFormat(R"({"type":"grammar","grammar":)"
                                           R"({"syntax":"regex","definition":"a|b"}})"))
                            .tools(0);
  CHECK(tool.parameters_json().find(R"("pattern":"^(?:a|b)$")") != std::string::npos);
  CHECK(tool.place() == "tools[0].custom.format");
}

TEST_CASE("what a custom tool cannot be is named") {
  const std::string grammar = "tools[0].custom.format.grammar";
  CHECK(Refused(WithFormat(
            R"({"type":"grammar","grammar":{"syntax":"lark","definition":"start: \"a\""}})")) ==
        grammar + ".syntax");
  CHECK(Refused(WithFormat(R"({"type":"grammar","grammar":{"syntax":"regex"}})")) ==
        grammar + ".definition");
  CHECK(Refused(WithFormat(R"({"type":"grammar"})")) == grammar);
  CHECK(Refused(WithFormat(R"({"type":"json"})")) == "tools[0].custom.format.type");
  CHECK(Refused(Body(R"("tools":[{"type":"custom"}])")) == "tools[0].custom");
  CHECK(Refused(Body(R"("tools":[{"type":"custom","custom":{"name":"a b"}}])")) ==
        "tools[0].custom.name");
  CHECK(Refused(Body(R"("tools":[)" + kTool +
                     R"(],"tool_choice":{"type":"custom","custom":{"name":"x"}})")) ==
        "tool_choice.custom.name");
}

TEST_CASE("a custom tool is chosen, allowed and answered under its own word") {
  const std::string tools =
      R"("tools":[)" + kTool + R"(,{"type":"function","function":{"name":"f"}}],"tool_choice":)";
  const v1::ChatPrompt named =
      Decoded(Body(tools + R"({"type":"custom","custom":{"name":"sql"}})"));
  CHECK(named.tool_choice().mode() == v1::ToolChoice::MODE_NAMED);
  CHECK(named.tool_choice().name() == "sql");
  const v1::ChatPrompt allowed =
      Decoded(Body(tools + R"({"type":"allowed_tools","allowed_tools":{"mode":"required",)"
                           R"("tools":[{"type":"custom","custom":{"name":"sql"}}]}})"));
  REQUIRE(allowed.tools_size() == 1);
  CHECK(allowed.tools(0).name() == "sql");
  const v1::ChatPrompt answered = Decoded(R"({"model":"m","messages":[
      {"role":"user","content":"hi"},
      {"role":"assistant","tool_calls":[{"id":"call_1","type":"custom",
        "custom":{"name":"sql","input":"select \"a\"\n"}}]},
      {"role":"tool","tool_call_id":"call_1","content":"1"}]})");
  CHECK(answered.messages(1).tool_calls(0).name() == "sql");
  CHECK(answered.messages(1).tool_calls(0).arguments() == R"({"input":"select \"a\"\u000a"})");
}

TEST_CASE("a call of a custom tool has its input as text, beside calls of functions") {
  Harness h;
  const std::string tools = R"("tools":[)" + kTool + R"(,{"type":"function",)" +
                            R"("function":{"name":"f","parameters":{"type":"object"}}}])";
  Script(h, "sql", {R"({"inp)", R"(ut": "a\)", R"(n\u00)", R"(e9"})"});
  const std::string whole = h.Call("POST", kPath, Body(tools)).response.body;
  CHECK(whole.find(R"("tool_calls":[{"id":"call_a","type":"custom",)"
                   R"("custom":{"name":"sql","input":"a\u000aé"}}])") != std::string::npos);
  CHECK(whole.find(R"("finish_reason":"tool_calls")") != std::string::npos);
  CHECK(ToolDeltas(h.Call("POST", kPath, Body(tools + R"(,"stream":true)"))) ==
        std::vector<std::string>{
            R"([{"index":0,"id":"call_a","type":"custom","custom":{"name":"sql","input":""}}])",
            R"([{"index":0,"custom":{"input":"a"}}])",
            R"([{"index":0,"custom":{"input":"\n"}}])",
            R"([{"index":0,"custom":{"input":"é"}}])",
        });
  Script(h, "f", {"{}"});
  CHECK(h.Call("POST", kPath, Body(tools))
            .response.body.find(R"("type":"function","function":{"name":"f","arguments":"{}"})") !=
        std::string::npos);
}

TEST_CASE("an input is the same wherever its arguments are cut") {
  const std::string arguments = R"( {"input" :  "a\"\\\/\n é 😀 \ud83d\ude00 \u00e9}" } )";
  const std::string text = "a\"\\/\n é 😀 😀 é}";
  for (size_t first = 0; first <= arguments.size(); ++first) {
    for (size_t second = first; second <= arguments.size(); ++second) {
      CustomInput input;
      std::string all = input.Feed(std::string_view(arguments).substr(0, first));
      all += input.Feed(std::string_view(arguments).substr(first, second - first));
      all += input.Feed(std::string_view(arguments).substr(second));
      REQUIRE(all == text);
    }
  }
}

TEST_CASE("arguments of another form are an input as they are") {
  for (const std::string arguments : {R"({"query":"a"})", R"("a")", R"({"input":7})"}) {
    CustomInput input;
    std::string all;
    for (const char c : arguments) all += input.Feed(std::string_view(&c, 1));
    CHECK(all == arguments);
  }
}

}  // namespace conclave::gateway::openai
