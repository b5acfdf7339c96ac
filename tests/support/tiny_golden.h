// The golden files of tests/golden/models beside the tiny models they are of.
#pragma once

#include <string>
#include <vector>

#include "engine/request.h"
#include "tools/synth_model.h"

namespace conclave::engine {

struct TinyGolden {
  SynthSpec spec;
  std::vector<TokenId> prompt;
  std::vector<TokenId> greedy;              // what greedy decoding appends
  std::vector<std::vector<double>> logits;  // of each position of the prompt
};

// Of a name in TinyNames().
TinyGolden ReadTinyGolden(const std::string& name);

// The names whose model the device CONCLAVE_DEVICE names can run: all on a CPU; another device may
// lack a feature, and says so when the model is opened.
std::vector<std::string> RunnableTinyNames();

}  // namespace conclave::engine
