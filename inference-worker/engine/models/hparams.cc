#include "engine/models/hparams.h"

#include <algorithm>
#include <cmath>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/strings.h"

namespace conclave::engine {
namespace {

// Far above any published model, far below what could overflow a product of three.
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxHidden = 1 << 17;
constexpr int64_t kMaxHeads = 4096;
constexpr int64_t kMaxHeadDim = 1024;
constexpr int64_t kMaxFfn = 1 << 21;
constexpr int64_t kMaxExperts = 4096;
constexpr int64_t kMaxContext = 1 << 24;
constexpr int64_t kMaxVocab = 1 << 24;

// The keys of one architecture, with its name put in front.
class Keys {
 public:
  Keys(const ModelSource& source, std::string_view architecture)
      : source_(source), architecture_(architecture) {}

  std::string Name(std::string_view key) const {
    return absl::StrCat(architecture_, ".", base::Abs(key));
  }
  bool Has(std::string_view key) const { return source_.Has(Name(key)); }

  absl::Status Read(std::string_view key, int64_t min, int64_t max, int32_t* out) const {
    ASSIGN_OR_RETURN(const int64_t value, source_.GetInt(Name(key), min, max));
    *out = static_cast<int32_t>(value);
    return absl::OkStatus();
  }
  absl::Status Read(std::string_view key, int64_t min, int64_t max, int32_t fallback,
                    int32_t* out) const {
    ASSIGN_OR_RETURN(const int64_t value, source_.GetInt(Name(key), min, max, fallback));
    *out = static_cast<int32_t>(value);
    return absl::OkStatus();
  }
  absl::Status Read(std::string_view key, double min, double max, double fallback,
                    double* out) const {
    ASSIGN_OR_RETURN(*out, source_.GetFloat(Name(key), min, max, fallback));
    return absl::OkStatus();
  }

  absl::Status Contradiction(std::string_view key, const std::string& why) const {
    return base::InvalidArgument(
        absl::StrCat(base::Abs(source_.path()), ": ", Name(key), ": ", why));
  }

  const ModelSource& source() const { return source_; }

