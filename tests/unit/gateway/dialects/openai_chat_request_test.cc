#include "gateway/dialects/openai/chat_request.h"

#include <string>

#include "catch2/catch.hpp"
#include "gateway/http/status_map.h"

namespace conclave::gateway::openai {
namespace {

std::string With(const std::string& extra) {
  return R"({"model":"m","messages":[{"role":"user","content":"hi"}])" +
         (extra.empty() ? "" : "," + extra) + "}";
}

v1::GenerateRequest Decoded(const std::string& body) {
  const auto request = DecodeChatRequest(body, "");
  INFO(body << " " << std::string(request.status().ToString()));
  REQUIRE(request.ok());
  return request->generate;
}

ErrorInfo Refused(const std::string& body) {
  INFO(body);
  const auto request = DecodeChatRequest(body, "");
  REQUIRE_FALSE(request.ok());
  return ErrorInfoOf(request.status());
}

}  // namespace

TEST_CASE("what is absent stays absent") {
  const v1::GenerateRequest request = Decoded(With(""));
  CHECK(request.model() == "m");
  CHECK(request.chat().messages_size() == 1);
  CHECK(request.chat().messages(0).role() == v1::ROLE_USER);
  CHECK(request.chat().messages(0).content(0).text() == "hi");
  CHECK_FALSE(request.sampling().has_temperature());
  CHECK_FALSE(request.sampling().has_seed());
  CHECK_FALSE(request.stop().has_max_tokens());
  CHECK_FALSE(request.has_logprobs());
  CHECK_FALSE(request.chat().has_add_generation_prompt());
}

TEST_CASE("every known field arrives") {
  const v1::GenerateRequest request = Decoded(With(
      R"("temperature":0,"top_p":0.5,"top_k":40,"min_p":0.05,"seed":-1,"frequency_penalty":-2,
         "presence_penalty":2,"repetition_penalty":1.1,"logit_bias":{"50256":-100,"7":1.5},
         "stop":["a","b"],"stop_token_ids":[3],"max_tokens":5,"max_completion_tokens":7,
         "min_tokens":2,"ignore_eos":true,"logprobs":true,"top_logprobs":20,"n":16,"priority":3,"typical_p":0.9,
         "prediction":{"type":"content","content":"x"},
         "reasoning_effort":"low","chat_template_kwargs":{"enable_thinking":true,"x":[1]},
         "reasoning_format":"none","parallel_tool_calls":false,"response_format":{"type":"text"})"));
  CHECK(request.sampling().temperature() == 0);
  CHECK(request.sampling().has_temperature());
  CHECK(request.sampling().top_k() == 40);
  CHECK(request.sampling().typical_p() == 0.9f);
  CHECK(request.n() == 16);
  CHECK(request.sampling().seed() == 0xFFFFFFFFFFFFFFFFu);
  REQUIRE(request.sampling().logit_bias_size() == 2);
  CHECK(request.sampling().logit_bias(0).token_id() == 50256);
  CHECK(request.sampling().logit_bias(1).bias() == 1.5f);
  CHECK(request.stop().max_tokens() == 7);
  CHECK(request.stop().strings_size() == 2);
  CHECK(request.stop().token_ids(0) == 3);
  CHECK(request.stop().ignore_eos());
  CHECK(request.logprobs().top() == 20);
  CHECK(request.meta().priority() == 3);
  CHECK(request.chat().template_variables().at("reasoning_effort") == "\"low\"");
  CHECK(request.chat().template_variables().at("enable_thinking") == "true");
  CHECK(request.chat().template_variables().at("x") == "[1]");
  CHECK_FALSE(request.chat().parallel_tool_calls());
  CHECK(request.reasoning_format() == v1::GenerateRequest::REASONING_FORMAT_NONE);
}

TEST_CASE("conversations with tools") {
  const v1::GenerateRequest request = Decoded(R"({"model":"m","messages":[
      {"role":"developer","content":"be brief"},
      {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
      {"role":"assistant","content":null,"reasoning_content":"hm",
       "tool_calls":[{"id":"call_1","type":"function","function":{"name":"f","arguments":"{}"}}]},
      {"role":"tool","tool_call_id":"call_1","content":"42"},
      {"content":"no role"}],
    "tools":[{"type":"function","function":{"name":"f","description":"d",
              "parameters":{"type":"object"},"strict":true}}],
    "tool_choice":{"type":"function","function":{"name":"f"}}})");
  const auto& messages = request.chat().messages();
  REQUIRE(messages.size() == 5);
  CHECK(messages[0].role() == v1::ROLE_SYSTEM);
  CHECK(messages[1].content_size() == 2);
  CHECK(messages[2].content_is_null());
  CHECK(messages[2].reasoning() == "hm");
  CHECK(messages[2].tool_calls(0).arguments() == "{}");
  CHECK(messages[3].tool_call_id() == "call_1");
  CHECK(messages[4].role() == v1::ROLE_USER);
  CHECK(request.chat().tools(0).parameters_json() == R"({"type":"object"})");
  CHECK(request.chat().tools(0).strict());
  CHECK(request.chat().tool_choice().mode() == v1::ToolChoice::MODE_NAMED);
  CHECK(request.chat().tool_choice().name() == "f");
}

TEST_CASE("a default system prompt goes first, unless there is one") {
  const auto system_of = [](const std::string& body) {
    const auto request = DecodeChatRequest(body, "be kind");
    REQUIRE(request.ok());
    return request->generate.chat().messages(0).content(0).text();
  };
  CHECK(system_of(With("")) == "be kind");
  CHECK(system_of(R"({"model":"m","messages":[{"role":"user","content":"hi"},
                      {"role":"system","content":"mine"}]})") == "hi");
}

