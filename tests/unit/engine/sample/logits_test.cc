#include "engine/sample/logits.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "engine/sample/logprobs.h"

namespace conclave::engine {
namespace {

std::vector<float> Apply(const SamplingParams& params, const std::vector<TokenId>& prompt,
                         const std::vector<TokenId>& output, std::vector<float> logits,
                         const std::vector<TokenId>& stop_ids = {}) {
  LogitsProcessor processor(static_cast<int32_t>(logits.size()));
  processor.Apply(params, {.prompt = prompt, .output = output, .stop_ids = stop_ids}, logits);
  return logits;
}

}  // namespace

TEST_CASE("a grammar's mask leaves what it allows, and stop ids where the text may end") {
  const auto masked = [](std::vector<uint64_t> words, bool may_end, std::vector<TokenId> stops,
                         size_t count) {
    std::vector<float> logits(count);
    for (size_t i = 0; i < count; ++i) logits[i] = static_cast<float>(i);
    MaskLogits({.words = words, .may_end = may_end, .stop_ids = stops}, logits);
    std::vector<TokenId> left;
    for (size_t i = 0; i < count; ++i) {
      if (std::isinf(logits[i])) {
        CHECK(logits[i] < 0);
      } else {
        CHECK(logits[i] == static_cast<float>(i));
        left.push_back(static_cast<TokenId>(i));
      }
    }
    return left;
  };
  CHECK(masked({0b1010}, false, {}, 6) == std::vector<TokenId>{1, 3});
  // A stop id counts as an end, whatever its bit says.
  CHECK(masked({0b1010}, true, {5}, 6) == std::vector<TokenId>{1, 3, 5});
  CHECK(masked({0b1010}, false, {1}, 6) == std::vector<TokenId>{3});
  CHECK(masked({0b1010}, true, {-1, 99}, 6) == std::vector<TokenId>{1, 3});
  // Whole words, a last one cut short, and ids that the mask does not reach.
  CHECK(masked({0, ~uint64_t{0}}, false, {}, 70) == std::vector<TokenId>{64, 65, 66, 67, 68, 69});
  CHECK(masked({uint64_t{1} << 63}, false, {}, 130) == std::vector<TokenId>{63});
  CHECK(masked({}, true, {2}, 4) == std::vector<TokenId>{2});
  CHECK(masked({}, false, {2}, 4).empty());
}

TEST_CASE("neutral parameters leave the logits as they are") {
  CHECK(Apply({}, {0, 1}, {2}, {1, 2, 3}) == std::vector<float>{1, 2, 3});
}

TEST_CASE("the repetition penalty moves seen tokens of prompt and output away from likely") {
  CHECK(Apply({.repetition_penalty = 2}, {0, 0}, {1}, {4, -4, 4}) == std::vector<float>{2, -8, 4});
}

TEST_CASE("frequency and presence penalties count the output only") {
  CHECK(Apply({.frequency_penalty = 0.5f, .presence_penalty = 1}, {2, 2}, {0, 0, 1}, {5, 5, 5}) ==
        std::vector<float>{3, 3.5f, 5});
  CHECK(Apply({.frequency_penalty = -1}, {}, {0, 0}, {5, 5}) == std::vector<float>{7, 5});
}

TEST_CASE("penalty_last_n is a window over the newest tokens") {
  const std::vector<float> logits = {4, 4, 4, 4};
  CHECK(Apply({.repetition_penalty = 2, .penalty_last_n = 2}, {0, 1}, {2}, logits) ==
        std::vector<float>{4, 2, 2, 4});
  CHECK(Apply({.repetition_penalty = 2, .penalty_last_n = 0}, {0, 1}, {2}, logits) == logits);
  CHECK(Apply({.repetition_penalty = 2, .penalty_last_n = 1}, {0, 1}, {2}, logits) ==
        std::vector<float>{4, 4, 2, 4});
}

TEST_CASE("the processor keeps nothing from one row to the next") {
  LogitsProcessor processor(3);
  const std::vector<TokenId> output = {0};
  std::vector<float> first = {1, 1, 1};
  processor.Apply({.presence_penalty = 1}, {.output = output}, first);
  CHECK(first == std::vector<float>{0, 1, 1});
  std::vector<float> second = {1, 1, 1};
  processor.Apply({.presence_penalty = 1}, {}, second);
  CHECK(second == std::vector<float>{1, 1, 1});
}

TEST_CASE("a bias is added to its token") {
  CHECK(Apply({.logit_bias = {{1, 2.5f}, {0, -100}}}, {}, {}, {0, 0, 0}) ==
        std::vector<float>{-100, 2.5f, 0});
}

TEST_CASE("stop ids are masked until there are min_tokens") {
  const std::vector<TokenId> stops = {2, 77};  // 77 is outside this vocabulary
  CHECK(std::isinf(Apply({.min_tokens = 2}, {}, {0}, {0, 0, 0}, stops)[2]));
  CHECK(Apply({.min_tokens = 2}, {}, {0, 0}, {0, 0, 0}, stops)[2] == 0);
}

TEST_CASE("what changes a row can be listed instead") {
  const SamplingParams params = {.repetition_penalty = 1.5f,
                                 .frequency_penalty = 0.25f,
                                 .presence_penalty = -1,
                                 .logit_bias = {{4, 0.1f}, {1, 2}, {4, 0.7f}},
                                 .min_tokens = 9};
  const std::vector<TokenId> prompt = {3, 1, 3, 77}, output = {2, 4, 4}, stops = {5, 0, 5, 77};
  const std::vector<float> logits = {1.1f, -2.3f, 3.7f, 0.0f, 1.9f, 6.1f, -0.4f};
  RowChanges changes;
  LogitsProcessor(7).List(params, {.prompt = prompt, .output = output, .stop_ids = stops}, changes);
  std::vector<float> changed = logits;
  for (const std::vector<RowChange>& list : changes) {
    std::vector<TokenId> met;
    for (const RowChange& change : list) {
      float& logit = changed[static_cast<size_t>(change.id)];
      if (change.kind == RowChange::Kind::kAdd) logit += change.value;
      if (change.kind == RowChange::Kind::kSet) logit = change.value;
      if (change.kind == RowChange::Kind::kRepel) {
        logit = logit > 0 ? logit / change.value : logit * change.value;
      }
      if (!met.empty() && met.back() == change.id) continue;
      CHECK(std::count(met.begin(), met.end(), change.id) == 0);  // one id's are neighbours
      met.push_back(change.id);
    }
  }
  CHECK(changed == Apply(params, prompt, output, logits, stops));
}

TEST_CASE("logprobs are those of the whole distribution") {
  const std::vector<float> logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
  RowScan row;
  row.Read(logits);
  const double lse = LogSumExp(row);
  CHECK(lse == Approx(0).margin(1e-6));
  CHECK(LogprobOf(2, logits[2], lse).logprob == Approx(std::log(0.3)).margin(1e-6));
  const std::vector<TokenLogprob> top = TopLogprobs(row, lse, 2);
  REQUIRE(top.size() == 2);
  CHECK(top[0].id == 1);
  CHECK(top[1].id == 2);
  CHECK(TopLogprobs(row, lse, 99).size() == 3);
}

TEST_CASE("logprobs of masked tokens stay numbers, and large logits do not overflow") {
  const std::vector<float> logits = {-INFINITY, 1000.0f, 1000.0f};
  RowScan row;
  row.Read(logits);
  const double lse = LogSumExp(row);
  CHECK(LogprobOf(0, logits[0], lse).logprob == kMinLogprob);
  CHECK(LogprobOf(1, logits[1], lse).logprob == Approx(std::log(0.5)).margin(1e-6));
}

}  // namespace conclave::engine
