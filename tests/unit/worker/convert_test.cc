#include "worker/convert.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "base/status.h"
#include "support/generate_client.h"

namespace conclave::worker {
namespace {

namespace pb = conclave::v1;
using tests::UserSays;

absl::Status ReadStatus(pb::GenerateRequest request) {
  return FromProto(std::move(request), "id").status();
}

// INVALID_ARGUMENT about `param`?
bool Refused(pb::GenerateRequest request, std::string_view param) {
  const absl::Status status = ReadStatus(std::move(request));
  return status.code() == absl::StatusCode::kInvalidArgument && base::ParamOf(status) == param;
}

}  // namespace

TEST_CASE("a chat request becomes plain structs") {
  pb::GenerateRequest request = UserSays("hello");
  auto* second = request.mutable_chat()->add_messages();
  second->set_role(pb::ROLE_ASSISTANT);
  second->set_content_is_null(true);
  auto* call = second->add_tool_calls();
  call->set_id("call_1");
  call->set_name("f");
  call->set_arguments("{}");
  request.mutable_sampling()->set_temperature(0);
  request.mutable_stop()->set_max_tokens(7);
  request.mutable_meta()->set_tenant("alice");
  (*request.mutable_chat()->mutable_template_variables())["b"] = "1";
  (*request.mutable_chat()->mutable_template_variables())["a"] = "2";
  const auto plain = FromProto(std::move(request), "id");
  REQUIRE(plain.ok());
  const auto& chat = std::get<backends::ChatPrompt>(plain->prompt);
  REQUIRE(chat.conversation.messages.size() == 2);
  CHECK(chat.conversation.messages[0].content == "hello");
  CHECK(chat.conversation.messages[1].content_is_null);
  CHECK(chat.conversation.messages[1].tool_calls[0].id == "call_1");
  CHECK(chat.conversation.template_variables[0].first == "a");
  CHECK(chat.tool_choice.mode == backends::ToolChoice::Mode::kNone);
  CHECK(plain->sampling.temperature == 0.0f);
  CHECK_FALSE(plain->sampling.top_p.has_value());
  CHECK(plain->stop.max_tokens == 7);
  CHECK(plain->cache_salt == "alice");
}

TEST_CASE("a last message is continued when it has text, and nothing else comes then") {
  const auto with_last = [](const std::string& text, auto set) {
    pb::GenerateRequest request = UserSays("hi");
    pb::ChatMessage* last = request.mutable_chat()->add_messages();
    last->set_role(pb::ROLE_ASSISTANT);
    last->add_content()->set_text(text);
    request.mutable_chat()->set_continue_final_message(true);
    set(request.mutable_chat(), last);
    return request;
  };
  const auto plain = FromProto(with_last("The sum", [](auto*, auto*) {}), "id");
  REQUIRE(plain.ok());
  const auto& conversation = std::get<backends::ChatPrompt>(plain->prompt).conversation;
  CHECK(conversation.continue_final_message);
  CHECK_FALSE(conversation.add_generation_prompt);
  const std::string field = "continue_final_message";
  CHECK(Refused(with_last(" \n", [](auto*, auto*) {}), field));
  CHECK(Refused(with_last("x", [](auto* chat, auto*) { chat->set_add_generation_prompt(true); }),
                field));
  CHECK(Refused(with_last("x",
                          [](auto*, auto* last) {
                            last->add_tool_calls()->set_name("f");
                            last->mutable_tool_calls(0)->set_id("c");
                            last->mutable_tool_calls(0)->set_arguments("{}");
                          }),
                field));
}

TEST_CASE("every numeric field has a range, and NaN is outside") {
  const auto with = [](auto set) {
    pb::GenerateRequest request = UserSays("x");
    set(*request.mutable_sampling());
    return request;
  };
  CHECK(Refused(with([](auto& s) { s.set_temperature(2.5f); }), "temperature"));
  CHECK(Refused(with([](auto& s) { s.set_temperature(std::nanf("")); }), "temperature"));
  CHECK(Refused(with([](auto& s) { s.set_top_k(-1); }), "top_k"));
  CHECK(Refused(with([](auto& s) { s.set_top_p(1.01f); }), "top_p"));
  CHECK(Refused(with([](auto& s) { s.set_min_p(-0.1f); }), "min_p"));
  CHECK(Refused(with([](auto& s) { s.set_typical_p(1.1f); }), "typical_p"));
  CHECK(Refused(with([](auto& s) { s.set_frequency_penalty(3); }), "frequency_penalty"));
  CHECK(Refused(with([](auto& s) { s.set_presence_penalty(-3); }), "presence_penalty"));
  CHECK(Refused(with([](auto& s) { s.set_repetition_penalty(0); }), "repetition_penalty"));
  CHECK(Refused(
      with([](auto& s) { s.add_logit_bias()->set_bias(std::numeric_limits<float>::infinity()); }),
      "logit_bias"));
  CHECK(Refused(with([](auto& s) {
                  for (int i = 0; i < 1'025; ++i) s.add_logit_bias();
                }),
                "logit_bias"));
}

TEST_CASE("stop conditions have limits") {
  pb::GenerateRequest request = UserSays("x");
  request.mutable_stop()->set_max_tokens(-1);
  CHECK(Refused(request, "max_tokens"));
  request = UserSays("x");
  request.mutable_stop()->add_strings("");
  CHECK(Refused(request, "stop"));
  request = UserSays("x");
  for (int i = 0; i < 17; ++i) request.mutable_stop()->add_strings("a");
  CHECK(Refused(request, "stop"));
  request = UserSays("x");
  request.mutable_logprobs()->set_top(21);
  CHECK(Refused(request, "top_logprobs"));
}

TEST_CASE("an empty prompt is refused in each of its forms") {
  pb::GenerateRequest request;
  CHECK(Refused(request, "prompt"));
  request.mutable_chat();
  CHECK(Refused(request, "messages"));
  request.set_text("");
  CHECK(Refused(request, "prompt"));
  request.mutable_token_ids();
  CHECK(Refused(request, "prompt"));
}

TEST_CASE("tools are checked by name, and a choice must be among them") {
  pb::GenerateRequest request = UserSays("x");
  request.mutable_chat()->add_tools()->set_name("not a name");
  CHECK(Refused(request, "tools[0].name"));
  request.mutable_chat()->mutable_tools(0)->set_name("get_weather");
  request.mutable_chat()->mutable_tool_choice()->set_mode(pb::ToolChoice::MODE_NAMED);
  request.mutable_chat()->mutable_tool_choice()->set_name("other");
  CHECK(Refused(request, "tool_choice"));
  request.mutable_chat()->mutable_tool_choice()->set_name("get_weather");
  CHECK(ReadStatus(request).ok());
  request.mutable_chat()->clear_tools();
  request.mutable_chat()->mutable_tool_choice()->set_mode(pb::ToolChoice::MODE_REQUIRED);
  CHECK(Refused(request, "tool_choice"));
}

TEST_CASE("how many answers, and what is told of the prompt, has limits") {
  pb::GenerateRequest request = UserSays("x");
  for (const int n : {-1, 17}) {
    request.set_n(n);
    CHECK(Refused(request, "n"));
  }
  request.set_n(16);
  request.mutable_prompt_logprobs()->set_top(20);
  request.set_suffix("y");
  const auto read = FromProto(pb::GenerateRequest(request), "id");
  REQUIRE(read.ok());
  CHECK(read->n == 16);
  CHECK(read->prompt_report->top_logprobs == 20);
  CHECK(read->infill->suffix == "y");
  request.mutable_prompt_logprobs()->set_tokens_only(true);
  CHECK(FromProto(pb::GenerateRequest(request), "id")->prompt_report->top_logprobs == -1);
  request.mutable_prompt_logprobs()->set_top(21);
  CHECK(Refused(request, "prompt_logprobs"));
  request = UserSays("x");
  request.set_n(2);
  request.mutable_resume()->set_seed(1);
  request.mutable_resume()->set_next_seq(5);
  request.mutable_resume()->add_answers()->set_finished(true);
  CHECK(Refused(request, "resume.answers"));  // one is missing
  pb::ResumeState::Answer* const second = request.mutable_resume()->add_answers();
  second->set_finished(true);
  CHECK(Refused(request, "resume.answers"));  // nothing is left
  second->set_finished(false);
  second->set_num_deltas(-1);
  CHECK(Refused(request, "resume.answers.num_deltas"));
  second->set_num_deltas(3);
  second->add_emitted_token_ids(4);
  const auto resumed = FromProto(pb::GenerateRequest(request), "id");
  REQUIRE(resumed.ok());
  CHECK(resumed->num_unfinished() == 1);
  CHECK(resumed->resume->next_seq == 5);
  CHECK(resumed->resume->answers[1].emitted == std::vector<backends::TokenId>{4});
  CHECK(resumed->resume->answers[1].num_deltas == 3);
  request = UserSays("x");
  request.set_suffix(std::string((1 << 20) + 1, 'a'));
  CHECK(Refused(request, "suffix"));
}

TEST_CASE("a gap has a suffix, files, both or neither") {
  pb::GenerateRequest request;
  CHECK(Refused(request, "prompt"));
  request.set_text("");
  CHECK(Refused(request, "prompt"));
  request.mutable_infill();
  const auto bare = FromProto(pb::GenerateRequest(request), "id");
  REQUIRE(bare.ok());
  CHECK(bare->infill->suffix.empty());
  pb::InfillFile* const file = request.mutable_infill()->add_files();
  file->set_name("a.cc");
  file->set_text("int a;");
  const auto read = FromProto(pb::GenerateRequest(request), "id");
  REQUIRE(read.ok());
  REQUIRE(read->infill->files.size() == 1);
  CHECK(read->infill->files[0].name == "a.cc");
  CHECK(read->infill->files[0].text == "int a;");
  file->set_text(std::string(1 << 20, 'a'));
  CHECK(Refused(request, "infill.files"));
  file->set_text("");
  for (int i = 0; i < 256; ++i) request.mutable_infill()->add_files();
  CHECK(Refused(request, "infill.files"));
}

TEST_CASE("answers and the tokens of a prompt keep their places") {
  backends::Delta delta;
  delta.index = 3;
  delta.seq = 7;
  CHECK(ToProto(delta, {}).delta().index() == 3);
  CHECK(ToProto(backends::Finished{.index = 2}, {}).finished().index() == 2);
  backends::PromptTokens prompt;
  prompt.position = 128;
  prompt.text = "ab";
  prompt.tokens.push_back({.id = 5, .logprob = -1.5f, .bytes = "ab", .top = {{.id = 6}}});
  const pb::GenerateEvent event = ToProto(prompt, {});
  CHECK(event.prompt_logprobs().position() == 128);
  CHECK(event.prompt_logprobs().text() == "ab");
  REQUIRE(event.prompt_logprobs().tokens_size() == 1);
  CHECK(event.prompt_logprobs().tokens(0).logprob() == -1.5f);
  CHECK(event.prompt_logprobs().tokens(0).top(0).token_id() == 6);
}

TEST_CASE("an unknown role names its message") {
  pb::GenerateRequest request = UserSays("x");
  request.mutable_chat()->mutable_messages(0)->set_role(pb::ROLE_UNSPECIFIED);
  CHECK(Refused(request, "messages[0].role"));
}

TEST_CASE("events keep everything on their way out") {
  backends::Delta delta;
  delta.seq = 3;
  delta.token_ids = {5};
  delta.tool_call = backends::ToolCallDelta{.index = 1,
                                            .state = backends::ToolCallDelta::State::kStarted,
                                            .id = "call_x",
                                            .name = "f",
                                            .arguments = ""};
  delta.logprobs.push_back({.id = 5, .logprob = -1.5f, .bytes = "\xE2\x82", .top = {}});
  const pb::GenerateEvent event = ToProto(backends::Event(delta), {});
  CHECK(event.delta().seq() == 3);
  CHECK(event.delta().tool_call().state() == pb::ToolCallDelta::STATE_STARTED);
  CHECK(event.delta().logprobs(0).token() == "\xE2\x82");

  backends::Finished finished;
  finished.reason = backends::Finished::Reason::kToolCalls;
  finished.usage.completion_tokens = 9;
  const pb::GenerateEvent end = ToProto(backends::Event(finished), {.load_ms = 0, .total_ms = 12});
  CHECK(end.finished().reason() == pb::Finished::REASON_TOOL_CALLS);
  CHECK(end.finished().matched_stop_id() == -1);
  CHECK(end.finished().usage().completion_tokens() == 9);
  CHECK(end.finished().timings().total_ms() == 12);

  const pb::GenerateEvent failed = ToProto(
      backends::Event(backends::Failed{base::WithReason(base::Internal("broken"), "x")}), {});
  CHECK(failed.failed().error().reason() == "x");
  CHECK(failed.failed().error().code() == 13);
}

TEST_CASE("sizes read as people write them") {
  CHECK(ParameterSize(14'200'000) == "14.2M");
  CHECK(ParameterSize(30'532'122'624) == "30.5B");
  CHECK(ParameterSize(0).empty());
}

}  // namespace conclave::worker