TEST_CASE("refusals name the field") {
  struct Case {
    std::string body;
    int status;
    std::string param;
  };
  const std::vector<Case> cases = {
      {"", 400, ""},
      {"[]", 400, ""},
      {"{}", 400, "model"},
      {R"({"model":"m"})", 400, "messages"},
      {R"({"model":"m","messages":[]})", 400, "messages"},
      {R"({"model":7,"messages":[]})", 400, "model"},
      {R"({"model":"m","messages":[{"role":"user"}]})", 400, "messages[0].content"},
      {R"({"model":"m","messages":[{"role":"king","content":""}]})", 400, "messages[0].role"},
      {R"({"model":"m","messages":[{"role":"tool","content":""}]})", 400,
       "messages[0].tool_call_id"},
      {R"({"model":"m","messages":[{"role":"user","content":[{"type":"image_url",
           "image_url":{"url":"http://169.254.169.254/"}}]}]})",
       400, "messages[0].content[0].type"},
      {With(R"("temperature":"hot")"), 400, "temperature"},
      {With(R"("temperature":2.1)"), 400, "temperature"},
      {With(R"("top_p":-0.1)"), 400, "top_p"},
      {With(R"("max_tokens":-1)"), 400, "max_tokens"},
      {With(R"("max_tokens":9223372036854775808)"), 400, "max_tokens"},
      {With(R"("n":0)"), 400, "n"},
      {With(R"("n":17)"), 400, "n"},
      {With(R"("typical_p":1.5)"), 400, "typical_p"},
      {With(R"("prediction":"x")"), 400, "prediction"},
      {With(R"("prediction":{"type":"draft","content":"x"})"), 400, "prediction.type"},
      {With(R"("n":1000000)"), 400, "n"},
      {With(R"("seed":18446744073709551616)"), 400, "seed"},
      {With(R"("top_logprobs":21,"logprobs":true)"), 400, "top_logprobs"},
      {With(R"("top_logprobs":2)"), 400, "top_logprobs"},
      {With(R"("stop":["1","2","3","4","5"])"), 400, "stop"},
      {With(R"("stop":[""])"), 400, "stop[0]"},
      {With(R"("logit_bias":{"x":1})"), 400, "logit_bias"},
      {With(R"("logit_bias":{"1":101})"), 400, "logit_bias.1"},
      {With(R"("tools":[{"type":"web_search"}])"), 400, "tools[0].type"},
      {With(R"("tools":[{"type":"function","function":{"name":"a b"}}])"), 400,
       "tools[0].function.name"},
      {With(R"("tools":[{"type":"function","function":{"name":"f"}}],"tool_choice":
           {"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[
             {"type":"function","function":{"name":"g"}}]}})"),
       400, "tool_choice.allowed_tools.tools[0].function.name"},
      {With(R"("tool_choice":"required")"), 400, "tool_choice"},
      {With(R"("tool_choice":{"type":"function","function":{"name":"g"}})"), 400,
       "tool_choice.function.name"},
      {With(R"("reasoning_effort":"extreme")"), 400, "reasoning_effort"},
      {With(R"("modalities":["text","audio"])"), 400, "modalities[1]"},
      {With(R"("stream_options":{"include_usage":true})"), 400, "stream_options"},
      {With(R"("response_format":{"type":"json_schema"})"), 400, "response_format.json_schema"},
      {With(R"("guided_json":{},"guided_regex":"a")"), 400, "guided_regex"},
      {With(R"("guided_choice":[])"), 400, "guided_choice"},
      {With(R"("structured_outputs":{"structural_tag":{"a":1}})"), 501, "structural_tag"},
      {With(R"("response_format":{"type":"yaml"})"), 400, "response_format.type"},
      {With(R"("functions":[{"name":"f"},{"name":"f"}])"), 400, "functions[1].name"},
      {With(R"("functions":[{"name":"f"}],"tools":[])"), 400, "functions"},
      {With(R"("functions":[{"name":"f"}],"tool_choice":"auto")"), 400, "functions"},
      {With(R"("functions":[{"name":"f"}],"parallel_tool_calls":true)"), 400, "functions"},
      {With(R"("functions":[{"name":"f"}],"function_call":"required")"), 400, "function_call"},
      {With(R"("functions":[{"name":"f"}],"function_call":{"name":"g"})"), 400,
       "function_call.name"},
      {With(R"("function_call":"auto")"), 400, "function_call"},
      {With(R"("prompt_cache_key":5)"), 400, "prompt_cache_key"},
  };
  for (const Case& c : cases) {
    INFO(c.body);
    const ErrorInfo error = Refused(c.body);
    CHECK(error.http_status == c.status);
    CHECK(error.param == c.param);
  }
}

