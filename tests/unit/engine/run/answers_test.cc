// Several answers to one prompt, through the engine's door.
#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <future>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "unit/engine/run/engine_checks.h"

namespace conclave::engine {
namespace {

GenerateRequest ManyAnswers(uint64_t which, int32_t prompt_tokens, int32_t max_tokens, int32_t n) {
  GenerateRequest request = SampledRequest(which, prompt_tokens, max_tokens);
  request.n = n;
  return request;
}

std::vector<Event> Ends(const Collector& collector) {
  std::vector<Event> ends;
  for (const Event& event : collector.events()) {
    if (event.kind == Event::Kind::kFinished) ends.push_back(event);
  }
  return ends;
}

}  // namespace

TEST_CASE("an answer is the same alone, among others and amid 32 other requests, bit for bit") {
  constexpr int32_t kPrompt = 37, kTokens = 20;
  std::vector<std::vector<std::pair<TokenId, float>>> expected;
  {
    const auto engine = OpenTiny({.num_threads = 1});
    const auto all = Start(*engine, ManyAnswers(7, kPrompt, kTokens, kAnswersMax));
    Finish(*all);
    for (int32_t i = 0; i < kAnswersMax; ++i) expected.push_back(Trace(*all, i));
  }
  CHECK(std::set(expected.begin(), expected.end()).size() == kAnswersMax);
  for (const bool prefix_cache : {false, true}) {
    for (const int32_t n : {1, 3, 8}) {
      const auto engine =
          OpenTiny({.num_threads = 2, .step_token_budget = 48, .prefix_cache = prefix_cache});
      std::vector<std::shared_ptr<Collector>> others;
      for (uint64_t i = 0; i < 32; ++i) {
        others.push_back(Start(*engine, SampledRequest(100 + i, 3 + static_cast<int32_t>(i), 30)));
      }
      const auto some = Start(*engine, ManyAnswers(7, kPrompt, kTokens, n));
      const Event end = Finish(*some);
      CHECK(end.usage.prompt_tokens == kPrompt);
      for (int32_t i = 0; i < n; ++i) {
        CHECK(Trace(*some, i) == expected[static_cast<size_t>(i)]);
      }
      for (const auto& other : others) Finish(*other);
    }
  }
}

TEST_CASE("answers share the prompt's full blocks, and it is computed once") {
  // 100 tokens are 6 full blocks of 16 and a rest that each answer has to itself.
  constexpr int32_t kPrompt = 100, kAnswers = 8;
  for (const bool prefix_cache : {false, true}) {
    const auto engine = OpenTiny({.prefix_cache = prefix_cache});
    std::atomic<int64_t> used_most{0};
    const auto collector =
        Start(*engine, ManyAnswers(1, kPrompt, 4, kAnswers), [&](const Event& event) {
          if (event.kind == Event::Kind::kToken) {
            used_most = std::max<int64_t>(used_most, engine->Stats().kv_blocks_used);
          }
          return SinkAction::kContinue;
        });
    Finish(*collector);
    CHECK(used_most == 6 + kAnswers);
    CHECK(engine->Stats().kv_blocks_used == 0);
    CHECK(engine->Stats().prompt_tokens_total == kPrompt);
    CHECK(engine->Stats().output_tokens_total == 4 * kAnswers);
    for (const Event& end : Ends(*collector)) CHECK(end.usage.cached_tokens == 0);
  }
}

TEST_CASE("the stop of one answer does not stop the others") {
  const auto engine = OpenTiny();
  const auto collector =
      Start(*engine, ManyAnswers(2, 20, 12, 4), [count = 0](const Event& event) mutable {
        const bool second = event.kind == Event::Kind::kToken && event.index == 1;
        return second && ++count == 3 ? SinkAction::kStop : SinkAction::kContinue;
      });
  Finish(*collector);
  const std::vector<Event> ends = Ends(*collector);
  REQUIRE(ends.size() == 4);
  CHECK(ends[0].index == 1);
  for (const Event& end : ends) {
    CHECK(end.reason == (end.index == 1 ? FinishReason::kStop : FinishReason::kLength));
    CHECK(end.usage.output_tokens == (end.index == 1 ? 3 : 12));
    CHECK(collector->tokens(end.index).size() == static_cast<size_t>(end.usage.output_tokens));
  }
}

TEST_CASE("cancelling a request ends every answer and frees all") {
  const auto engine = OpenTiny({.max_sequences = 3});  // five run or wait
  const auto collector = Start(*engine, ManyAnswers(3, 40, 500, 5));
  REQUIRE(collector->WaitTokens(10, kDeadline));
  engine->Cancel("r3");
  Finish(*collector);
  const std::vector<Event> ends = Ends(*collector);
  REQUIRE(ends.size() == 5);
  for (const Event& end : ends) CHECK(end.reason == FinishReason::kCancelled);
  CHECK(engine->Stats().running + engine->Stats().waiting == 0);
  CHECK(engine->Stats().kv_blocks_used == 0);
  // The name is free again.
  CHECK(Answer(*engine, ManyAnswers(3, 40, 2, 1)).size() == 2);
}

TEST_CASE("a reader that pauses rests all answers, and they go on as if nothing had been") {
  const auto engine = OpenTiny();
  const auto expected = Start(*engine, ManyAnswers(4, 30, 16, 3));
  Finish(*expected);
  std::promise<void> paused;
  const auto collector =
      Start(*engine, ManyAnswers(4, 30, 16, 3), [&, done = false](const Event& event) mutable {
        if (event.kind != Event::Kind::kToken || std::exchange(done, true)) {
          return SinkAction::kContinue;
        }
        paused.set_value();
        return SinkAction::kPause;
      });
  REQUIRE(paused.get_future().wait_for(kDeadline) == std::future_status::ready);
  // Others run to their end meanwhile; what was in the paused step is all there is.
  Answer(*engine, SampledRequest(5, 10, 20));
  CHECK(collector->tokens().size() <= 3);
  engine->Resume("r4");
  Finish(*collector);
  for (int32_t i = 0; i < 3; ++i) CHECK(Trace(*collector, i) == Trace(*expected, i));
}

TEST_CASE("answers that do not fit together preempt each other and lose nothing") {
  const auto roomy = OpenTiny({.prefix_cache = false});
  const auto expected = Start(*roomy, ManyAnswers(6, 40, 60, 6));
  Finish(*expected);
  for (const bool prefix_cache : {false, true}) {
    const int64_t per_token = roomy->info().kv_bytes_per_token;
    const auto tight = OpenTiny(
        {.context_length = 128, .kv_bytes = per_token * 16 * 14, .prefix_cache = prefix_cache});
    const auto collector = Start(*tight, ManyAnswers(6, 40, 60, 6));
    Finish(*collector);
    CHECK(tight->Stats().preempted_total > 0);
    for (int32_t i = 0; i < 6; ++i) CHECK(Trace(*collector, i) == Trace(*expected, i));
    CHECK(tight->Stats().kv_blocks_used == 0);
  }
}

TEST_CASE("greedy answers are all the same") {
  const auto engine = OpenTiny();
  GenerateRequest request = Request("a", TinyPrompt(1, 17, 128), 9);
  const std::vector<TokenId> alone = Answer(*engine, request);
  request.n = 3;
  const auto collector = Start(*engine, request);
  Finish(*collector);
  for (int32_t i = 0; i < 3; ++i) CHECK(collector->tokens(i) == alone);
}

TEST_CASE("how many answers there may be is said") {
  const auto engine = OpenTiny();
  for (const int32_t n : {0, -1, kAnswersMax + 1}) {
    const absl::Status status =
        engine->Submit(ManyAnswers(1, 4, 1, n), std::make_shared<Collector>());
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK(std::string(status.message()).substr(0, 2) == "n:");
  }
  const auto refused = [&engine](const GenerateRequest& request) {
    return absl::IsInvalidArgument(engine->Submit(request, std::make_shared<Collector>()));
  };
  GenerateRequest resumed = ManyAnswers(1, 4, 4, 2);
  resumed.resumed = {1};
  CHECK(refused(resumed));
  resumed.resumed.clear();
  resumed.answers = {{.output = {1}}};
  CHECK(refused(resumed));  // one is missing
  resumed.answers = {{.ended = true}, {.ended = true}};
  CHECK(refused(resumed));
  resumed.answers = {{.ended = true}, {.output = {100'000}}};
  CHECK(refused(resumed));
}

TEST_CASE("answers taken up again go on as if nothing had been, and those that ended stay ended") {
  constexpr int32_t kPrompt = 37, kTokens = 20, kAnswers = 4;
  const auto engine = OpenTiny();
  const auto whole = Start(*engine, ManyAnswers(9, kPrompt, kTokens, kAnswers));
  Finish(*whole);
  for (const bool prefix_cache : {false, true}) {
    const auto other = OpenTiny({.prefix_cache = prefix_cache});
    GenerateRequest request = ManyAnswers(9, kPrompt, kTokens, kAnswers);
    const std::vector<size_t> heard = {0, 7, 20, 13};
    for (int32_t i = 0; i < kAnswers; ++i) {
      const auto tokens = whole->tokens(i);
      const auto count = static_cast<ptrdiff_t>(heard[static_cast<size_t>(i)]);
      request.answers.push_back({.output = {tokens.begin(), tokens.begin() + count}});
    }
    for (const int32_t ended :
         {2, 0}) {  // then the first, which computes the prompt, has ended too
      request.answers[static_cast<size_t>(ended)].ended = true;
      request.id += "again";
      const auto rest = Start(*other, GenerateRequest(request));
      Finish(*rest);
      for (int32_t i = 0; i < kAnswers; ++i) {
        const ResumedAnswer& answer = request.answers[static_cast<size_t>(i)];
        std::vector<TokenId> all = answer.output;
        for (const TokenId token : rest->tokens(i)) all.push_back(token);
        CHECK(answer.ended == rest->tokens(i).empty());
        if (!answer.ended) CHECK(all == whole->tokens(i));
      }
      CHECK(other->Stats().kv_blocks_used == 0);
    }
  }
}

}  // namespace conclave::engine
