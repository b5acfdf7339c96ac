#include "store/run_request.h"

#include <catch2/catch.hpp>

namespace pb = conclave::v1;
using conclave::base::ParamOf;
using conclave::store::CheckRunRequest;
using conclave::store::CheckToolOutputs;
using conclave::store::RunParams;

namespace {

pb::CreateRunRequest Valid() {
  pb::CreateRunRequest request;
  request.set_assistant_id("asst_1");
  return request;
}

pb::Assistant Assistant() {
  pb::Assistant assistant;
  assistant.set_id("asst_1");
  assistant.set_model("m");
  assistant.set_instructions("Be kind.");
  assistant.set_temperature(0.5);
  assistant.set_response_format_json(R"({"type":"json_object"})");
  assistant.add_tools()->mutable_function()->set_name("f");
  return assistant;
}

}  // namespace

TEST_CASE("a run request names its assistant and keeps the limits") {
  CHECK(CheckRunRequest(Valid()).ok());
  CHECK(ParamOf(CheckRunRequest({})) == "assistant_id");
  pb::CreateRunRequest r = Valid();
  r.set_max_prompt_tokens(255);
  CHECK(ParamOf(CheckRunRequest(r)) == "max_prompt_tokens");
  r = Valid();
  r.set_max_completion_tokens(255);
  CHECK(ParamOf(CheckRunRequest(r)) == "max_completion_tokens");
  r = Valid();
  r.mutable_truncation_strategy()->set_type("last_messages");
  CHECK(ParamOf(CheckRunRequest(r)) == "truncation_strategy.last_messages");
  r.mutable_truncation_strategy()->set_last_messages(1);
  CHECK(CheckRunRequest(r).ok());
  r.mutable_truncation_strategy()->set_type("middle");
  CHECK(ParamOf(CheckRunRequest(r)) == "truncation_strategy.type");
  r = Valid();
  for (int i = 0; i < 21; ++i) r.add_tools()->mutable_function()->set_name("f");
  CHECK(ParamOf(CheckRunRequest(r)) == "tools");
  r = Valid();
  r.add_additional_messages();
  CHECK(ParamOf(CheckRunRequest(r)) == "additional_messages[0].role");
}

TEST_CASE("what the request does not give comes from the assistant") {
  const auto run = RunParams(Valid(), Assistant());
  REQUIRE(run.ok());
  CHECK(run->model() == "m");
  CHECK(run->instructions() == "Be kind.");
  CHECK(run->temperature() == 0.5);
  CHECK_FALSE(run->has_top_p());
  CHECK(run->tools_size() == 1);
  CHECK(run->response_format_json() == R"({"type":"json_object"})");
  CHECK(run->truncation_strategy().type() == "auto");
  CHECK(run->parallel_tool_calls());
}

TEST_CASE("what the request gives wins, an empty list of tools too") {
  pb::CreateRunRequest r = Valid();
  r.set_model("other");
  r.set_instructions("");
  r.set_additional_instructions("Shortly.");
  r.set_temperature(0);
  r.set_tools_given(true);
  r.set_parallel_tool_calls(false);
  const auto run = RunParams(r, Assistant());
  REQUIRE(run.ok());
  CHECK(run->model() == "other");
  CHECK(run->instructions() == "Shortly.");
  CHECK(run->temperature() == 0);
  CHECK(run->tools_size() == 0);
  CHECK_FALSE(run->parallel_tool_calls());
  r.set_tool_choice_json("\"required\"");
  CHECK(ParamOf(RunParams(r, Assistant()).status()) == "tool_choice");
}

TEST_CASE("every tool call is answered exactly once") {
  pb::Run run;
  run.add_required_tool_calls()->set_id("call_1");
  run.add_required_tool_calls()->set_id("call_2");
  pb::SubmitToolOutputsRequest submit;
  submit.add_tool_outputs()->set_tool_call_id("call_2");
  CHECK_FALSE(CheckToolOutputs(run.required_tool_calls(), submit.tool_outputs()).ok());
  submit.add_tool_outputs()->set_tool_call_id("call_1");
  CHECK(CheckToolOutputs(run.required_tool_calls(), submit.tool_outputs()).ok());
  submit.add_tool_outputs()->set_tool_call_id("call_1");
  CHECK_FALSE(CheckToolOutputs(run.required_tool_calls(), submit.tool_outputs()).ok());
  submit.mutable_tool_outputs(2)->set_tool_call_id("call_3");
  CHECK_FALSE(CheckToolOutputs(run.required_tool_calls(), submit.tool_outputs()).ok());
}
