#include "engine/models/hparams.h"

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
  RETURN_IF_ERROR(keys.Read("block_count", 1, kMaxLayers, &h.num_layers));
  RETURN_IF_ERROR(keys.Read("context_length", 1, kMaxContext, &h.context_length));
  RETURN_IF_ERROR(keys.Read("embedding_length", 1, kMaxHidden, &h.hidden));
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
  if (h.head_dim > kMaxHeadDim || h.head_dim < 1) {
    return keys.Contradiction("attention.head_count",
                              absl::StrCat("gives heads of ", h.head_dim, " elements, at most ",
                                           kMaxHeadDim, " are supported"));
  }
  double eps = 0;
  RETURN_IF_ERROR(keys.Read("attention.layer_norm_rms_epsilon", 1e-12, 1.0, 1e-5, &eps));
  h.rms_eps = static_cast<float>(eps);
  return absl::OkStatus();
}

absl::Status ReadFeedForward(const Keys& keys, HParams& h) {
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
  ASSIGN_OR_RETURN(h.expert_weights_norm,
                   keys.source().GetBool(keys.Name("expert_weights_norm"), true));
  return absl::OkStatus();
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
  if (type != "yarn") {
    return base::Unimplemented(absl::StrCat(base::Abs(keys.source().path()), ": ",
                                            keys.Name("rope.scaling.type"), ": \"", base::Abs(type),
                                            "\" is not known (none, linear, yarn)"));
  }
  rope.scaling = RopeScaling::kYarn;
  RETURN_IF_ERROR(keys.Read("rope.scaling.original_context_length", 1, kMaxContext,
                            h.context_length, &rope.original_context));
  RETURN_IF_ERROR(keys.Read("rope.scaling.attn_factor", 1e-3, 1e3, 1.0, &rope.attention_factor));
  RETURN_IF_ERROR(keys.Read("rope.scaling.yarn_beta_fast", 0.0, 1e4, 32.0, &rope.beta_fast));
  return keys.Read("rope.scaling.yarn_beta_slow", 0.0, 1e4, 1.0, &rope.beta_slow);
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

absl::StatusOr<HParams> ReadHParams(const ModelSource& source, std::string_view architecture) {
  HParams h{.architecture = std::string(architecture)};
  const Keys keys(source, architecture);
  RETURN_IF_ERROR(ReadShape(keys, h));
  RETURN_IF_ERROR(ReadFeedForward(keys, h));
  RETURN_IF_ERROR(ReadRope(keys, h));
  RETURN_IF_ERROR(ReadVocabulary(keys, h));
  return h;
}

}  // namespace conclave::engine
