#include "backends/scripted.h"

#include <catch2/catch.hpp>

#include "base/status.h"
#include "unit/backends/recording_sink.h"

namespace conclave::backends {
namespace {

GenerateRequest Ask(std::string content, std::string id = "r1") {
  GenerateRequest request;
  request.id = std::move(id);
  ChatPrompt chat;
  chat.conversation.messages.push_back({.role = "user", .content = std::move(content)});
  request.prompt = std::move(chat);
  return request;
}

std::unique_ptr<Backend> Open(const char* script) { return *MakeScripted(script); }

}  // namespace

TEST_CASE("an answer comes as deltas without gaps and ends once") {
  const auto backend = Open("{}");
  const auto sink = std::make_shared<RecordingSink>();
  const auto accepted = backend->Generate(Ask("hello"), sink);
  REQUIRE(accepted.ok());
  CHECK(accepted->prompt_tokens == 12);  // "user: hello\n"
  REQUIRE(sink->WaitForEnd());
  CHECK(sink->text() == "hello");
  const auto deltas = sink->deltas();
  for (size_t i = 0; i < deltas.size(); ++i) CHECK(deltas[i].seq == static_cast<int64_t>(i));
  REQUIRE(sink->finished().has_value());
  CHECK(sink->finished()->usage.completion_tokens == 5);
  backend->Drain(std::chrono::milliseconds(0));
  CHECK(sink->ends() == 1);
}

TEST_CASE("a resumed answer continues after the ids already emitted, whatever the cut") {
  const auto backend = Open(R"({"rules": [{"steps": [
    {"reasoning": "hm"}, {"text": "It is "}, {"delay_ms": 1},
    {"tool_call": {"name": "f", "arguments": {"a": 1}}}]}]})");
  const auto whole = std::make_shared<RecordingSink>();
  const auto accepted = backend->Generate(Ask("x"), whole);
  REQUIRE(accepted.ok());
  REQUIRE(whole->WaitForEnd());
  const auto all = whole->deltas();
  const auto ids = whole->ids();
  REQUIRE(ids.size() == all.size());
  for (size_t cut = 0; cut <= all.size(); ++cut) {
    GenerateRequest request = Ask("x", "resumed");
    const auto seen = static_cast<int64_t>(cut);
    request.resume =
        Resume{.answers = {{.emitted = {ids.begin(), ids.begin() + seen}, .num_deltas = seen}},
               .seed = accepted->seed,
               .next_seq = seen};
    const auto rest = std::make_shared<RecordingSink>();
    REQUIRE(backend->Generate(std::move(request), rest).ok());
    REQUIRE(rest->WaitForEnd());
    const auto deltas = rest->deltas();
    REQUIRE(deltas.size() == all.size() - cut);
    for (size_t i = 0; i < deltas.size(); ++i) {
      CHECK(deltas[i].seq == all[cut + i].seq);
      CHECK(deltas[i].token_ids == all[cut + i].token_ids);
      CHECK(deltas[i].text == all[cut + i].text);
      if (deltas[i].tool_call) CHECK(deltas[i].tool_call->id == all[cut + i].tool_call->id);
    }
    CHECK(rest->finished()->usage.completion_tokens == static_cast<int32_t>(all.size()));
    CHECK(rest->finished()->usage.reasoning_tokens == 2);
    CHECK(rest->finished()->reason == Finished::Reason::kToolCalls);
  }
}

TEST_CASE("a request that hangs is cancelled and its slot is free") {
  const auto backend = Open(R"({"rules": [{"steps": [{"text": "a"}, {"hang": true}]}]})");
  const auto sink = std::make_shared<RecordingSink>();
  REQUIRE(backend->Generate(Ask("x"), sink).ok());
  REQUIRE(sink->WaitForDeltas(1));
  CHECK(backend->load().running == 1);
  backend->Cancel("r1");
  REQUIRE(sink->WaitForEnd());
  CHECK(sink->finished()->reason == Finished::Reason::kCancelled);
  CHECK(backend->load().running == 0);
  CHECK(backend->load().cancelled_total == 1);
  backend->Cancel("r1");
  CHECK(sink->ends() == 1);
}

