#include "embed/pooling.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "embed/served_model.h"

namespace conclave::embed {

TEST_CASE("each pooling takes its tokens") {
  const std::vector<float> hidden = {1, 2, 3, 4, 8, 9};  // [3][2]
  std::vector<float> out(2);
  Pool(Pooling::kCls, hidden.data(), 3, 2, out.data());
  CHECK(out == std::vector<float>{1, 2});
  Pool(Pooling::kLast, hidden.data(), 3, 2, out.data());
  CHECK(out == std::vector<float>{8, 9});
  Pool(Pooling::kMean, hidden.data(), 3, 2, out.data());
  CHECK(out == std::vector<float>{4, 5});
}

TEST_CASE("a normalised vector has length one, and zeros stay zeros") {
  std::vector<float> vector = {3, 4};
  Normalize(vector);
  CHECK(vector[0] == Approx(0.6f));
  CHECK(vector[1] == Approx(0.8f));
  std::vector<float> zeros = {0, 0};
  Normalize(zeros);
  CHECK(zeros == std::vector<float>{0, 0});
}

TEST_CASE("fewer dimensions are cut and normalised again") {
  const std::vector<float> cut = Finish({3, 4, 100}, 2, true);
  REQUIRE(cut.size() == 2);
  CHECK(cut[0] == Approx(0.6f));
  CHECK(Finish({3, 4, 100}, 0, false) == std::vector<float>{3, 4, 100});
}

}  // namespace conclave::embed