 private:
  const ModelSource& source_;
  std::string architecture_;
};

absl::Status ReadShape(const Keys& keys, HParams& h) {
  int32_t extra_layers = 0;
  RETURN_IF_ERROR(keys.Read("block_count", 1, kMaxLayers, &h.num_layers));
  RETURN_IF_ERROR(keys.Read("nextn_predict_layers", 0, h.num_layers - 1, 0, &extra_layers));
  h.num_layers -= extra_layers;
  RETURN_IF_ERROR(keys.Read("context_length", 1, kMaxContext, &h.context_length));
  RETURN_IF_ERROR(keys.Read("embedding_length", 1, kMaxHidden, &h.hidden));
  double eps = 0;
  RETURN_IF_ERROR(keys.Read(keys.Has("attention.layer_norm_epsilon")
                                ? "attention.layer_norm_epsilon"
                                : "attention.layer_norm_rms_epsilon",
                            1e-12, 1.0, 1e-5, &eps));
  h.norm_eps = static_cast<float>(eps);
  return absl::OkStatus();
}

absl::Status ReadHeads(const Keys& keys, HParams& h) {
  RETURN_IF_ERROR(keys.Read("attention.head_count", 1, kMaxHeads, &h.num_heads));
  RETURN_IF_ERROR(keys.Read("attention.head_count_kv", 1, kMaxHeads, h.num_heads, &h.num_kv_heads));
  if (h.num_heads % h.num_kv_heads != 0) {
    return keys.Contradiction("attention.head_count_kv",
                              absl::StrCat(h.num_kv_heads, " does not divide the ", h.num_heads,
                                           " heads of attention.head_count"));
  }
  if (!keys.Has("attention.key_length") && h.hidden % h.num_heads != 0) {
    return keys.Contradiction("attention.head_count",
                              absl::StrCat(h.num_heads, " does not divide embedding_length ",
                                           h.hidden, " and there is no attention.key_length"));
  }
  const int32_t head_dim = h.hidden / h.num_heads;
  RETURN_IF_ERROR(keys.Read("attention.key_length", 1, kMaxHeadDim, head_dim, &h.head_dim));
  RETURN_IF_ERROR(keys.Read("attention.value_length", 1, kMaxHeadDim, h.head_dim, &h.value_dim));
  // Latent attention: those two may be the lengths of what is stored, and these of the heads.
  RETURN_IF_ERROR(keys.Read("attention.key_length_mla", 1, kMaxHeadDim, h.head_dim, &h.head_dim));
  RETURN_IF_ERROR(
      keys.Read("attention.value_length_mla", 1, kMaxHeadDim, h.value_dim, &h.value_dim));
  if (h.head_dim > kMaxHeadDim || h.head_dim < 1) {
    return keys.Contradiction("attention.head_count",
                              absl::StrCat("gives heads of ", h.head_dim, " elements, at most ",
                                           kMaxHeadDim, " are supported"));
  }
  const double usual = 1.0 / std::sqrt(static_cast<double>(h.head_dim));
  return keys.Read("attention.scale", 1e-6, 1e3, usual, &h.score_scale);
}

// Which layers slide: a flag for each, or of how many the last does not.
absl::Status ReadWindow(const Keys& keys, int32_t pattern, HParams& h) {
  h.slides.assign(static_cast<size_t>(h.num_layers), false);
  RETURN_IF_ERROR(keys.Read("attention.sliding_window", 0, kMaxContext, 0, &h.window));
  if (h.window == 0) return absl::OkStatus();
  constexpr std::string_view kPattern = "attention.sliding_window_pattern";
  const MetadataEntry* entry = keys.source().FindMetadata(keys.Name(kPattern));
  if (entry != nullptr && std::holds_alternative<MetadataNumbers>(entry->value)) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> flags, keys.source().GetInts(keys.Name(kPattern)));
    if (flags.size() < h.slides.size()) {
      return keys.Contradiction(kPattern,
                                absl::StrCat(flags.size(), " layers, expected ", h.num_layers));
    }
    for (size_t i = 0; i < h.slides.size(); ++i) h.slides[i] = flags[i] != 0;
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(keys.Read(kPattern, 0, kMaxLayers, pattern, &pattern));
  for (int32_t i = 0; i < h.num_layers; ++i) {
    h.slides[static_cast<size_t>(i)] = pattern == 0 || i % pattern < pattern - 1;
  }
  return absl::OkStatus();
}

absl::Status ReadRouter(const Keys& keys, const HParamDefaults& defaults, HParams& h) {
  RouterParams& router = h.router;
  int32_t function = 0;
  RETURN_IF_ERROR(keys.Read("expert_gating_func", 0, 255, 0, &function));
  switch (function) {
    case 0:
      router.score = defaults.router_score;
      break;
    case 1:
      router.score = RouterScore::kSoftmax;
      break;
    case 2:
      router.score = RouterScore::kSigmoid;
      break;
    case 3:
      router.score = RouterScore::kSoftmaxOfSelected;
      break;
    default:
      return base::Unimplemented(
          absl::StrCat(base::Abs(keys.source().path()), ": ", keys.Name("expert_gating_func"), ": ",
                       function, " is not known (1 softmax, 2 sigmoid, 3 softmax of the chosen)"));
  }
  ASSIGN_OR_RETURN(router.renormalize, keys.source().GetBool(keys.Name("expert_weights_norm"),
                                                             defaults.router_renormalize));
  RETURN_IF_ERROR(keys.Read("expert_weights_scale", 0.0, 1e6, 1.0, &router.scale));
  if (router.scale == 0) router.scale = 1;  // how some files say that there is none
  RETURN_IF_ERROR(keys.Read("expert_group_count", 0, h.num_experts, 1, &router.num_groups));
  router.num_groups = std::max(router.num_groups, 1);
  RETURN_IF_ERROR(keys.Read("expert_group_used_count", 0, router.num_groups, router.num_groups,
                            &router.num_groups_used));
  if (router.num_groups_used == 0) router.num_groups_used = router.num_groups;
  const int32_t group = h.num_experts / router.num_groups;
  if (h.num_experts % router.num_groups != 0) {
    return keys.Contradiction("expert_group_count",
                              absl::StrCat(router.num_groups, " does not divide the ",
                                           h.num_experts, " experts of expert_count"));
  }
  if (group * router.num_groups_used < h.num_experts_used) {
    return keys.Contradiction(
        "expert_group_used_count",
        absl::StrCat(router.num_groups_used, " groups of ", group, " experts hold fewer than the ",
                     h.num_experts_used, " of expert_used_count"));
  }
  return absl::OkStatus();
}

absl::Status ReadFeedForward(const Keys& keys, const HParamDefaults& defaults, HParams& h) {
  RETURN_IF_ERROR(keys.Read("expert_count", 0, kMaxExperts, 0, &h.num_experts));
  if (h.num_experts == 0) return keys.Read("feed_forward_length", 1, kMaxFfn, &h.ffn);
  RETURN_IF_ERROR(keys.Read("feed_forward_length", 0, kMaxFfn, 0, &h.ffn));
  RETURN_IF_ERROR(keys.Read("expert_used_count", 1, kMaxExperts, &h.num_experts_used));
  if (h.num_experts_used > h.num_experts) {
    return keys.Contradiction(
        "expert_used_count",
        absl::StrCat(h.num_experts_used, " of only ", h.num_experts, " experts (expert_count)"));
  }
  RETURN_IF_ERROR(keys.Read("expert_feed_forward_length", 1, kMaxFfn, h.ffn, &h.expert_ffn));
  if (h.expert_ffn < 1) {
    return keys.Contradiction("expert_feed_forward_length",
                              "is missing, and feed_forward_length as well");
  }
  RETURN_IF_ERROR(keys.Read("leading_dense_block_count", 0, h.num_layers, 0, &h.num_dense_layers));
  if (h.num_dense_layers > 0 && h.ffn < 1) {
    return keys.Contradiction("feed_forward_length", "is missing, and some layers are dense");
  }
  int32_t shared = 0;
  RETURN_IF_ERROR(keys.Read("expert_shared_count", 0, kMaxExperts, 0, &shared));
  const int64_t shared_ffn = int64_t{shared} * h.expert_ffn;
  if (shared_ffn > kMaxFfn) {
    return keys.Contradiction("expert_shared_count", absl::StrCat(shared, " are too many"));
  }
  RETURN_IF_ERROR(keys.Read("expert_shared_feed_forward_length", 0, kMaxFfn,
                            static_cast<int32_t>(shared_ffn), &h.shared_ffn));
  return ReadRouter(keys, defaults, h);
}

absl::Status ReadYarn(const Keys& keys, HParams& h) {
  RopeParams& rope = h.rope;
  rope.scaling = RopeScaling::kYarn;
  RETURN_IF_ERROR(keys.Read("rope.scaling.original_context_length", 1, kMaxContext,
                            h.context_length, &rope.original_context));
  RETURN_IF_ERROR(keys.Read("rope.scaling.attn_factor", 1e-3, 1e3, 1.0, &rope.attention_factor));
  RETURN_IF_ERROR(keys.Read("rope.scaling.yarn_beta_fast", 0.0, 1e4, 32.0, &rope.beta_fast));
  return keys.Read("rope.scaling.yarn_beta_slow", 0.0, 1e4, 1.0, &rope.beta_slow);
}

absl::Status ReadRope(const Keys& keys, HParams& h) {
  RopeParams& rope = h.rope;
  RETURN_IF_ERROR(keys.Read("rope.dimension_count", 1, kMaxHeadDim, h.head_dim, &rope.dim));
  if (rope.dim > h.head_dim || rope.dim % 2 != 0) {
    return keys.Contradiction("rope.dimension_count",
                              absl::StrCat(rope.dim, " must be even and at most the ", h.head_dim,
                                           " elements of a head"));
  }
  RETURN_IF_ERROR(keys.Read("rope.freq_base", 1.0, 1e15, 10000.0, &rope.base));
  ASSIGN_OR_RETURN(const std::string_view type,
                   keys.source().GetString(keys.Name("rope.scaling.type"), "none"));
  if (type == "none") return absl::OkStatus();
  RETURN_IF_ERROR(keys.Read("rope.scaling.factor", 1e-3, 1e6, 1.0, &rope.factor));
  if (type == "linear") {
    rope.scaling = RopeScaling::kLinear;
    return absl::OkStatus();
  }
  if (type == "yarn") return ReadYarn(keys, h);
  return base::Unimplemented(absl::StrCat(base::Abs(keys.source().path()), ": ",
                                          keys.Name("rope.scaling.type"), ": \"", base::Abs(type),
                                          "\" is not known (none, linear, yarn)"));
}

absl::Status ReadLatent(const Keys& keys, HParams& h) {
  RETURN_IF_ERROR(keys.Read("attention.kv_lora_rank", 0, kMaxHidden, 0, &h.kv_lora));
  RETURN_IF_ERROR(keys.Read("attention.q_lora_rank", 0, kMaxHidden, 0, &h.q_lora));
  RETURN_IF_ERROR(
      keys.Read("rope.scaling.yarn_log_multiplier", 0.0, 100.0, 0.0, &h.rope.log_multiplier));
  if (h.kv_lora > 0 && h.rope.dim >= h.head_dim) {
    return keys.Contradiction("rope.dimension_count",
                              absl::StrCat(h.rope.dim, " must be less than the ", h.head_dim,
                                           " elements of a head (attention.key_length_mla)"));
  }
  return absl::OkStatus();
}

// The embedding table says how many tokens there are; whoever else says it must agree.
absl::Status ReadVocabulary(const Keys& keys, HParams& h) {
  const ModelSource& source = keys.source();
  const TensorEntry* table = source.FindTensor("token_embd.weight");
  if (table == nullptr) {
    return base::NotFound(absl::StrCat(base::Abs(source.path()), ": token_embd.weight is missing"));
  }
  const Shape& shape = table->view.shape;
  if (shape.rank() != 2 || shape[0] < 1 || shape[0] > kMaxVocab || shape[1] != h.hidden) {
    return base::InvalidArgument(absl::StrCat(base::Abs(source.path()),
                                              ": token_embd.weight: expected [vocabulary][",
                                              h.hidden, "], found ", shape.ToString()));
  }
  const int64_t rows = shape[0];
  RETURN_IF_ERROR(keys.Read("vocab_size", 1, kMaxVocab, static_cast<int32_t>(rows), &h.vocab_size));
  if (h.vocab_size != rows) {
    return keys.Contradiction(
        "vocab_size", absl::StrCat(h.vocab_size, ", but token_embd.weight has ", rows, " rows"));
  }
  const MetadataEntry* tokens = source.FindMetadata("tokenizer.ggml.tokens");
  if (tokens == nullptr) return absl::OkStatus();
  const auto* texts = std::get_if<std::vector<std::string_view>>(&tokens->value);
  if (texts != nullptr && static_cast<int64_t>(texts->size()) > rows) {
    return base::InvalidArgument(
        absl::StrCat(base::Abs(source.path()), ": tokenizer.ggml.tokens: ", texts->size(),
                     " tokens, but token_embd.weight has ", rows, " rows"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<HParams> ReadHParams(const ModelSource& source, std::string_view architecture,
                                    const HParamDefaults& defaults) {
  HParams h{.architecture = std::string(architecture)};
  const Keys keys(source, architecture);
  RETURN_IF_ERROR(ReadShape(keys, h));
  RETURN_IF_ERROR(ReadHeads(keys, h));
  RETURN_IF_ERROR(ReadWindow(keys, defaults.window_pattern, h));
  RETURN_IF_ERROR(ReadFeedForward(keys, defaults, h));
  RETURN_IF_ERROR(ReadRope(keys, h));
  RETURN_IF_ERROR(ReadLatent(keys, h));
  RETURN_IF_ERROR(ReadVocabulary(keys, h));
  return h;
}

absl::StatusOr<HParams> ReadMoeHParams(const ModelSource& source, std::string_view architecture,
                                       const HParamDefaults& defaults) {
  ASSIGN_OR_RETURN(HParams h, ReadHParams(source, architecture, defaults));
  if (h.num_experts > 0) return h;
  return Keys(source, architecture).Contradiction("expert_count", "missing or 0");
}

}  // namespace conclave::engine