TEST_CASE("every spelling of a format becomes one") {
  const auto format = [](const std::string& field) {
    return Decoded(With(field)).response_format();
  };
  CHECK(format(R"("response_format":{"type":"json_object"})").json_object());
  const v1::ResponseFormat strict = format(
      R"("response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"null"}}})");
  CHECK(strict.json_schema().schema_json() == R"({"type":"null"})");
  CHECK(strict.json_schema().strict());
  CHECK(format(R"("guided_json":{"type":"null"})").json_schema().schema_json() ==
        R"({"type":"null"})");
  CHECK(format(R"("guided_regex":"a+")").regex() == "a+");
  CHECK(format(R"("guided_grammar":"root ::= \"a\"")").gbnf() == "root ::= \"a\"");
  CHECK(format(R"("guided_choice":["a","b\"c"])").gbnf() == R"(root ::= "a" | "b\"c")");
  CHECK(format(R"("structured_outputs":{"regex":"b"})").regex() == "b");
  CHECK(format(R"("regex":"b")").regex() == "b");
  CHECK(format(R"("ebnf":"root ::= \"a\"")").gbnf() == "root ::= \"a\"");
  for (const char* const type : {"json", "json_object"}) {
    const std::string given =
        std::string(R"("response_format":{"type":")") + type + R"(","value":{"type":"null"}})";
    CHECK(format(given).json_schema().schema_json() == R"({"type":"null"})");
  }
  CHECK(format(R"("response_format":{"type":"regex","value":"b"})").regex() == "b");
}

TEST_CASE("a format may come under the names of two releases of a server") {
  const auto decoded = [](const std::string& fields) {
    return Decoded(With(fields)).response_format();
  };
  CHECK(decoded(R"("guided_grammar":"g","structured_outputs":{"grammar":"g"})").gbnf() == "g");
  CHECK(decoded(R"("guided_json":{"a":1},"structured_outputs":{"json":{"a":1}})")
            .json_schema()
            .schema_json() == R"({"a":1})");
  CHECK(Refused(With(R"("guided_regex":"a","structured_outputs":{"regex":"b"})")).param ==
        "structured_outputs.regex");
  CHECK(Refused(With(R"("guided_json":{},"response_format":{"type":"json_object"})")).param ==
        "guided_json");
}

TEST_CASE("a format and a tool's parameters keep the name the caller gave them") {
  const auto place = [](const std::string& field) {
    return Decoded(With(field)).response_format().place();
  };
  CHECK(
      place(R"("response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{}}})") ==
      "response_format.json_schema.schema");
  CHECK(place(R"("guided_json":{})") == "guided_json");
  CHECK(place(R"("guided_choice":["a"])") == "guided_choice");
  CHECK(place(R"("structured_outputs":{"regex":"b"})") == "structured_outputs.regex");
  const auto tools = R"("tools":[{"type":"function","function":{"name":"f","parameters":{}}},)"
                     R"({"type":"function","function":{"name":"g","parameters":{}}}],)"
                     R"("tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto",)"
                     R"("tools":[{"type":"function","function":{"name":"g"}}]}})";
  const v1::ChatPrompt chat = Decoded(With(tools)).chat();
  REQUIRE(chat.tools_size() == 1);
  CHECK(chat.tools(0).place() == "tools[1].function.parameters");
}