TEST_CASE("a paused request waits while others go on") {
  const auto backend = Open("{}");
  const auto slow = std::make_shared<RecordingSink>(3);
  const auto quick = std::make_shared<RecordingSink>();
  REQUIRE(backend->Generate(Ask("slow reader", "slow"), slow).ok());
  REQUIRE(slow->WaitForDeltas(3));
  REQUIRE(backend->Generate(Ask("quick reader", "quick"), quick).ok());
  REQUIRE(quick->WaitForEnd());
  CHECK(quick->text() == "quick reader");
  CHECK(slow->deltas().size() == 3);
  backend->Resume("slow");
  REQUIRE(slow->WaitForEnd());
  CHECK(slow->text() == "slow reader");
}

TEST_CASE("the queue refuses beyond its limit and keeps what it has") {
  const auto backend = Open(R"({"slots": 1, "max_queued": 1, "rules": [
               {"when": {"last_contains": "block"}, "steps": [{"text": "a"}, {"hang": true}]}]})");
  const auto first = std::make_shared<RecordingSink>();
  const auto second = std::make_shared<RecordingSink>();
  REQUIRE(backend->Generate(Ask("block", "1"), first).ok());
  REQUIRE(first->WaitForDeltas(1));
  const auto queued = backend->Generate(Ask("next", "2"), second);
  REQUIRE(queued.ok());
  CHECK(queued->queue_position == 1);
  const auto refused = backend->Generate(Ask("more", "3"), std::make_shared<RecordingSink>());
  CHECK(refused.status().code() == absl::StatusCode::kResourceExhausted);
  backend->Cancel("1");
  REQUIRE(second->WaitForEnd());
  CHECK(second->text() == "next");
}

TEST_CASE("a prompt beyond the context is refused with both numbers") {
  const auto backend = Open(R"({"context_length": 10})");
  const auto refused =
      backend->Generate(Ask("far too long a prompt"), std::make_shared<RecordingSink>());
  CHECK(refused.status().code() == absl::StatusCode::kOutOfRange);
  CHECK(base::ReasonOf(refused.status()) == "context_length_exceeded");
  CHECK(refused.status().message() ==
        "This model's maximum context length is 10 tokens, the prompt is too long: 28 tokens");
}

TEST_CASE("a rule answers only as often as it says") {
  const auto backend = Open(R"({"rules": [{"times": 1, "refuse": {"code": "UNAVAILABLE"}}]})");
  CHECK(backend->Generate(Ask("x", "1"), std::make_shared<RecordingSink>()).status().code() ==
        absl::StatusCode::kUnavailable);
  const auto sink = std::make_shared<RecordingSink>();
  REQUIRE(backend->Generate(Ask("x", "2"), sink).ok());
  CHECK(sink->WaitForEnd());
}

TEST_CASE("a failure in the middle is the last event") {
  const auto backend = Open(
      R"({"rules": [{"steps": [{"text": "ab"}, {"fail": {"code": "INTERNAL", "reason": "x"}}]}]})");
  const auto sink = std::make_shared<RecordingSink>();
  REQUIRE(backend->Generate(Ask("x"), sink).ok());
  REQUIRE(sink->WaitForEnd());
  CHECK(sink->text() == "ab");
  CHECK(sink->failure().code() == absl::StatusCode::kInternal);
  CHECK(base::ReasonOf(sink->failure()) == "x");
  CHECK_FALSE(sink->finished().has_value());
}

TEST_CASE("draining refuses newcomers, lets streams end and cancels what is left") {
  const auto backend = Open(R"({"rules": [
      {"when": {"last_contains": "hang"}, "steps": [{"text": "a"}, {"hang": true}]}]})");
  const auto hangs = std::make_shared<RecordingSink>();
  REQUIRE(backend->Generate(Ask("hang"), hangs).ok());
  REQUIRE(hangs->WaitForDeltas(1));
  backend->Drain(std::chrono::milliseconds(5));
  CHECK(hangs->finished()->reason == Finished::Reason::kCancelled);
  CHECK(backend->Generate(Ask("x"), std::make_shared<RecordingSink>()).status().code() ==
        absl::StatusCode::kUnavailable);
}

