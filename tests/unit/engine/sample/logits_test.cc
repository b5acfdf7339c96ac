#include "engine/sample/logits.h"

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

TEST_CASE("logprobs are those of the whole distribution") {
  const std::vector<float> logits = {std::log(0.2f), std::log(0.5f), std::log(0.3f)};
  const double lse = LogSumExp(logits);
  CHECK(lse == Approx(0).margin(1e-6));
  CHECK(LogprobOf(logits, lse, 2).logprob == Approx(std::log(0.3)).margin(1e-6));
  const std::vector<TokenLogprob> top = TopLogprobs(logits, lse, 2);
  REQUIRE(top.size() == 2);
  CHECK(top[0].id == 1);
  CHECK(top[1].id == 2);
  CHECK(TopLogprobs(logits, lse, 99).size() == 3);
}

TEST_CASE("logprobs of masked tokens stay numbers, and large logits do not overflow") {
  const std::vector<float> logits = {-INFINITY, 1000.0f, 1000.0f};
  const double lse = LogSumExp(logits);
  CHECK(LogprobOf(logits, lse, 0).logprob == kMinLogprob);
  CHECK(LogprobOf(logits, lse, 1).logprob == Approx(std::log(0.5)).margin(1e-6));
}

}  // namespace conclave::engine
