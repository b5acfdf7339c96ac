// Which experts a row goes to. Few numbers per row: plain loops in a fixed order.
#include <algorithm>
#include <limits>
#include <span>
#include <vector>

#include "base/check.h"
#include "engine/kernels/cpu/cpu_kernels.h"

namespace conclave::engine {
namespace {

constexpr float kNever = -std::numeric_limits<float>::infinity();

// The k largest of the values, best first, the lower index first among equals; −inf is not chosen
// before anything else is.
void SelectBest(std::span<const float> values, int32_t k, int32_t* ids) {
  int32_t found = 0;
  for (int32_t i = 0; i < static_cast<int32_t>(values.size()); ++i) {
    const float value = values[static_cast<size_t>(i)];
    const auto at_place = [&](int32_t place) { return values[static_cast<size_t>(ids[place])]; };
    if (found == k && !(value > at_place(k - 1))) continue;
    int32_t at = found < k ? found++ : k - 1;
    for (; at > 0 && value > at_place(at - 1); --at) ids[at] = ids[at - 1];
    ids[at] = i;
  }
}

// Takes every expert outside the best groups out of the choice.
void KeepBestGroups(const RouterArgs& router, std::span<float> choice) {
  const int32_t size = router.num_experts / router.num_groups;
  std::vector<float> group_scores(static_cast<size_t>(router.num_groups));
  std::vector<int32_t> best(static_cast<size_t>(std::max(router.group_best, router.num_groups)));
  const auto group = [&](int32_t g) {
    return choice.subspan(static_cast<size_t>(g * size), static_cast<size_t>(size));
  };
  for (int32_t g = 0; g < router.num_groups; ++g) {
    SelectBest(group(g), router.group_best, best.data());
    float sum = 0;
    for (int32_t i = 0; i < router.group_best; ++i) {
      sum += group(g)[static_cast<size_t>(best[static_cast<size_t>(i)])];
    }
    group_scores[static_cast<size_t>(g)] = sum;
  }
  SelectBest(group_scores, router.num_groups_used, best.data());
  for (int32_t g = 0; g < router.num_groups; ++g) {
    const auto used = best.begin() + router.num_groups_used;
    if (std::find(best.begin(), used, g) == used) std::ranges::fill(group(g), kNever);
  }
}

}  // namespace

void CpuKernels::Route(const RouterArgs& router, const float* logits, int64_t stride, int64_t rows,
                       int32_t* ids, float* weights) {
  const int32_t experts = router.num_experts;
  CHECK(router.top_k >= 1 && router.top_k <= experts && experts % router.num_groups == 0);
  CHECK(router.num_groups_used >= 1 && router.num_groups_used <= router.num_groups);
  CHECK(router.top_k <= experts / router.num_groups * router.num_groups_used);
  CHECK(router.group_best >= 1 && router.group_best <= experts / router.num_groups);
  ForRows(rows, int64_t{experts} * 4, [&](int64_t first, int64_t last) {
    std::vector<float> scores(static_cast<size_t>(experts));
    std::vector<float> choice(static_cast<size_t>(experts));
    for (int64_t r = first; r < last; ++r) {
      std::copy_n(logits + r * stride, experts, scores.data());
      if (router.score == RouterScore::kSoftmax) isa_.softmax(scores.data(), experts);
      if (router.score == RouterScore::kSigmoid) isa_.sigmoid(scores.data(), experts);
      choice = scores;
      if (router.selection_bias != nullptr) isa_.add(router.selection_bias, experts, choice.data());
      if (router.num_groups_used < router.num_groups) KeepBestGroups(router, choice);
      int32_t* row_ids = ids + r * router.top_k;
      float* row_weights = weights + r * router.top_k;
      SelectBest(choice, router.top_k, row_ids);
      for (int32_t j = 0; j < router.top_k; ++j) {
        row_weights[j] = scores[static_cast<size_t>(row_ids[j])];
      }
      if (router.score == RouterScore::kSoftmaxOfSelected) isa_.softmax(row_weights, router.top_k);
      if (router.renormalize) {
        float sum = 0;
        for (int32_t j = 0; j < router.top_k; ++j) sum += row_weights[j];
        // The published models add this much, so that no division is by zero.
        for (int32_t j = 0; j < router.top_k; ++j) row_weights[j] /= sum + 1e-20f;
      }
      if (router.scale != 1.0f) isa_.scale(router.scale, router.top_k, row_weights);
    }
  });
}

}  // namespace conclave::engine
