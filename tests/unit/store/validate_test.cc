#include "store/validate.h"

#include <catch2/catch.hpp>

namespace pb = conclave::v1;
using conclave::base::ParamOf;
using conclave::base::ReasonOf;
using conclave::store::CheckAssistant;
using conclave::store::CheckMessage;
using conclave::store::CheckResponseFormat;
using conclave::store::CheckText;
using conclave::store::CheckToolChoice;
using conclave::store::CheckToolResources;

namespace {

pb::Assistant Valid() {
  pb::Assistant assistant;
  assistant.set_model("m");
  return assistant;
}

std::string Repeat(std::string_view piece, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += piece;
  return text;
}

pb::Message Text(const std::string& text) {
  pb::Message message;
  message.set_role(pb::Message::ROLE_USER);
  message.add_content()->mutable_text()->set_value(text);
  return message;
}

}  // namespace

TEST_CASE("lengths are counted in characters, not in bytes") {
  CHECK(CheckText("name", Repeat("\xC3\xA9", 256), 256).ok());
  const absl::Status refused = CheckText("name", Repeat("\xC3\xA9", 257), 256);
  CHECK(refused.code() == absl::StatusCode::kInvalidArgument);
  CHECK(ParamOf(refused) == "name");
  CHECK(ReasonOf(refused) == "string_above_max_length");
}

TEST_CASE("U+0000 is refused where it would be stored") {
  CHECK_FALSE(CheckText("name", std::string_view("a\0b", 3), 256).ok());
  pb::Assistant assistant = Valid();
  (*assistant.mutable_metadata())["k"] = std::string("\0", 1);
  CHECK_FALSE(CheckAssistant(assistant).ok());
  CHECK_FALSE(CheckToolResources(R"({"file_search": {"x": "\u0000"}})").ok());
  CHECK(ParamOf(CheckMessage("messages[1].", Text(std::string("a\0", 2)))) ==
        "messages[1].content[0]");
}

