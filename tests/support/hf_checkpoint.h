// Writes the folder of a Hugging Face model from a GGUF source, so that tests have one without
// keeping weights: names, order of rows and config.json as transformers writes them. What is here
// is the way back, written from transformers' side: it shares nothing with engine/weights/hf.
#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "engine/weights/source.h"
#include "tools/synth_model.h"

namespace conclave::engine {

struct StoredTensor {
  std::string name;
  std::string dtype;  // "F32", "I32", "F8_E4M3", …
  std::vector<int64_t> shape;
  std::string bytes;
};

struct HfLayout {
  bool stacked = false;  // experts as transformers holds them in memory, not as it writes them
  bool rounded = false;  // every value to bf16, still in F32
  bool bf16 = false;     // the same as bf16, as most published files are
};

// The tensors of a tiny model under the names of transformers, and its config.json. `more` is put
// into the object: "\"rope_scaling\":{…}".
std::vector<StoredTensor> HfTensors(const SynthSpec& spec, const HfLayout& layout = {});
std::string HfConfig(const SynthSpec& spec, const std::string& more = "");

// The values a source has for a tensor, made and given back.
std::vector<float> DecodedValues(const ModelSource& source, const std::string& name);

// One file, or as many with an index.
void WriteCheckpoint(const std::string& folder, const std::vector<StoredTensor>& tensors,
                     const std::string& config, size_t num_shards = 1);

}  // namespace conclave::engine
