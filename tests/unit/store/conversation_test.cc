#include "store/jobs/conversation.h"

#include <catch2/catch.hpp>

#include "absl/strings/str_cat.h"

namespace pb = conclave::v1;
using conclave::store::MakeRequest;
using conclave::store::RunHistory;
using conclave::store::Truncate;

namespace {

pb::Message Message(pb::Message::Role role, const std::string& text) {
  pb::Message message;
  message.set_role(role);
  message.add_content()->mutable_text()->set_value(text);
  return message;
}

RunHistory History(int messages) {
  RunHistory history;
  history.run.set_id("run_1");
  history.run.set_model("m");
  history.run.mutable_truncation_strategy()->set_type("auto");
  for (int i = 0; i < messages; ++i) {
    history.messages.push_back(Message(
        i % 2 == 0 ? pb::Message::ROLE_USER : pb::Message::ROLE_ASSISTANT, absl::StrCat("m", i)));
  }
  return history;
}

// 100 tokens a message, whatever it says.
absl::StatusOr<int> Count(const pb::GenerateRequest& request) {
  return 100 * request.chat().messages_size();
}

std::string Kept(const RunHistory& history) {
  std::string names;
  for (const auto& message : history.messages) {
    absl::StrAppend(&names, message.content(0).text().value(), " ");
  }
  return names;
}

}  // namespace

TEST_CASE("a prompt begins with the instructions and goes on with the thread") {
  RunHistory history = History(3);
  history.run.set_instructions("Be kind.");
  const auto request = MakeRequest(history, "tenant");
  REQUIRE(request.ok());
  REQUIRE(request->chat().messages_size() == 4);
  CHECK(request->chat().messages(0).role() == pb::ROLE_SYSTEM);
  CHECK(request->chat().messages(1).role() == pb::ROLE_USER);
  CHECK(request->chat().messages(2).role() == pb::ROLE_ASSISTANT);
  CHECK(request->chat().messages(3).content(0).text() == "m2");
  CHECK(request->meta().tenant() == "tenant");
  CHECK(request->meta().cache_salt() == "tenant");
}

TEST_CASE("the seed depends on run and leg alone") {
  RunHistory history = History(1);
  const uint64_t seed = MakeRequest(history, "t")->sampling().seed();
  CHECK(MakeRequest(history, "u")->sampling().seed() == seed);
  history.leg = 2;
  CHECK(MakeRequest(history, "t")->sampling().seed() != seed);
  history.leg = 1;
  history.run.set_id("run_2");
  CHECK(MakeRequest(history, "t")->sampling().seed() != seed);
}

TEST_CASE("tool calls of earlier legs become turns with their outputs") {
  RunHistory history = History(1);
  history.leg = 2;
  pb::Message said = Message(pb::Message::ROLE_ASSISTANT, "Let me see.");
  said.set_id("msg_1");
  history.run_messages.push_back(said);
  pb::RunStep message_step;
  message_step.set_type(pb::RunStep::TYPE_MESSAGE_CREATION);
  message_step.set_message_id("msg_1");
  pb::RunStep calls;
  calls.set_type(pb::RunStep::TYPE_TOOL_CALLS);
  calls.add_tool_calls()->mutable_call()->set_id("call_1");
  calls.mutable_tool_calls(0)->mutable_call()->set_name("f");
  calls.mutable_tool_calls(0)->set_output("42");
  history.steps = {message_step, calls};
  const auto request = MakeRequest(history, "t");
  REQUIRE(request.ok());
  REQUIRE(request->chat().messages_size() == 3);
  const pb::ChatMessage& turn = request->chat().messages(1);
  CHECK(turn.role() == pb::ROLE_ASSISTANT);
  CHECK(turn.content(0).text() == "Let me see.");
  CHECK(turn.tool_calls(0).id() == "call_1");
  CHECK(request->chat().messages(2).role() == pb::ROLE_TOOL);
  CHECK(request->chat().messages(2).tool_call_id() == "call_1");
  CHECK(request->chat().messages(2).content(0).text() == "42");

  history.steps = {calls};
  CHECK(MakeRequest(history, "t")->chat().messages(1).content_is_null());
}

