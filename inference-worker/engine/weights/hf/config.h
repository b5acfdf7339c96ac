// Reads config.json for one family and writes the keys of its architecture. Messages begin with the
// path of the field: "rope_scaling.rope_type: \"dynamic\" is not supported".
#pragma once

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "engine/weights/directory.h"
#include "engine/weights/hf/family.h"

namespace conclave::engine {

inline constexpr int64_t kConfigSizeMax = int64_t{1} << 24;
inline constexpr int64_t kConfigLayersMax = 1024;
inline constexpr int64_t kConfigExpertsMax = 4096;
inline constexpr int64_t kConfigHeadMax = 1 << 16;

// UNIMPLEMENTED "<path>: <what> is not supported".
absl::Status FieldNotSupported(const base::JsonValue& field, std::string_view what);

// The fields of one object and the keys under one architecture's name.
class ConfigReader final {
 public:
  // `config` is the object that describes the language model, all or part of config.json.
  ConfigReader(const base::JsonValue& config, std::string_view architecture,
               DirectorySource* metadata)
      : config_(config), architecture_(architecture), metadata_(*metadata) {}

  base::JsonValue Get(std::string_view field) const { return config_.Get(field); }

  // A field that is absent or null has the fallback, where there is one.
  absl::StatusOr<int64_t> Int(std::string_view field, int64_t min, int64_t max,
                              std::optional<int64_t> fallback = std::nullopt) const;
  absl::StatusOr<double> Number(std::string_view field, double min, double max,
                                std::optional<double> fallback = std::nullopt) const;
  absl::StatusOr<bool> Flag(std::string_view field, bool fallback) const;
  absl::StatusOr<std::string> Text(std::string_view field, std::string_view fallback) const;
  // Of several names of one field, the first that is there, else the first.
  std::string_view AnyOf(std::initializer_list<std::string_view> fields) const;

  // UNIMPLEMENTED where the field is there with another value.
  absl::Status ExpectFlag(std::string_view field, bool value) const;
  absl::Status ExpectText(std::string_view field, std::string_view value) const;
  absl::Status ExpectNumber(std::string_view field, double value) const;

  // "<architecture>.<key>".
  void Set(std::string_view key, MetadataValue value);
  // The key as it is, for what has no architecture's name.
  void SetShared(std::string_view key, MetadataValue value);
  void SetFlags(std::string_view key, const std::vector<bool>& flags);
  absl::Status CopyInt(std::string_view field, std::string_view key, int64_t min, int64_t max,
                       int64_t* out = nullptr, std::optional<int64_t> fallback = std::nullopt);

 private:
  base::JsonValue config_;
  std::string_view architecture_;
  DirectorySource& metadata_;
};

// What a family's class assumes where config.json is silent; 0 = the field must be there.
struct ShapeDefaults {
  int64_t heads = 0, kv_heads = 0;  // kv_heads: as many as heads
  int64_t head_dim = 0;             // 0: hidden / heads
  int64_t vocabulary = 0, context = 0;
  double rms_eps = 1e-6;
};
// block_count, embedding_length, attention.{head_count, layer_norm_rms_epsilon}, vocab_size,
// context_length, feed_forward_length.
absl::Status ReadSizes(ConfigReader& config, const ShapeDefaults& defaults, HfModel* model);
// And attention.{head_count_kv, key_length, value_length}: heads as most families have them.
absl::Status ReadShape(ConfigReader& config, const ShapeDefaults& defaults, HfModel* model);

struct MixtureFields {
  std::string_view length;  // of an expert: "moe_intermediate_size"
  bool normalised = false;  // norm_topk_prob where it is not said
  bool always = false;      // normalised whatever norm_topk_prob says
};
// expert_count, expert_used_count, expert_feed_forward_length, expert_weights_norm.
absl::Status ReadMixture(ConfigReader& config, const MixtureFields& fields, HfModel* model);

// Routing by sigmoid with a correction bias and groups, as DeepSeek-V3 began it:
// expert_gating_func, expert_weights_scale, expert_shared_count, leading_dense_block_count,
// expert_group_count, expert_group_used_count.
struct SharedMixtureDefaults {
  int64_t shared = 1, leading_dense = 0, groups = 1, groups_used = 1;
  double scale = 1;
};
absl::Status ReadSharedMixture(ConfigReader& config, const SharedMixtureDefaults& defaults,
                               HfModel* model);
enum class GatingFunction : int64_t { kSoftmax = 1, kSigmoid = 2 };

// rope.freq_base, rope.dimension_count and rope.scaling.* (rope.cc).
struct RopeDefaults {
  double theta = 10000;
  double partial = 1;        // of a head rotates
  int64_t rotated = 0;       // elements of a head that rotate, whatever else is said; 0 = not given
  bool whole_heads = false;  // a part is refused
  // DeepSeek: YaRN scales the logits by mscale_all_dim and leaves the rotation's length alone.
  bool scales_logits = false;
  // gpt-oss: YaRN's bounds are not rounded to whole pairs.
  bool whole_bounds = true;
};
absl::Status ReadRope(ConfigReader& config, const RopeDefaults& defaults, HfModel* model);
// The same of one set of parameters: of a kind of layers, or of all.
absl::Status ReadRopeParameters(ConfigReader& config, const base::JsonValue& parameters,
                                const RopeDefaults& defaults, HfModel* model);

// Which layers see a window only, by layer_types; `otherwise` where there are none.
absl::StatusOr<std::vector<bool>> ReadLayerTypes(const ConfigReader& config, int64_t num_layers,
                                                 std::vector<bool> otherwise);
// attention.sliding_window where any layer slides, and attention.sliding_window_pattern unless it
// is what the architecture assumes: of `period` layers the last one sees everything (0: none does).
void SetWindow(ConfigReader& config, int64_t window, const std::vector<bool>& slides,
               int64_t period);

// quantization_config, of the whole file (storage.cc).
absl::StatusOr<HfStorage> ReadStorage(const base::JsonValue& quantization);

}  // namespace conclave::engine
