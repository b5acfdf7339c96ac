// What a family of Hugging Face models is: the model_types it goes by, the GGUF architecture they
// become, what config.json must and may say, and which tensor becomes which. A family is one file
// in this folder, most of it a table, and one row in all.cc.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/status.h"
#include "engine/weights/directory.h"

namespace conclave::engine {

class ConfigReader;  // config.h
class TensorMapper;  // mapper.h

// How the linear layers of a checkpoint are stored.
enum class HfQuantization { kNone, kFp8, kGptq, kAwq, kPacked, kMxfp4 };

struct HfStorage {
  HfQuantization method = HfQuantization::kNone;
  int64_t group_size = 0;      // of GPTQ, AWQ and packed weights; -1 = the whole row
  int64_t fp8_block[2] = {};   // rows and columns under one scale; 0 = all there are
  std::string_view fp8_scale;  // the suffix of the tensor with the scales
  bool gptq_v2 = false;        // zero points are stored as they are, not less one
};

// Llama 3.1's change of the rotation's frequencies.
struct Llama3Rope {
  double factor = 1, low = 1, high = 4;
  int64_t original_context = 8192;
  double base = 10000;
};

// What the tensors are checked against and cut by; all ranges are checked.
struct HfModel {
  int64_t num_layers = 0, hidden = 0, num_heads = 0, num_kv_heads = 0, head_dim = 0;
  int64_t num_experts = 0, num_dense = 0;  // the first num_dense layers have no experts
  bool tied = false;                       // the embedding table is the output head
  bool low_rank_queries = false;           // DeepSeek: q_a and q_b in place of q
  bool corrected_routing = false;          // a bias takes part in choosing experts
  bool shared_expert = false;              // Qwen 2: one of its own size, behind a gate
  int64_t nope_dim = 0, value_dim = 0;     // DeepSeek: of a head, without the part that rotates
  bool ranks = false;                      // an encoder with a classifier
  int64_t skipped_positions = 0;           // rows of an encoder's positions that no token has
  std::optional<Llama3Rope> llama3;
  HfStorage storage;
};

// Makes the tensors `to` of those called `from`. Names are whole, but a module's without ".weight".
using TensorOperation = absl::Status (*)(TensorMapper& mapper, const std::string& from,
                                         const std::string& to);

enum class Presence {
  kRequired,
  kOptional,
  kInstead,  // of the row above, where what that one wants is not there
};

struct TensorRule {
  std::string_view from;  // after the prefix of the model or layer; '#' is the number of an expert
  std::string_view to;
  TensorOperation operation;
  Presence presence = Presence::kRequired;
  // nullptr = in all layers.
  bool (*when)(const HfModel& model, int64_t layer) = nullptr;
};

struct HfFamily {
  std::span<const std::string_view> model_types;
  std::string_view architecture;  // general.architecture
  // Writes the metadata and fills what the tensors need.
  absl::Status (*read)(ConfigReader& config, HfModel* model);
  // What may stand before the names of all tensors but the head; the first under which there is an
  // embedding table counts.
  std::span<const std::string_view> prefixes;
  std::string_view layer;  // "layers.", before the number of a layer
  std::span<const TensorRule> globals, layers;
  std::span<const TensorRule> heads = {};  // names without a prefix
  bool decodes = true;                     // there are logits: lm_head, or the embedding table
  // Prefixes of tensors that are left out knowingly: towers for images, say.
  std::span<const std::string_view> skipped = {};
  // Layers beyond the last one (they predict further tokens) are left out.
  bool skips_later_layers = false;
};

std::span<const HfFamily* const> AllHfFamilies();
// UNIMPLEMENTED names the model_type and those that are known.
absl::StatusOr<const HfFamily*> FindHfFamily(const base::JsonValue& config);

// --- conditions of rules ------------------------------------------------------------------------

inline bool InDenseLayers(const HfModel& model, int64_t layer) {
  return model.num_experts == 0 || layer < model.num_dense;
}
inline bool InMixtures(const HfModel& model, int64_t layer) { return !InDenseLayers(model, layer); }

}  // namespace conclave::engine