TEST_CASE("a demanded tool call is demanded in the first leg only") {
  RunHistory history = History(1);
  history.run.add_tools()->mutable_function()->set_name("f");
  history.run.add_tools()->mutable_file_search();
  history.run.set_tool_choice_json(R"({"type":"function","function":{"name":"f"}})");
  auto request = MakeRequest(history, "t");
  REQUIRE(request.ok());
  CHECK(request->chat().tools_size() == 1);
  CHECK(request->chat().tool_choice().mode() == pb::ToolChoice::MODE_NAMED);
  CHECK(request->chat().tool_choice().name() == "f");
  history.leg = 2;
  CHECK(MakeRequest(history, "t")->chat().tool_choice().mode() == pb::ToolChoice::MODE_AUTO);
  history.run.set_tool_choice_json("\"none\"");
  CHECK(MakeRequest(history, "t")->chat().tool_choice().mode() == pb::ToolChoice::MODE_NONE);
}

TEST_CASE("the reasoning effort reaches the template") {
  RunHistory history = History(1);
  CHECK(MakeRequest(history, "t")->chat().template_variables().empty());
  history.run.set_reasoning_effort("none");
  const auto request = MakeRequest(history, "t");
  CHECK(request->chat().template_variables().at("reasoning_effort") == "\"none\"");
  CHECK(request->chat().template_variables().at("enable_thinking") == "false");
}

TEST_CASE("limits count what earlier legs have used") {
  RunHistory history = History(1);
  history.run.set_max_completion_tokens(300);
  history.run.mutable_usage()->set_completion_tokens(120);
  CHECK(MakeRequest(history, "t")->stop().max_tokens() == 180);
  history.run.set_response_format_json(
      R"({"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"},"strict":true}})");
  const auto request = MakeRequest(history, "t");
  CHECK(request->response_format().json_schema().schema_json() == R"({"type":"object"})");
  CHECK(request->response_format().json_schema().strict());
}

TEST_CASE("auto truncation drops from the middle, and no more than it must") {
  RunHistory history = History(10);
  REQUIRE(Truncate({.prompt_tokens_max = 450}, Count, "t", &history).ok());
  CHECK(Kept(history) == "m0 m7 m8 m9 ");
  history = History(10);
  REQUIRE(Truncate({.prompt_tokens_max = 1000}, Count, "t", &history).ok());
  CHECK(history.messages.size() == 10);
  history = History(10);
  REQUIRE(Truncate({.prompt_tokens_max = 100}, Count, "t", &history).ok());
  CHECK(Kept(history) == "m9 ");
}

TEST_CASE("a prompt that cannot fit the run's own limit says so") {
  RunHistory history = History(3);
  const absl::Status status = Truncate({.prompt_tokens_max = 99}, Count, "t", &history);
  CHECK(conclave::base::ReasonOf(status) == "max_prompt_tokens");
}

TEST_CASE("short prompts are not counted, and counting errors are passed on") {
  RunHistory history = History(3);
  const auto broken = [](const pb::GenerateRequest&) -> absl::StatusOr<int> {
    return absl::UnavailableError("no worker");
  };
  CHECK(Truncate({.context_length = 32'768}, broken, "t", &history).ok());
  CHECK(Truncate({.prompt_tokens_max = 300}, broken, "t", &history).code() ==
        absl::StatusCode::kUnavailable);
}

TEST_CASE("last_messages keeps that many and leaves room for the limit") {
  RunHistory history = History(10);
  history.run.mutable_truncation_strategy()->set_type("last_messages");
  history.run.mutable_truncation_strategy()->set_last_messages(4);
  REQUIRE(Truncate({}, Count, "t", &history).ok());
  CHECK(Kept(history) == "m6 m7 m8 m9 ");
  REQUIRE(Truncate({.prompt_tokens_max = 300}, Count, "t", &history).ok());
  CHECK(Kept(history) == "m6 m8 m9 ");
}
