// Experts that follow what is chosen, over routing drawn from Zipf's law.
#include "engine/placement/expert_hotness.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>
#include <random>
#include <utility>
#include <vector>

namespace conclave::engine {
namespace {

constexpr int32_t kLayers = 4;
constexpr int32_t kExperts = 128;
constexpr int32_t kTopK = 8;
constexpr int32_t kOnDevice = 51;  // 40 %
constexpr int64_t kHalfLife = 4096;
constexpr int64_t kStep = 64;  // tokens between two plans

// Draws kTopK different experts for each token, the r-th most likely with weight r^-exponent.
class Routing final {
 public:
  Routing(double exponent, uint64_t seed) : random_(seed) {
    for (int32_t layer = 0; layer < kLayers; ++layer) {
      std::vector<int32_t> ranks(kExperts);
      std::iota(ranks.begin(), ranks.end(), 0);
      std::shuffle(ranks.begin(), ranks.end(), random_);
      log_weights_.emplace_back(kExperts);
      for (size_t r = 0; r < ranks.size(); ++r) {
        log_weights_.back()[static_cast<size_t>(ranks[r])] =
            -exponent * std::log(static_cast<double>(r + 1));
      }
    }
  }

  ExpertCounts Draw(int64_t tokens) {
    ExpertCounts counts(kLayers, std::vector<int64_t>(kExperts));
    std::uniform_real_distribution<double> uniform(1e-12, 1.0);
    std::vector<std::pair<double, size_t>> scores(kExperts);
    for (size_t layer = 0; layer < counts.size(); ++layer) {
      for (int64_t t = 0; t < tokens; ++t) {
        // The best of perturbed logarithms are draws without replacement.
        for (size_t e = 0; e < scores.size(); ++e) {
          scores[e] = {std::log(-std::log(uniform(random_))) - log_weights_[layer][e], e};
        }
        std::nth_element(scores.begin(), scores.begin() + kTopK, scores.end());
        for (int32_t j = 0; j < kTopK; ++j) ++counts[layer][scores[static_cast<size_t>(j)].second];
      }
    }
    return counts;
  }

 private:
  std::mt19937_64 random_;
  std::vector<std::vector<double>> log_weights_;
};

using Placement = std::vector<std::vector<int32_t>>;

Placement FirstOnes() {
  std::vector<int32_t> first(kOnDevice);
  std::iota(first.begin(), first.end(), 0);
  return Placement(kLayers, first);
}

void Apply(const std::vector<ExpertExchange>& exchanges, Placement& device) {
  for (const ExpertExchange& e : exchanges) {
    std::vector<int32_t>& experts = device[static_cast<size_t>(e.layer)];
    CHECK(std::count(experts.begin(), experts.end(), e.in) == 0);
    const auto place = std::find(experts.begin(), experts.end(), e.out);
    REQUIRE(place != experts.end());
    *place = e.in;
  }
}

double Share(const ExpertCounts& counts, const Placement& device) {
  ExpertHotness once(1e12);
  once.Add(0, counts);
  return once.ShareOf(device);
}

// That of who knows what will be chosen.
double BestShare(const ExpertCounts& counts) {
  int64_t all = 0, best = 0;
  for (std::vector<int64_t> layer : counts) {
    std::sort(layer.rbegin(), layer.rend());
    all += std::accumulate(layer.begin(), layer.end(), int64_t{0});
    best += std::accumulate(layer.begin(), layer.begin() + kOnDevice, int64_t{0});
  }
  return static_cast<double>(best) / static_cast<double>(all);
}

struct Run {
  Placement device = FirstOnes();
  ExpertHotness hotness{kHalfLife};
  int64_t exchanges = 0;

  void For(Routing& routing, int64_t tokens) {
    for (int64_t done = 0; done < tokens; done += kStep) {
      hotness.Add(kStep, routing.Draw(kStep));
      const auto plan = PlanExchanges(hotness.values(), device);
      Apply(plan, device);
      exchanges += static_cast<int64_t>(plan.size());
    }
  }
};

}  // namespace

TEST_CASE("what was chosen a half-life ago counts half") {
  ExpertHotness hotness(100);
  hotness.Add(100, {{8, 0}});
  hotness.Add(100, {{0, 2}});
  CHECK(hotness.values()[0][0] == Approx(4));
  CHECK(hotness.values()[0][1] == Approx(2));
  CHECK(hotness.ShareOf({{0}}) == Approx(4.0 / 6));
  CHECK(hotness.ShareOf({}) == 0);
  CHECK(ExpertHotness(100).ShareOf({{0}}) == 0);
  // Layers that are not shared, or not yet known, have nothing.
  hotness.Add(0, {{}, {1}});
  CHECK(hotness.values().size() == 2);
}

TEST_CASE("the device's share comes near that of who knows the future") {
  Routing routing(1.0, 1);
  Run run;
  const double before = Share(routing.Draw(4096), run.device);
  run.For(routing, 2 * kHalfLife);
  const ExpertCounts future = routing.Draw(8192);
  const double share = Share(future, run.device), best = BestShare(future);
  CAPTURE(before, share, best);
  CHECK(before < 0.55);
  CHECK(best > 0.75);
  CHECK(share > best - 0.02);
}

TEST_CASE("experts follow routing that shifts") {
  Routing first(1.0, 1), second(1.0, 2);
  Run run;
  run.For(first, 2 * kHalfLife);
  const ExpertCounts future = second.Draw(8192);
  const double best = BestShare(future);
  CHECK(Share(future, run.device) < best - 0.1);
  run.For(second, 3 * kHalfLife);
  CAPTURE(Share(future, run.device), best);
  CHECK(Share(future, run.device) > best - 0.02);
}

TEST_CASE("steady routing leaves experts where they have come to be") {
  for (const double exponent : {1.0, 0.0}) {
    Routing routing(exponent, 3);
    Run run;
    run.For(routing, 4 * kHalfLife);
    const int64_t settled = run.exchanges;
    run.For(routing, 4 * kHalfLife);
    CAPTURE(exponent, settled, run.exchanges);
    // Of 204 experts on the device, over 16384 tokens.
    CHECK(run.exchanges - settled <= 8);
  }
}

TEST_CASE("exchanges win most first, and never what the rules do not allow") {
  const ExchangeRules rules = {.least = 5, .margin = 0.5, .deviations = 0};
  const auto plan =
      PlanExchanges({{100, 10, 50, 0}, {}, {1000, 0}, {16, 10}}, {{1, 3}, {}, {1}, {1}}, rules);
  REQUIRE(plan.size() == 3);
  CHECK(plan[0].layer == 2);
  CHECK((plan[1].layer == 0 && plan[1].in == 0 && plan[1].out == 3));
  CHECK((plan[2].in == 2 && plan[2].out == 1));
  // 16 wins 6 of 10, which is over the least and not over least and margin.
  CHECK(PlanExchanges({{16, 10}}, {{1}}, {.least = 5, .margin = 0, .deviations = 0}).size() == 1);
  CHECK(PlanExchanges({{16, 10}}, {{1}}, {.least = 0, .margin = 0, .deviations = 2}).empty());
  CHECK(PlanExchanges({}, {{1}}).empty());
}

}  // namespace conclave::engine
