#include "support/tiny_golden.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "engine/models/architecture.h"
#include "support/golden.h"

namespace conclave::engine {

TinyGolden ReadTinyGolden(const std::string& name) {
  // The same model in another layout has the same logits.
  const std::string file = name == "mixtral_apart" ? "mixtral" : name;
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
  std::vector<std::string> names;
  for (const std::string& name : TinyNames()) {
    const std::string architecture = TinySpec(name)->architecture;
    const auto known = AllArchitectures();
    if (std::any_of(known.begin(), known.end(),
                    [&](const Architecture& row) { return row.name == architecture; })) {
      names.push_back(name);
    }
  }
  return names;
}

}  // namespace conclave::engine