TEST_CASE("a shape the backend cannot promise is refused, not ignored") {
  const auto backend = Open("{}");
  GenerateRequest request = Ask("x");
  request.response_format.kind = ResponseFormat::Kind::kJsonObject;
  const auto refused = backend->Generate(std::move(request), std::make_shared<RecordingSink>());
  CHECK(refused.status().code() == absl::StatusCode::kUnimplemented);
  CHECK(base::ParamOf(refused.status()) == "response_format");
}

TEST_CASE("answers of a script interleave under one count and end one by one") {
  const auto backend = Open(R"({"rules": [{"mode": "dice", "count": 5}]})");
  const auto ask = [&](int32_t n, const std::string& id) {
    GenerateRequest request = Ask("x", id);
    request.n = n;
    request.sampling.seed = 11;
    const auto sink = std::make_shared<RecordingSink>(0, n);
    REQUIRE(backend->Generate(std::move(request), sink).ok());
    REQUIRE(sink->WaitForEnd());
    return sink;
  };
  const auto three = ask(3, "three");
  const auto deltas = three->deltas();
  for (size_t i = 0; i < deltas.size(); ++i) CHECK(deltas[i].seq == static_cast<int64_t>(i));
  CHECK(three->all_finished().size() == 3);
  CHECK(three->text(0) != three->text(1));
  CHECK(three->text(1) != three->text(2));
  CHECK(ask(1, "one")->text() == three->text(0));
  CHECK(ask(2, "two")->text(1) == three->text(1));
}

TEST_CASE("cancelling a script's request ends every answer, waiting ones too") {
  const auto backend = Open(R"({"slots": 2, "rules": [{"steps": [{"hang": true}]}]})");
  GenerateRequest request = Ask("x");
  request.n = 4;
  const auto sink = std::make_shared<RecordingSink>(0, 4);
  REQUIRE(backend->Generate(request, sink).ok());
  backend->Cancel(request.id);
  REQUIRE(sink->WaitForEnd());
  for (const Finished& end : sink->all_finished()) {
    CHECK(end.reason == Finished::Reason::kCancelled);
  }
  CHECK(sink->all_finished().size() == 4);
  CHECK(backend->load().running == 0);
}

TEST_CASE("the failure of a script ends all its answers, once") {
  const auto backend = Open(R"({"rules": [{"steps": [{"text": "a"},
    {"fail": {"code": "INTERNAL", "message": "of the inside"}}]}]})");
  GenerateRequest request = Ask("x");
  request.n = 3;
  const auto sink = std::make_shared<RecordingSink>(0, 3);
  REQUIRE(backend->Generate(request, sink).ok());
  REQUIRE(sink->WaitForEnd());
  backend->Drain(std::chrono::seconds(10));
  CHECK(sink->failure().code() == absl::StatusCode::kInternal);
  CHECK(sink->ends() == 1);
}

TEST_CASE("a script tells a prompt's tokens before its answer") {
  const auto backend = Open("{}");
  GenerateRequest request = Ask("x");
  request.prompt = TextPrompt{std::string(200, 'a')};
  request.prompt_report = PromptReport{.top_logprobs = 1};
  const auto sink = std::make_shared<RecordingSink>();
  REQUIRE(backend->Generate(std::move(request), sink).ok());
  REQUIRE(sink->WaitForEnd());
  REQUIRE(sink->prompt().size() == 2);
  CHECK(sink->prompt()[1].position == 128);
  CHECK(sink->prompt()[0].tokens[0].top.empty());
  CHECK(sink->prompt()[0].tokens[1].top.size() == 1);
  CHECK(sink->prompt()[0].text + sink->prompt()[1].text == std::string(200, 'a'));
  GenerateRequest suffix = Ask("x", "r2");
  suffix.infill = Infill{.suffix = "y"};
  const auto refused = backend->Generate(suffix, std::make_shared<RecordingSink>());
  CHECK(refused.status().code() == absl::StatusCode::kUnimplemented);
  CHECK(base::ParamOf(refused.status()) == "suffix");
}

}  // namespace conclave::backends
