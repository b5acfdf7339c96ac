// What a model makes of the tokens of a prompt, through the engine's door.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "support/tiny_golden.h"
#include "unit/engine/run/engine_checks.h"

namespace conclave::engine {
namespace {

// One entry for each token of the prompt but the first; fails when a position is missing or told
// twice.
std::vector<ScoredToken> Scores(const Collector& collector) {
  std::vector<ScoredToken> scores;
  for (const Event& event : collector.events()) {
    if (event.kind != Event::Kind::kPromptLogprobs) continue;
    CHECK(event.index == 0);
    REQUIRE(event.position == static_cast<int32_t>(scores.size()) + 1);
    scores.insert(scores.end(), event.scores.begin(), event.scores.end());
  }
  return scores;
}

GenerateRequest Scoring(const std::string& id, std::vector<TokenId> prompt, int32_t top) {
  GenerateRequest request = Request(id, std::move(prompt), 1);
  request.num_prompt_logprobs = top;
  return request;
}

std::vector<std::pair<TokenId, float>> Flat(const std::vector<ScoredToken>& scores) {
  std::vector<std::pair<TokenId, float>> flat;
  for (const ScoredToken& score : scores) {
    flat.emplace_back(score.logprob.id, score.logprob.logprob);
    for (const TokenLogprob& other : score.alternatives) flat.emplace_back(other.id, other.logprob);
  }
  return flat;
}

double LogSoftmax(const std::vector<double>& logits, TokenId token) {
  double sum = 0;
  for (const double logit : logits) sum += std::exp(logit);
  return logits[static_cast<size_t>(token)] - std::log(sum);
}

}  // namespace

TEST_CASE("the logprobs of a prompt are those of transformers") {
  for (const std::string& name : RunnableTinyNames()) {
    CAPTURE(name);
    const TinyGolden golden = ReadTinyGolden(name);
    const auto engine = OpenTiny({}, golden.spec);
    const auto collector = Start(*engine, Scoring("a", golden.prompt, 1));
    Finish(*collector);
    const std::vector<ScoredToken> scores = Scores(*collector);
    REQUIRE(scores.size() == golden.prompt.size() - 1);
    for (size_t i = 0; i < scores.size(); ++i) {
      const TokenId token = golden.prompt[i + 1];
      CHECK(scores[i].logprob.id == token);
      CHECK(std::abs(static_cast<double>(scores[i].logprob.logprob) -
                     LogSoftmax(golden.logits[i], token)) < 0.05);
      REQUIRE(scores[i].alternatives.size() == 1);
      const TokenLogprob& best = scores[i].alternatives[0];
      CHECK(best.logprob >= scores[i].logprob.logprob);
      if (best.id == token) CHECK(best.logprob == scores[i].logprob.logprob);
    }
    CHECK(collector->tokens() == std::vector<TokenId>{golden.greedy[0]});
  }
}

TEST_CASE("a prompt's logprobs are what generating its tokens told, bit for bit") {
  const auto engine = OpenTiny();
  GenerateRequest request = Request("a", TinyPrompt(1, 10, 128), 30);
  request.num_logprobs = 3;
  const auto generated = Start(*engine, request);
  Finish(*generated);
  std::vector<TokenId> whole = request.prompt;
  for (const TokenId token : generated->tokens()) whole.push_back(token);
  const auto scored = Start(*engine, Scoring("b", whole, 3));
  Finish(*scored);
  const auto flat = Flat(Scores(*scored));
  const auto trace = Trace(*generated);
  CHECK(std::vector(flat.end() - static_cast<ptrdiff_t>(trace.size()), flat.end()) == trace);
}

TEST_CASE("chunks, neighbours, the prefix cache and preemption change no score") {
  const std::vector<TokenId> prompt = TinyPrompt(3, 90, 128);
  const auto calm = OpenTiny({.num_threads = 1, .prefix_cache = false});
  const auto alone = Start(*calm, Scoring("alone", prompt, 2));
  Finish(*alone);
  const auto expected = Flat(Scores(*alone));
  REQUIRE(expected.size() == 89 * 3);
  const auto engine = OpenTiny({.num_threads = 2, .step_token_budget = 32});
  for (const bool is_cached : {false, true}) {
    std::vector<std::shared_ptr<Collector>> all;
    for (uint64_t i = 0; i < 4; ++i) {
      const std::string id = std::to_string(i) + (is_cached ? "c" : "");
      all.push_back(Start(*engine, Scoring("s" + id, prompt, 2)));
      all.push_back(Start(*engine, Request("g" + id, TinyPrompt(i, 50, 128), 20)));
    }
    for (size_t i = 0; i < all.size(); ++i) {
      const Event end = Finish(*all[i]);
      if (i % 2 == 1) continue;
      CHECK(Flat(Scores(*all[i])) == expected);
      CHECK(end.usage.cached_tokens == 0);
    }
  }
  // Room for hardly more than one of them: each loses its blocks and is told nothing twice.
  const auto tight = OpenTiny({.context_length = 160,
                               .step_token_budget = 32,
                               .kv_bytes = calm->info().kv_bytes_per_token * 16 * 16});
  std::vector<std::shared_ptr<Collector>> all;
  for (int i = 0; i < 3; ++i) {
    GenerateRequest request = Scoring(std::to_string(i), prompt, 2);
    request.max_tokens = 60;
    request.cache_salt = std::to_string(i);
    all.push_back(Start(*tight, std::move(request)));
  }
  for (const auto& one : all) {
    Finish(*one);
    CHECK(Flat(Scores(*one)) == expected);
  }
  CHECK(tight->Stats().preempted_total > 0);
}

TEST_CASE("a prompt can be scored without an answer") {
  const auto engine = OpenTiny();
  GenerateRequest request = Scoring("a", TinyPrompt(1, 33, 128), 0);
  request.prompt_only = true;
  const auto collector = Start(*engine, std::move(request));
  const Event end = Finish(*collector);
  CHECK(end.reason == FinishReason::kLength);
  CHECK(end.usage.output_tokens == 0);
  CHECK(Scores(*collector).size() == 32);
  CHECK(collector->tokens().empty());
  // A prompt of one token has nothing to tell.
  const auto single = Start(*engine, Scoring("b", {5}, 1));
  Finish(*single);
  CHECK(Scores(*single).empty());
  CHECK(single->tokens().size() == 1);
}

TEST_CASE("several answers have one prompt to tell of, and tell it before any of them speaks") {
  const auto engine = OpenTiny({.step_token_budget = 16});
  std::vector<std::shared_ptr<Collector>> all;
  for (const int32_t size : {40, 9, 13}) {
    GenerateRequest request = Scoring(std::to_string(size), TinyPrompt(1, size, 128), 1);
    request.n = 3;
    all.push_back(Start(*engine, std::move(request)));
  }
  for (const auto& one : all) {
    Finish(*one);
    const std::vector<Event> events = one->events();
    const auto is = [](Event::Kind kind) {
      return [kind](const Event& event) { return event.kind == kind; };
    };
    const auto first_token = std::ranges::find_if(events, is(Event::Kind::kToken));
    CHECK(std::none_of(first_token, events.end(), is(Event::Kind::kPromptLogprobs)));
    CHECK(one->tokens().size() == 3);
  }
  CHECK(Scores(*all[0]).size() == 39);
  CHECK(Scores(*all[1]).size() == 8);
}

TEST_CASE("the stop token tells its logprob") {
  const auto engine = OpenTiny();
  const std::vector<TokenId> prompt = TinyPrompt(5, 10, 128);
  GenerateRequest request = Request("a", prompt, 1);
  request.num_logprobs = 2;
  const auto free_run = Start(*engine, request);
  Finish(*free_run);
  request.id = "b";
  request.stop_ids = {free_run->tokens()[0]};
  const Event end = Finish(*Start(*engine, request));
  CHECK(end.reason == FinishReason::kStop);
  std::vector<std::pair<TokenId, float>> stop = {{end.logprob.id, end.logprob.logprob}};
  for (const TokenLogprob& other : end.alternatives) stop.emplace_back(other.id, other.logprob);
  CHECK(stop == Trace(*free_run));
}

}  // namespace conclave::engine
