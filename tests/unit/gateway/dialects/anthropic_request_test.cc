#include <string>

#include "base/json.h"
#include "catch2/catch.hpp"
#include "gateway/dialects/anthropic/messages_request.h"

namespace conclave::gateway::anthropic {
namespace {

const std::string kUser = R"("messages":[{"role":"user","content":"hi"}])";
const std::string kWeather = R"({"name":"get_weather","input_schema":{"type":"object"}})";

// A request with these further members.
std::string With(const std::string& members) {
  return R"({"model":"m","max_tokens":8,)" + members + "}";
}

v1::GenerateRequest Decoded(const std::string& body, std::string_view system = "") {
  const auto request = DecodeMessagesRequest(body, system);
  INFO(body << "\n" << request.status().ToString());
  REQUIRE(request.ok());
  return request->generate;
}

std::string Refusal(const std::string& body) {
  const auto request = DecodeMessagesRequest(body, "");
  INFO(body);
  REQUIRE_FALSE(request.ok());
  return std::string(request.status().message());
}

std::string TextOf(const v1::ChatMessage& message) {
  std::string text;
  for (const v1::ContentPart& part : message.content()) text += part.text();
  return text;
}

}  // namespace

TEST_CASE("anthropic: sampling and limits arrive") {
  const v1::GenerateRequest request = Decoded(
      With(kUser + R"(,"temperature":0.5,"top_p":0.25,"top_k":3,"seed":7,)"
                   R"("stop_sequences":["END","\n\n"],"metadata":{"user_id":"u"},)"
                   R"("service_tier":"auto","cache_control":{"type":"ephemeral"},"new":1)"));
  CHECK(request.model() == "m");
  CHECK(request.stop().max_tokens() == 8);
  CHECK(request.stop().strings_size() == 2);
  CHECK(request.stop().strings(1) == "\n\n");
  CHECK(request.sampling().temperature() == 0.5f);
  CHECK(request.sampling().top_p() == 0.25f);
  CHECK(request.sampling().top_k() == 3);
  CHECK(request.sampling().seed() == 7);
  CHECK(request.chat().parallel_tool_calls());
  CHECK_FALSE(Decoded(With(kUser)).sampling().has_temperature());
}

TEST_CASE("anthropic: an assistant's message at the end is where the answer goes on") {
  const auto with_last = [](const std::string& content) {
    return With(R"("messages":[{"role":"user","content":"hi"},{"role":"assistant","content":)" +
                content + "}]");
  };
  CHECK(Decoded(with_last(R"("The sum")")).chat().continue_final_message());
  CHECK(Decoded(with_last(R"([{"type":"text","text":"The"},{"type":"text","text":" sum"}])"))
            .chat()
            .continue_final_message());
  CHECK_FALSE(Decoded(With(kUser)).chat().continue_final_message());
  CHECK(Refusal(with_last(R"("The sum ")")) ==
        "messages[1].content: final assistant content cannot end with trailing whitespace");
  CHECK(Refusal(with_last("[]")) ==
        "messages[1].content: the final assistant message must have text");
  CHECK(Refusal(with_last(R"([{"type":"text","text":"x"},)"
                          R"({"type":"tool_use","id":"t","name":"f","input":{}}])")) ==
        "messages[1].content: the final assistant message must not call tools");
  // Counted as it would be answered.
  const auto counted = DecodeCountTokensRequest(with_last(R"("The sum")"), "");
  REQUIRE(counted.ok());
  CHECK(counted->chat().continue_final_message());
  CHECK(DecodeCountTokensRequest(with_last(R"("The sum ")"), "").ok());
}

TEST_CASE("anthropic: a system prompt is text or blocks, or the server's") {
  const auto system_of = [](const std::string& member) {
    const auto chat = Decoded(With(member + kUser), "be kind").chat();
    return chat.messages(0).role() == v1::ROLE_SYSTEM ? TextOf(chat.messages(0)) : "none";
  };
  CHECK(system_of(R"("system":"be brief",)") == "be brief");
  CHECK(system_of(R"("system":[{"type":"text","text":"a","cache_control":{"type":"ephemeral"}},)"
                  R"({"type":"text","text":"b"}],)") == "ab");
  CHECK(system_of("") == "be kind");
  CHECK(system_of(R"("system":[],)") == "none");
  CHECK(Refusal(With(R"("system":[{"type":"image"}],)" + kUser)) ==
        R"(system[0].type: only "text" blocks are supported)");
}

TEST_CASE("anthropic: results of tools become messages of their own") {
  const v1::ChatPrompt chat = Decoded(With(R"("messages":[{"role":"user","content":"weather?"},
        {"role":"assistant","content":[
          {"type":"thinking","thinking":"hm","signature":"s"},
          {"type":"redacted_thinking","data":"xx"},
          {"type":"tool_use","id":"toolu_1","name":"get_weather","input":{"city":"Rome"}},
          {"type":"tool_use","id":"other","name":"get_time","input":{}}]},
        {"role":"user","content":[
          {"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"text","text":"sun"}]},
          {"type":"tool_result","tool_use_id":"other","content":"no clock","is_error":true},
          {"type":"text","text":"and?"}]},
        {"role":"user","content":"please"}])"))
                                  .chat();
  REQUIRE(chat.messages_size() == 5);
  const v1::ChatMessage& called = chat.messages(1);
  CHECK(called.role() == v1::ROLE_ASSISTANT);
  CHECK(called.reasoning() == "hm");
  CHECK(called.content_is_null());
  REQUIRE(called.tool_calls_size() == 2);
  CHECK(called.tool_calls(0).id() == "call_1");  // as the model wrote it
  CHECK(called.tool_calls(0).arguments() == R"({"city":"Rome"})");
  CHECK(called.tool_calls(1).id() == "other");
  CHECK(chat.messages(2).role() == v1::ROLE_TOOL);
  CHECK(chat.messages(2).tool_call_id() == "call_1");
  CHECK(chat.messages(2).name() == "get_weather");
  CHECK(TextOf(chat.messages(2)) == "sun");
  CHECK(TextOf(chat.messages(3)) == "Error: no clock");
  CHECK(chat.messages(4).role() == v1::ROLE_USER);
  CHECK(TextOf(chat.messages(4)) == "and?\n\nplease");
}

TEST_CASE("anthropic: blocks that cannot be served are refused by name") {
  const auto block = [](const std::string& role, const std::string& json) {
    return Refusal(With(R"("messages":[{"role":")" + role + R"(","content":[)" + json + "]}]"));
  };
  CHECK(block("user", R"({"type":"image","source":{"type":"url","url":"http://169.254.169.254/"}})")
            .find(R"(messages[0].content[0].type: a block of type "image")") == 0);
  CHECK(block("user", R"({"type":"document"})").find("\"document\"") != std::string::npos);
  CHECK(
      block("user", R"({"type":"tool_use","id":"a","name":"f","input":{}})").find("\"tool_use\"") !=
      std::string::npos);
  CHECK(block("assistant", R"({"type":"server_tool_use"})").find("\"server_tool_use\"") !=
        std::string::npos);
  CHECK(block("user", R"({"type":"tool_result","tool_use_id":"x"})")
            .find("messages[0].content[0].tool_use_id: ") == 0);
  CHECK(block("assistant", R"({"type":"tool_use","id":"a","name":"f","input":"{}"})")
            .find("messages[0].content[0].input: ") == 0);
}

TEST_CASE("anthropic: tools and the choice among them") {
  const std::string tools = kUser + R"(,"tools":[)" + kWeather + "]";
  const v1::ChatPrompt chat = Decoded(With(tools)).chat();
  CHECK(chat.tools(0).name() == "get_weather");
  CHECK(chat.tools(0).parameters_json() == R"({"type":"object"})");
  const auto choice = [&](const std::string& json) {
    return Decoded(With(tools + R"(,"tool_choice":)" + json)).chat();
  };
  CHECK(choice(R"({"type":"auto"})").tool_choice().mode() == v1::ToolChoice::MODE_AUTO);
  CHECK(choice(R"({"type":"none"})").tool_choice().mode() == v1::ToolChoice::MODE_NONE);
  CHECK(choice(R"({"type":"any"})").tool_choice().mode() == v1::ToolChoice::MODE_REQUIRED);
  const v1::ChatPrompt named =
      choice(R"({"type":"tool","name":"get_weather","disable_parallel_tool_use":true})");
  CHECK(named.tool_choice().mode() == v1::ToolChoice::MODE_NAMED);
  CHECK(named.tool_choice().name() == "get_weather");
  CHECK_FALSE(named.parallel_tool_calls());
  const auto refused = [&](const std::string& members) { return Refusal(With(kUser + members)); };
  CHECK(refused(R"(,"tool_choice":{"type":"any"})").find("tool_choice.type: ") == 0);
  CHECK(refused(R"(,"tool_choice":{"type":"tool","name":"x"})").find("tool_choice.name: ") == 0);
  CHECK(refused(R"(,"tool_choice":"auto")").find("tool_choice: ") == 0);
  CHECK(refused(R"(,"tools":[{"type":"web_search_20250305","name":"w"}])") ==
        R"(tools[0].type: "web_search_20250305" tools are not supported by this server)");
  CHECK(refused(R"(,"tools":[{"name":"a b","input_schema":{}}])").find("tools[0].name: ") == 0);
  CHECK(refused(R"(,"tools":[{"name":"a"}])").find("tools[0].input_schema: ") == 0);
  CHECK(refused(R"(,"tools":[)" + kWeather + "," + kWeather + "]") ==
        "tools[1].name: is given twice");
}

TEST_CASE("anthropic: tools of the caller's own are told to the model by their type") {
  const auto tool = [](const std::string& members) {
    return Decoded(With(kUser + R"(,"tools":[{)" + members + "}]")).chat().tools(0);
  };
  const auto field = [](const v1::Tool& of, const std::string& name) {
    const auto schema = base::JsonDocument::Parse(of.parameters_json());
    REQUIRE(schema.ok());
    return schema->root().Get("properties").Get(name).ToJson();
  };
  const v1::Tool bash = tool(R"("type":"bash_20250124","name":"bash")");
  CHECK(bash.name() == "bash");
  CHECK_FALSE(bash.description().empty());
  CHECK(field(bash, "restart").find(R"("boolean")") != std::string::npos);
  const v1::Tool old = tool(R"("type":"text_editor_20250124","name":"str_replace_editor")");
  CHECK(field(old, "command").find(R"("insert","undo_edit"])") != std::string::npos);
  const v1::Tool editor = tool(
      R"("type":"text_editor_20250728","name":"str_replace_based_edit_tool","max_characters":9,"strict":true)");
  CHECK(field(editor, "command") ==
        R"({"type":"string","enum":["view","create","str_replace","insert"]})");
  CHECK(field(editor, "insert_text").find(R"("string")") != std::string::npos);
  CHECK(editor.strict());
  CHECK(editor.place() == "tools[0].type");
  const v1::Tool memory = tool(R"("type":"memory_20250818","name":"memory")");
  CHECK(field(memory, "command").find(R"("delete","rename"])") != std::string::npos);
  const auto refused = [](const std::string& members) {
    return Refusal(With(kUser + R"(,"tools":[{)" + members + "}]"));
  };
  CHECK(refused(R"("type":"bash_20250124","name":"shell")") ==
        R"(tools[0].name: a "bash_20250124" tool is named bash)");
  CHECK(refused(R"("type":"computer_20250124","name":"computer")").find("tools[0].type: ") == 0);
}

TEST_CASE("anthropic: thinking has a budget, an effort too unless thinking says more") {
  const auto chat = [](const std::string& members) {
    return Decoded(R"({"model":"m","max_tokens":4096,)" + kUser + members + "}").chat();
  };
  CHECK_FALSE(chat(R"(,"thinking":{"type":"adaptive"})").has_reasoning_budget());
  CHECK(chat(R"(,"thinking":{"type":"disabled"})").has_reasoning_budget());
  CHECK(chat(R"(,"thinking":{"type":"enabled","budget_tokens":2048})").reasoning_budget() == 2048);
  CHECK(chat(R"(,"output_config":{"effort":"medium"})").reasoning_budget() == 8192);
  CHECK(
      chat(
          R"(,"thinking":{"type":"enabled","budget_tokens":2048},"output_config":{"effort":"low"})")
          .reasoning_budget() == 2048);
}

TEST_CASE("anthropic: thinking and effort are the template's") {
  const auto variables = [](const std::string& members) {
    return Decoded(R"({"model":"m","max_tokens":4096,)" + kUser + members + "}")
        .chat()
        .template_variables();
  };
  CHECK(variables("").empty());
  CHECK(variables(R"(,"thinking":{"type":"adaptive"})").empty());
  CHECK(variables(R"(,"thinking":{"type":"disabled"})").at("enable_thinking") == "false");
  const auto on = variables(R"(,"thinking":{"type":"enabled","budget_tokens":2048})");
  CHECK(on.at("enable_thinking") == "true");
  CHECK(on.at("thinking_budget") == "2048");
  CHECK(variables(R"(,"output_config":{"effort":"low"})").at("reasoning_effort") == "\"low\"");
  const auto refused = [](const std::string& members) {
    return Refusal(R"({"model":"m","max_tokens":2048,)" + kUser + members + "}");
  };
  CHECK(refused(R"(,"thinking":{"type":"enabled"})").find("thinking.budget_tokens: ") == 0);
  CHECK(refused(R"(,"thinking":{"type":"enabled","budget_tokens":1023})")
            .find("thinking.budget_tokens: ") == 0);
  CHECK(refused(R"(,"thinking":{"type":"enabled","budget_tokens":2048})") ==
        "thinking.budget_tokens: must be less than max_tokens");
  CHECK(refused(R"(,"thinking":{"type":"always"})").find("thinking.type: ") == 0);
  CHECK(refused(R"(,"tools":[)" + kWeather + R"(],"tool_choice":{"type":"any"},)" +
                R"("thinking":{"type":"enabled","budget_tokens":1024})")
            .find("thinking.type: ") == 0);
  CHECK(refused(R"(,"output_config":{"effort":"huge"})").find("output_config.effort: ") == 0);
}

TEST_CASE("anthropic: a format of the answer is the worker's to enforce") {
  const v1::GenerateRequest request = Decoded(With(
      kUser + R"(,"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}})"));
  CHECK(request.response_format().json_schema().schema_json() == R"({"type":"object"})");
  CHECK(request.response_format().place() == "output_config.format.schema");
  CHECK_FALSE(Decoded(With(kUser)).has_response_format());
}

TEST_CASE("anthropic: a format has its name of the beta, too") {
  const std::string schema = R"({"type":"json_schema","schema":{"type":"object"}})";
  const v1::GenerateRequest request = Decoded(With(kUser + R"(,"output_format":)" + schema));
  CHECK(request.response_format().json_schema().schema_json() == R"({"type":"object"})");
  CHECK(request.response_format().place() == "output_format.schema");
  CHECK(Refusal(With(kUser + R"(,"output_format":{"type":"json"})")).find("output_format.type: ") ==
        0);
  CHECK(Refusal(With(kUser + R"(,"output_format":)" + schema + R"(,"output_config":{"format":)" +
                     schema + "}"))
            .find("output_config.format: ") == 0);
}

TEST_CASE("anthropic: bad values name their field") {
  const auto refused = [](const std::string& body, const std::string& path) {
    const std::string message = Refusal(body);
    INFO(message);
    CHECK(message.find(path + ": ") == 0);
  };
  refused(R"({"max_tokens":8,)" + kUser + "}", "model");
  refused(R"({"model":"m",)" + kUser + "}", "max_tokens");
  refused(R"({"model":"m","max_tokens":0,)" + kUser + "}", "max_tokens");
  refused(R"({"model":"m","max_tokens":9223372036854775808,)" + kUser + "}", "max_tokens");
  refused(With(R"("messages":[])"), "messages");
  refused(With(R"("messages":[{"role":"tool","content":""}])"), "messages[0].role");
  refused(With(R"("messages":[{"role":"user","content":[]}])"), "messages[0].content");
  refused(With(R"("messages":[{"role":"user"}])"), "messages[0].content");
  refused(With(kUser + R"(,"temperature":"hot")"), "temperature");
  refused(With(kUser + R"(,"temperature":1.5)"), "temperature");
  refused(With(kUser + R"(,"top_p":2)"), "top_p");
  refused(With(kUser + R"(,"top_k":-1)"), "top_k");
  refused(With(kUser + R"(,"stop_sequences":"END")"), "stop_sequences");
  refused(With(kUser + R"(,"stop_sequences":[""])"), "stop_sequences[0]");
  refused(With(kUser + R"(,"service_tier":"batch")"), "service_tier");
  refused(With(kUser + R"(,"metadata":{"user_id":")" + std::string(257, 'x') + "\"}"),
          "metadata.user_id");
  refused(With(kUser + R"(,"mcp_servers":[{"url":"http://x"}])"), "mcp_servers");
  refused(With(kUser + R"(,"stream":1)"), "stream");
}

TEST_CASE("anthropic: a conversation for the server to keep is refused with the SDK's word") {
  const auto request = DecodeMessagesRequest(With(kUser + R"(,"thread":{"type":"create"})"), "");
  CHECK(absl::IsInvalidArgument(request.status()));
  CHECK(base::ReasonOf(request.status()) == "thread_unsupported_request");
}

TEST_CASE(
    "anthropic: an answer without blocks comes back, and an assistant's turn can be counted") {
  const v1::ChatPrompt chat =
      Decoded(With(R"("messages":[{"role":"user","content":"a"},{"role":"assistant","content":[]},
                                  {"role":"user","content":"b"}])"))
          .chat();
  REQUIRE(chat.messages_size() == 3);
  CHECK(chat.messages(1).content_is_null());
  const auto counted = DecodeCountTokensRequest(
      R"({"model":"m","messages":[{"role":"assistant","content":"a"}]})", "");
  REQUIRE(counted.ok());
  CHECK(counted->chat().messages_size() == 1);
}

}  // namespace conclave::gateway::anthropic
