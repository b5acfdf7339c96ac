#include "engine/sample/stopping.h"

#include <catch2/catch.hpp>

namespace conclave::engine {

TEST_CASE("the model's own stop ids count unless eos is ignored") {
  GenerateRequest request{.prompt = {1}, .stop_ids = {9, 3}};
  const StoppingCriteria both = MakeStoppingCriteria(request, {3, 7}, 100);
  CHECK(both.stop_ids == std::vector<TokenId>{3, 7, 9});
  request.sampling.ignore_eos = true;
  const StoppingCriteria own = MakeStoppingCriteria(request, {7}, 100);
  CHECK_FALSE(own.IsStop(7));
  CHECK(own.IsStop(9));
}

TEST_CASE("a stop id wins over the length") {
  const StoppingCriteria stopping{.stop_ids = {5}, .max_output = 2};
  CHECK(stopping.Check(5, 2) == FinishReason::kStop);
  CHECK(stopping.Check(4, 2) == FinishReason::kLength);
  CHECK_FALSE(stopping.Check(4, 1).has_value());
}

TEST_CASE("output is bounded by max_tokens and by the context") {
  GenerateRequest request{.prompt = std::vector<TokenId>(90, 1), .max_tokens = 50};
  CHECK(MakeStoppingCriteria(request, {}, 100).max_output == 10);
  CHECK(MakeStoppingCriteria(request, {}, 1000).max_output == 50);
  request.max_tokens = 0;
  CHECK(MakeStoppingCriteria(request, {}, 100).max_output == 10);
  // A prompt that fills the context still gets its one token.
  CHECK(MakeStoppingCriteria(request, {}, 90).max_output == 1);
}

}  // namespace conclave::engine
