#include "support/tiny_golden.h"

#include <utility>

#include "base/check.h"
#include "engine/models/architecture.h"
#include "support/golden.h"
#include "support/tiny_model.h"

namespace conclave::engine {

TinyGolden ReadTinyGolden(const std::string& name) {
  // The same model in another layout has the same logits.
  const std::string file = name == "mixtral_apart"       ? "mixtral"
                           : name == "deepseek2_gate_up" ? "deepseek2"
                                                         : name;
  auto rows = ReadGolden("models/" + file + ".txt");
  CHECK(rows["prompt"].size() == 1 && rows["greedy"].size() == 1);
  const std::vector<double>&prompt = rows["prompt"][0], &greedy = rows["greedy"][0];
  CHECK(rows["logits"].size() == prompt.size());
  TinyGolden golden{.spec = *TinySpec(name),
                    .prompt = {prompt.begin(), prompt.end()},
                    .greedy = {greedy.begin(), greedy.end()},
                    .logits = std::move(rows["logits"])};
  if (!rows["rope_freqs"].empty()) {
    const std::vector<double>& divisors = rows["rope_freqs"][0];
    golden.spec.rope_freqs.assign(divisors.begin(), divisors.end());
  }
  return golden;
}

std::vector<std::string> RunnableTinyNames() {
  auto kernels = CreateKernels({.num_threads = 1});
  CHECK(kernels.ok());
  std::vector<std::string> names;
  for (const std::string& name : TinyNames()) {
    // Minutes on an emulated device, for layers that shallower models have as well.
    if (!(*kernels)->name().starts_with("cpu/") && TinySpec(name)->num_layers > 10) continue;
    const absl::Status status = OpenModel(*MakeTinySource(*TinySpec(name)), **kernels).status();
    const bool lacks_feature = status.code() == absl::StatusCode::kUnimplemented;
    CHECK(status.ok() || (lacks_feature && !(*kernels)->name().starts_with("cpu/")));
    if (status.ok()) names.push_back(name);
  }
  return names;
}

}  // namespace conclave::engine