TEST_CASE("an assistant needs a model and keeps the limits") {
  CHECK(CheckAssistant(Valid()).ok());
  CHECK(ParamOf(CheckAssistant({})) == "model");
  pb::Assistant a = Valid();
  a.set_name(Repeat("x", 257));
  CHECK(ParamOf(CheckAssistant(a)) == "name");
  a = Valid();
  a.set_description(Repeat("x", 513));
  CHECK(ParamOf(CheckAssistant(a)) == "description");
  a = Valid();
  a.set_instructions(Repeat("x", 256'001));
  CHECK(ParamOf(CheckAssistant(a)) == "instructions");
  a = Valid();
  a.set_temperature(2.1);
  CHECK(ParamOf(CheckAssistant(a)) == "temperature");
  a.set_temperature(0.0 / 0.0);
  CHECK(ParamOf(CheckAssistant(a)) == "temperature");
  a = Valid();
  a.set_top_p(-0.1);
  CHECK(ParamOf(CheckAssistant(a)) == "top_p");
  a = Valid();
  a.set_reasoning_effort("extreme");
  CHECK(ParamOf(CheckAssistant(a)) == "reasoning_effort");
}

TEST_CASE("metadata has at most 16 pairs of 64 and 512 characters") {
  pb::Assistant a = Valid();
  for (int i = 0; i < 16; ++i) (*a.mutable_metadata())["k" + std::to_string(i)] = "v";
  CHECK(CheckAssistant(a).ok());
  (*a.mutable_metadata())["one more"] = "v";
  CHECK(ReasonOf(CheckAssistant(a)) == "object_above_max_properties");
  a = Valid();
  (*a.mutable_metadata())[Repeat("k", 65)] = "v";
  CHECK(ParamOf(CheckAssistant(a)) == "metadata");
  a = Valid();
  (*a.mutable_metadata())["k"] = Repeat("v", 513);
  CHECK(ParamOf(CheckAssistant(a)) == "metadata.k");
}

TEST_CASE("tools: 128 at most, with names that can be called and schemas that are objects") {
  pb::Assistant a = Valid();
  for (int i = 0; i < 128; ++i) a.add_tools()->mutable_function()->set_name("f");
  CHECK(CheckAssistant(a).ok());
  a.add_tools()->mutable_function()->set_name("f");
  CHECK(ParamOf(CheckAssistant(a)) == "tools");

  a = Valid();
  a.add_tools()->mutable_function();
  CHECK(ParamOf(CheckAssistant(a)) == "tools[0].function.name");
  a.mutable_tools(0)->mutable_function()->set_name("not a name");
  CHECK(ParamOf(CheckAssistant(a)) == "tools[0].function.name");
  a.mutable_tools(0)->mutable_function()->set_name("name");
  a.mutable_tools(0)->mutable_function()->set_parameters_json("[]");
  CHECK(ParamOf(CheckAssistant(a)) == "tools[0].function.parameters");
  a.mutable_tools(0)->mutable_function()->set_parameters_json(Repeat("[", 100'000));
  CHECK(ParamOf(CheckAssistant(a)) == "tools[0].function.parameters");
  a = Valid();
  a.add_tools();
  CHECK(ParamOf(CheckAssistant(a)) == "tools[0].type");
  a = Valid();
  a.add_tools()->mutable_file_search()->set_max_num_results(51);
  CHECK(ParamOf(CheckAssistant(a)) == "tools[0].file_search.max_num_results");
}

TEST_CASE("tool resources name at most one vector store, in one of two ways") {
  CHECK(CheckToolResources("").ok());
  CHECK(CheckToolResources(R"({"file_search": {"vector_store_ids": ["vs_1"]}})").ok());
  CHECK_FALSE(CheckToolResources(R"({"file_search": {"vector_store_ids": ["a", "b"]}})").ok());
  CHECK_FALSE(
      CheckToolResources(R"({"file_search": {"vector_store_ids": ["a"], "vector_stores": [{}]}})")
          .ok());
  CHECK_FALSE(CheckToolResources("[]").ok());
  CHECK_FALSE(CheckToolResources("{").ok());
}

TEST_CASE("JSON that is stored as it is has a size limit, named with its field") {
  const std::string megabyte = Repeat("x", 1 << 20);
  const std::string large = R"({"x": ")" + megabyte + R"("})";
  CHECK(ParamOf(CheckToolResources(large)) == "tool_resources");
  CHECK(ReasonOf(CheckToolResources(large)) == "string_above_max_length");
  CHECK(ParamOf(CheckResponseFormat(large)) == "response_format");
  CHECK(ParamOf(CheckToolChoice(large, {})) == "tool_choice");
  pb::Message message = Text("a");
  message.set_attachments_json("[\"" + megabyte + "\"]");
  CHECK(ParamOf(CheckMessage("", message)) == "attachments");
}

TEST_CASE("a response format is auto or an object of a known type") {
  CHECK(CheckResponseFormat("\"auto\"").ok());
  CHECK(CheckResponseFormat(R"({"type": "json_object"})").ok());
  CHECK(CheckResponseFormat(R"({"type": "json_schema", "json_schema": {"name": "x"}})").ok());
  CHECK_FALSE(CheckResponseFormat("\"text\"").ok());
  CHECK_FALSE(CheckResponseFormat(R"({"type": "json_schema"})").ok());
  CHECK_FALSE(CheckResponseFormat(R"({"type": "xml"})").ok());
  CHECK_FALSE(CheckResponseFormat("7").ok());
}

TEST_CASE("a tool choice names a tool that is there") {
  pb::Assistant a;
  a.add_tools()->mutable_function()->set_name("f");
  CHECK(CheckToolChoice("\"auto\"", {}).ok());
  CHECK(CheckToolChoice("\"none\"", {}).ok());
  CHECK_FALSE(CheckToolChoice("\"required\"", {}).ok());
  CHECK(CheckToolChoice("\"required\"", a.tools()).ok());
  CHECK(CheckToolChoice(R"({"type": "function", "function": {"name": "f"}})", a.tools()).ok());
  CHECK_FALSE(
      CheckToolChoice(R"({"type": "function", "function": {"name": "g"}})", a.tools()).ok());
  CHECK_FALSE(CheckToolChoice(R"({"type": "file_search"})", a.tools()).ok());
  CHECK_FALSE(CheckToolChoice("\"always\"", a.tools()).ok());
}

TEST_CASE("a message has a role, and content that says something") {
  CHECK(CheckMessage("", Text("hi")).ok());
  pb::Message message = Text("hi");
  message.clear_role();
  CHECK(ParamOf(CheckMessage("", message)) == "role");
  message = Text("hi");
  message.clear_content();
  CHECK(ParamOf(CheckMessage("", message)) == "content");
  CHECK(ParamOf(CheckMessage("", Text(""))) == "content");
  message = Text("hi");
  message.add_content()->set_refusal("no");
  CHECK(ParamOf(CheckMessage("", message)) == "content[1]");
}
