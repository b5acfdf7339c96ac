// Which experts a row goes to, against the definitions of the published models.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "conformance/kernel_runs.h"
#include "conformance/random.h"
#include "engine/kernels/kernels.h"

namespace conclave::engine {

TEST_CASE("routing takes the largest experts, the lower id among equals") {
  const int32_t experts = 12;
  std::vector<float> logits = Random(81).Floats(3 * experts, 4.0f);
  for (int32_t e = 0; e < experts; ++e) logits[static_cast<size_t>(e)] = e % 3 == 0 ? 1.0f : 0.0f;
  for (const std::string& isa : SupportedIsas()) {
    const auto kernels = Make(isa, 2);
    std::vector<int32_t> ids(3 * 4);
    std::vector<float> weights(3 * 4);
    kernels->Route({.num_experts = experts, .top_k = 4, .renormalize = true}, logits.data(),
                   experts, 3, ids.data(), weights.data());
    CHECK(std::vector<int32_t>(ids.begin(), ids.begin() + 4) == std::vector<int32_t>{0, 3, 6, 9});
    for (int r = 0; r < 3; ++r) {
      float sum = 0;
      for (int j = 0; j < 4; ++j) sum += weights[static_cast<size_t>(r * 4 + j)];
      CHECK(sum == Approx(1.0f));
      for (int j = 1; j < 4; ++j) {
        CHECK(weights[static_cast<size_t>(r * 4 + j)] <=
              weights[static_cast<size_t>(r * 4 + j - 1)]);
      }
    }
    std::vector<float> raw(3 * 4);
    kernels->Route({.num_experts = experts, .top_k = 4}, logits.data(), experts, 3, ids.data(),
                   raw.data());
    const double share = std::exp(1.0) / (4 * std::exp(1.0) + 8);
    CHECK(raw[0] == Approx(share).epsilon(1e-6));
  }
}

namespace {

struct Choice {
  std::vector<int32_t> ids;
  std::vector<double> weights;
};

// The published definitions, straight down: scores, choice, groups, weights.
Choice PlainRoute(const RouterArgs& router, const float* logits) {
  const auto n = static_cast<size_t>(router.num_experts);
  std::vector<double> scores(logits, logits + n);
  if (router.score == RouterScore::kSigmoid) {
    for (double& s : scores) s = 1 / (1 + std::exp(-s));
  }
  const auto softmax = [](std::vector<double>& values) {
    double sum = 0;
    for (double& v : values) sum += v = std::exp(v);
    for (double& v : values) v /= sum;
  };
  if (router.score == RouterScore::kSoftmax) softmax(scores);
  std::vector<double> choice = scores;
  if (router.selection_bias != nullptr) {
    for (size_t i = 0; i < n; ++i) choice[i] += double{router.selection_bias[i]};
  }
  const size_t size = n / static_cast<size_t>(router.num_groups);
  std::vector<std::pair<double, size_t>> groups;
  for (size_t g = 0; g * size < n; ++g) {
    std::vector<double> best(choice.begin() + static_cast<int64_t>(g * size),
                             choice.begin() + static_cast<int64_t>((g + 1) * size));
    std::ranges::sort(best, std::greater<>());
    groups.emplace_back(std::accumulate(best.begin(), best.begin() + router.group_best, 0.0), g);
  }
  std::ranges::sort(groups, std::greater<>());
  for (size_t i = static_cast<size_t>(router.num_groups_used); i < groups.size(); ++i) {
    for (size_t e = 0; e < size; ++e) choice[groups[i].second * size + e] = -1e9;
  }
  Choice found;
  std::vector<double> chosen;
  for (int32_t k = 0; k < router.top_k; ++k) {
    const auto at = std::ranges::max_element(choice) - choice.begin();
    found.ids.push_back(static_cast<int32_t>(at));
    chosen.push_back(scores[static_cast<size_t>(at)]);
    choice[static_cast<size_t>(at)] = -1e12;
  }
  if (router.score == RouterScore::kSoftmaxOfSelected) softmax(chosen);
  const double sum = std::accumulate(chosen.begin(), chosen.end(), 0.0);
  for (const double w : chosen) {
    found.weights.push_back(w / (router.renormalize ? sum : 1) * double{router.scale});
  }
  return found;
}

}  // namespace

TEST_CASE("every kind of router agrees with its definition") {
  const int32_t experts = 32;
  const int64_t rows = 40;
  const std::vector<float> logits = Random(82).Floats(rows * experts, 2.0f);
  const std::vector<float> bias = Random(83).Floats(experts, 0.5f);
  const RouterArgs kinds[] = {
      {.top_k = 6, .scale = 1.5f},                                          // V2-Lite
      {.top_k = 6, .num_groups = 8, .num_groups_used = 3, .scale = 16.0f},  // V2
      {.top_k = 8,
       .score = RouterScore::kSigmoid,
       .selection_bias = bias.data(),  // V3
       .num_groups = 8,
       .num_groups_used = 4,
       .group_best = 2,
       .renormalize = true,
       .scale = 2.5f},
      {.top_k = 8,
       .score = RouterScore::kSigmoid,
       .selection_bias = bias.data(),  // Kimi-K2
       .renormalize = true,
       .scale = 2.827f},
      {.top_k = 4, .score = RouterScore::kSoftmaxOfSelected},  // gpt-oss
      {.top_k = 32, .renormalize = true},
  };
  for (RouterArgs router : kinds) {
    router.num_experts = experts;
    std::vector<int32_t> ids(static_cast<size_t>(rows * router.top_k));
    const std::vector<float> weights = OnAll([&](Kernels& kernels) {
      std::vector<float> out(ids.size());
      kernels.Route(router, logits.data(), experts, rows, ids.data(), out.data());
      return out;
    });
    for (int64_t r = 0; r < rows; ++r) {
      CAPTURE(router.top_k, router.num_groups, r);
      const Choice expected = PlainRoute(router, &logits[static_cast<size_t>(r * experts)]);
      const auto first = r * router.top_k;
      CHECK(std::vector<int32_t>(ids.begin() + first, ids.begin() + first + router.top_k) ==
            expected.ids);
      for (int32_t k = 0; k < router.top_k; ++k) {
        CHECK(weights[static_cast<size_t>(first + k)] ==
              Approx(expected.weights[static_cast<size_t>(k)]).epsilon(1e-5));
      }
    }
  }
}

}  // namespace conclave::engine