TEST_CASE("an effort stands for a budget of reasoning, and a budget is more exact") {
  const auto chat = [](const std::string& field) { return Decoded(With(field)).chat(); };
  CHECK(chat(R"("reasoning_effort":"none")").reasoning_budget() == 0);
  CHECK(chat(R"("reasoning_effort":"none")").has_reasoning_budget());
  CHECK(chat(R"("reasoning_effort":"low")").reasoning_budget() == 1'024);
  CHECK_FALSE(chat(R"("reasoning_effort":"max")").has_reasoning_budget());
  CHECK_FALSE(chat(R"("seed":1)").has_reasoning_budget());
  const v1::ChatPrompt exact = chat(R"("reasoning_effort":"high","thinking_budget":77)");
  CHECK(exact.reasoning_budget() == 77);
  CHECK(exact.template_variables().at("thinking_budget") == "77");
  CHECK(Refused(With(R"("thinking_budget":-1)")).param == "thinking_budget");
}

TEST_CASE("too many of anything is refused") {
  std::string bias = R"("logit_bias":{)";
  for (int i = 0; i < 1025; ++i) bias += (i ? ",\"" : "\"") + std::to_string(i) + "\":1";
  CHECK(Refused(With(bias + "}")).param == "logit_bias");
  std::string tools = R"("tools":[)";
  for (int i = 0; i < 129; ++i) {
    tools += std::string(i ? "," : "") + R"({"type":"function","function":{"name":"f"}})";
  }
  CHECK(Refused(With(tools + "]")).param == "tools");
}

TEST_CASE("unknown and unused fields are ignored, empty refusable ones too") {
  CHECK(DecodeChatRequest(With(R"("user":"u","store":true,"brand_new":{"a":1},"verbosity":"low",
      "guided_json":null,"functions":[],"web_search_options":{})"),
                          "")
            .ok());
}

TEST_CASE("allowed tools are the ones that are left") {
  const v1::GenerateRequest request = Decoded(With(R"("tools":[
      {"type":"function","function":{"name":"a"}}, {"type":"function","function":{"name":"b"}},
      {"type":"function","function":{"name":"c"}}],
      "tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[
          {"type":"function","function":{"name":"c"}},
          {"type":"function","function":{"name":"a"}}]}})"));
  REQUIRE(request.chat().tools_size() == 2);
  CHECK(request.chat().tools(0).name() == "a");
  CHECK(request.chat().tools(1).name() == "c");
  CHECK(request.chat().tool_choice().mode() == v1::ToolChoice::MODE_REQUIRED);
}

TEST_CASE("functions are tools of which one may be called") {
  const auto request = DecodeChatRequest(
      With(R"("functions":[{"name":"f","description":"d","parameters":{"type":"object"}},
              {"name":"g"}],"function_call":{"name":"g"})"),
      "");
  REQUIRE(request.ok());
  CHECK(request->call_words == CallWords::kFunctions);
  const v1::ChatPrompt& chat = request->generate.chat();
  REQUIRE(chat.tools_size() == 2);
  CHECK(chat.tools(0).name() == "f");
  CHECK(chat.tools(0).description() == "d");
  CHECK(chat.tools(0).parameters_json() == R"({"type":"object"})");
  CHECK_FALSE(chat.parallel_tool_calls());
  CHECK(chat.tool_choice().mode() == v1::ToolChoice::MODE_NAMED);
  CHECK(chat.tool_choice().name() == "g");
  const auto mode = [](const std::string& choice) {
    return Decoded(With(R"("functions":[{"name":"f"}],"function_call":)" + choice))
        .chat()
        .tool_choice()
        .mode();
  };
  CHECK(mode(R"("none")") == v1::ToolChoice::MODE_NONE);
  CHECK(mode(R"("auto")") == v1::ToolChoice::MODE_AUTO);
  CHECK(DecodeChatRequest(With(R"("functions":null,"function_call":null)"), "")->call_words ==
        CallWords::kTools);
}

TEST_CASE("a function's result belongs to the last call of its name") {
  const v1::GenerateRequest request = Decoded(R"({"model":"m","messages":[
      {"role":"user","content":"a"},
      {"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{\"a\":1}"}},
      {"role":"function","name":"f","content":"1"},
      {"role":"assistant","content":null,"function_call":{"name":"f","arguments":"{}"}},
      {"role":"function","name":"f","content":"2"},
      {"role":"function","name":"g","content":"3"}]})");
  const v1::ChatPrompt& chat = request.chat();
  CHECK(chat.messages(1).content_is_null());
  CHECK(chat.messages(1).tool_calls(0).arguments() == R"({"a":1})");
  CHECK(chat.messages(1).tool_calls(0).id() == "call00001");
  CHECK(chat.messages(2).role() == v1::ROLE_TOOL);
  CHECK(chat.messages(2).name() == "f");
  CHECK(chat.messages(2).tool_call_id() == "call00001");
  CHECK(chat.messages(4).tool_call_id() == "call00003");
  CHECK(chat.messages(5).tool_call_id().empty());
}

TEST_CASE("a cache key goes with the request") {
  CHECK(Decoded(With(R"("prompt_cache_key":"k")")).affinity_key() == "k");
  CHECK(Decoded(With("")).affinity_key().empty());
  CHECK(Refused(With(R"("prompt_cache_key":")" + std::string(513, 'k') + "\"")).http_status == 400);
}

}  // namespace conclave::gateway::openai
