// Writes the folder of a Hugging Face model from a GGUF source, so that tests have one without
// keeping weights: names, order of rows and config.json as transformers writes them.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "engine/tensor/tensor_view.h"
#include "tools/synth_model.h"

namespace conclave::engine {

struct StoredTensor {
  std::string name;
  std::string dtype;  // "F32", "I32", "F8_E4M3", …
  std::vector<int64_t> shape;
  std::string bytes;
};

// The tensors of a tiny model of llama, qwen2, qwen3 or qwen3moe under the names of transformers.
std::vector<StoredTensor> HfTensors(const SynthSpec& spec);
// `more` is put into the object: "\"rope_scaling\":{…}".
std::string HfConfig(const SynthSpec& spec, const std::string& more = "");

// One file, or as many with an index.
void WriteCheckpoint(const std::string& folder, const std::vector<StoredTensor>& tensors,
                     const std::string& config, size_t num_shards = 1);

}  // namespace conclave::engine
