// The families: which tensors and keys each architecture has, and what they are called.
#include "tools/synth_model.h"

#include <cmath>
#include <cstring>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "tools/synth_routing.h"
#include "tools/synth_values.h"

namespace conclave::engine {
namespace {

enum class QkNorm { kNone, kHead, kRow };  // of each head, or of all heads in one

// Which of key_length, value_length and rope.dimension_count a file says; the rest follows from
// embedding_length and head_count.
enum class HeadKeys { kNone, kLengths, kAll };

struct Family {
  std::string_view architecture;
  bool qkv_bias = false;
  bool output_bias = false;
  QkNorm qk_norm = QkNorm::kNone;
  bool sinks = false;
  std::string_view ffn_norm = "ffn_norm";  // what the norm before the feed-forward is called
  bool post_norms = false;                 // norms after attention and feed-forward as well
  bool expert_bias = false;
  bool shared_gate = false;   // a gate before the shared expert
  bool expert_length = true;  // expert_feed_forward_length; otherwise feed_forward_length counts
  bool layer_norm = false;    // bloom's layer instead of llama's
  HeadKeys head_keys = HeadKeys::kAll;
};

constexpr Family kFamilies[] = {
    {.architecture = "llama", .expert_length = false},
    {.architecture = "qwen2", .qkv_bias = true},
    {.architecture = "qwen2moe",
     .qkv_bias = true,
     .shared_gate = true,
     .head_keys = HeadKeys::kNone},
    {.architecture = "qwen3", .qk_norm = QkNorm::kHead},
    {.architecture = "qwen3moe", .qk_norm = QkNorm::kHead},
    {.architecture = "deepseek2"},
    {.architecture = "gpt-oss",
     .qkv_bias = true,
     .output_bias = true,
     .sinks = true,
     .ffn_norm = "post_attention_norm",
     .expert_bias = true,
     .head_keys = HeadKeys::kLengths},
    {.architecture = "glm4moe", .qkv_bias = true, .ffn_norm = "post_attention_norm"},
    {.architecture = "minimax-m2", .qk_norm = QkNorm::kRow},
    {.architecture = "bloom", .layer_norm = true, .head_keys = HeadKeys::kNone},
    {.architecture = "gemma3",
     .qk_norm = QkNorm::kHead,
     .post_norms = true,
     .head_keys = HeadKeys::kLengths},
};

const Family* FindFamily(std::string_view architecture) {
  for (const Family& family : kFamilies) {
    if (family.architecture == architecture) return &family;
  }
  return nullptr;
}

// Adds the tensors of one model with names as GGUF has them.
class Author {
 public:
  explicit Author(const SynthSpec& spec) : spec_(spec) {}

  // Standard deviation 1/sqrt(fan_in), so that activations keep their size through the layers.
  void Matrix(const std::string& name, DType dtype, const Shape& shape) {
    const int64_t cols = shape[shape.rank() - 1];
    Add(name, TypeFor(name, dtype, cols), shape, 0, MatrixScale(cols));
  }
  // F32, each row times a number of its own.
  void ScaledRows(const std::string& name, const Shape& shape, std::vector<float> scales) {
    if (!status_.ok()) return;
    const int64_t cols = shape[shape.rank() - 1];
    const GgufWriter::RowFiller plain =
        MakeFiller(TensorSeed(spec_.seed, name), DType::kF32, cols, 0, MatrixScale(cols));
    writer.AddTensor(name, DType::kF32, shape,
                     GgufWriter::RowFiller([=](int64_t row, std::span<std::byte> bytes) {
                       plain(row, bytes);
                       std::vector<float> values(static_cast<size_t>(cols));
                       std::memcpy(values.data(), bytes.data(), bytes.size());
                       for (float& value : values) value *= scales[static_cast<size_t>(row)];
                       std::memcpy(bytes.data(), values.data(), bytes.size());
                     }));
  }
  // A tensor that holds matrices of the `stacks`, by turns, from the one numbered `first` on, with
  // the values they have there. Those matrices are [rows][cols].
  struct Excerpt {
    std::vector<std::string> stacks;
    int64_t first, rows, cols;
  };
  void FromStacks(const std::string& name, DType dtype, const Shape& shape, const Excerpt& part) {
    const DType type = TypeFor(name, dtype, part.cols);
    if (!status_.ok()) return;
    std::vector<GgufWriter::RowFiller> fillers;
    for (const std::string& stack : part.stacks) {
      fillers.push_back(
          MakeFiller(TensorSeed(spec_.seed, stack), type, part.cols, 0, MatrixScale(part.cols)));
    }
    const auto num_stacks = static_cast<int64_t>(fillers.size());
    writer.AddTensor(name, type, shape,
                     GgufWriter::RowFiller([=](int64_t row, std::span<std::byte> bytes) {
                       const int64_t matrix = row / part.rows;
                       const auto stack = static_cast<size_t>(matrix % num_stacks);
                       const int64_t which = part.first + matrix / num_stacks;
                       fillers[stack](which * part.rows + row % part.rows, bytes);
                     }));
  }
  void Norm(const std::string& name, int64_t n) {
    Add(name, DType::kF32, Shape({n}), 1.0f, spec_.norm_spread);
  }
  void Bias(const std::string& name, const Shape& shape, float scale = 0.25f) {
    Add(name, DType::kF32, shape, 0, scale);
  }

  const absl::Status& status() const { return status_; }

  GgufWriter writer;

 private:
  static float MatrixScale(int64_t cols) {
    return static_cast<float>(std::sqrt(3.0 / static_cast<double>(cols)));
  }
  static bool Divides(DType dtype, int64_t cols) {
    return cols > 0 && cols % InfoOf(dtype).block_elements == 0;
  }

  DType TypeFor(const std::string& name, DType dtype, int64_t cols) {
    if (!Divides(dtype, cols) && spec_.fallback.has_value()) dtype = *spec_.fallback;
    if (!CanMakeUp(dtype)) {
      status_ = base::InvalidArgument(
          absl::StrCat(name, ": type ", base::Abs(NameOf(dtype)), " cannot be made up"));
    } else if (!Divides(dtype, cols)) {
      status_ = base::InvalidArgument(absl::StrCat(name, ": rows of ", cols,
                                                   " are no multiple of the blocks of ",
                                                   base::Abs(NameOf(dtype))));
    }
    return dtype;
  }

  void Add(const std::string& name, DType dtype, const Shape& shape, float base, float scale) {
    if (!status_.ok()) return;
    writer.AddTensor(
        name, dtype, shape,
        MakeFiller(TensorSeed(spec_.seed, name), dtype, shape[shape.rank() - 1], base, scale));
  }

  const SynthSpec& spec_;
  absl::Status status_;
};

// Writes "<architecture>.<key>". A zero says that the model has no such thing, and is left out.
class Keys {
 public:
  Keys(const SynthSpec& spec, GgufWriter& writer) : spec_(spec), writer_(writer) {}

  void Set(std::string_view name, int32_t value) const {
    if (value != 0) writer_.SetUint32(Name(name), static_cast<uint32_t>(value));
  }
  void Set(std::string_view name, float value) const {
    if (value != 0) writer_.SetFloat(Name(name), value);
  }
  void Say(std::string_view name, std::string_view value) const {
    writer_.SetString(Name(name), value);
  }
  void Set(std::string_view name, bool value) const {
    if (value) writer_.SetBool(Name(name), value);
  }

 private:
  std::string Name(std::string_view name) const {
    return absl::StrCat(spec_.architecture, ".", base::Abs(name));
  }

  const SynthSpec& spec_;
  GgufWriter& writer_;
};

int32_t RopeDim(const SynthSpec& spec) { return spec.rope_dim > 0 ? spec.rope_dim : spec.head_dim; }

// What the cache holds: with latent attention one head of the latent and the rotated part.
void WriteHeadKeys(const SynthSpec& spec, const Family& family, const Keys& keys) {
  const SynthLatent& latent = spec.latent;
  keys.Set("attention.head_count", spec.num_heads);
  if (latent.kv_rank > 0 && !latent.whole_kv_b) {
    keys.Set("attention.head_count_kv", 1);
    keys.Set("attention.key_length", latent.kv_rank + spec.rope_dim);
    keys.Set("attention.value_length", latent.kv_rank);
    keys.Set("attention.key_length_mla", spec.head_dim);
    keys.Set("attention.value_length_mla", latent.value_dim);
  } else {
    keys.Set("attention.head_count_kv", spec.num_kv_heads);
    if (family.head_keys != HeadKeys::kNone) {
      keys.Set("attention.key_length", spec.head_dim);
      keys.Set("attention.value_length", latent.kv_rank > 0 ? latent.value_dim : spec.head_dim);
    }
  }
  if (family.head_keys == HeadKeys::kAll) keys.Set("rope.dimension_count", RopeDim(spec));
  keys.Set("attention.q_lora_rank", latent.q_rank);
  keys.Set("attention.kv_lora_rank", latent.kv_rank);
}

void WriteExpertKeys(const SynthSpec& spec, const Family& family, const Keys& keys) {
  if (spec.num_experts == 0) return;
  const SynthRouting& routing = spec.routing;
  keys.Set("expert_count", spec.num_experts);
  keys.Set("expert_used_count", spec.num_experts_used);
  if (family.expert_length) keys.Set("expert_feed_forward_length", spec.expert_ffn);
  if (family.shared_gate) keys.Set("expert_shared_feed_forward_length", routing.shared_ffn);
  keys.Set("expert_shared_count", routing.num_shared);
  keys.Set("leading_dense_block_count", routing.leading_dense);
  keys.Set("expert_group_count", routing.num_groups);
  keys.Set("expert_group_used_count", routing.num_groups_used);
  keys.Set("expert_gating_func", routing.gating);
  keys.Set("expert_weights_norm", routing.weights_norm);
  keys.Set("expert_weights_scale", routing.weights_scale);
}

void WriteScalingKeys(const SynthSpec& spec, const Keys& keys) {
  if (spec.rope_linear_factor > 0) {
    keys.Say("rope.scaling.type", "linear");
    keys.Set("rope.scaling.factor", spec.rope_linear_factor);
  }
  if (spec.yarn_factor > 0) {
    keys.Say("rope.scaling.type", "yarn");
    keys.Set("rope.scaling.factor", spec.yarn_factor);
    keys.Set("rope.scaling.original_context_length", spec.yarn_original_context);
    keys.Set("rope.scaling.yarn_beta_fast", spec.yarn_beta_fast);
    if (spec.yarn_beta_fast > 0) keys.Set("rope.scaling.yarn_beta_slow", 1.0f);
    keys.Set("rope.scaling.yarn_log_multiplier", spec.yarn_log_multiplier);
  }
}

void WriteMetadata(const SynthSpec& spec, const Family& family, GgufWriter& writer) {
  const Keys keys(spec, writer);
  writer.SetString("general.architecture", spec.architecture);
  writer.SetString("general.name", "synthetic");
  keys.Set("block_count", spec.num_layers + spec.num_nextn);
  keys.Set("context_length", spec.context_length);
  keys.Set("embedding_length", spec.hidden);
  keys.Set("feed_forward_length", spec.ffn);
  WriteHeadKeys(spec, family, keys);
  keys.Set("vocab_size", spec.vocab_size);
  if (family.layer_norm) {
    keys.Set("attention.layer_norm_epsilon", spec.rms_eps);
  } else {
    keys.Set("attention.layer_norm_rms_epsilon", spec.rms_eps);
    keys.Set("rope.freq_base", spec.rope_base);
  }
  keys.Set("attention.sliding_window", spec.sliding_window);
  keys.Set("rope.freq_base_swa", spec.local_rope_base);
  keys.Set("nextn_predict_layers", spec.num_nextn);
  WriteExpertKeys(spec, family, keys);
  WriteScalingKeys(spec, keys);
  if (spec.no_vocab) writer.SetString("tokenizer.ggml.model", "no_vocab");
}

void WriteAttention(const SynthSpec& spec, const Family& family, const std::string& prefix,
                    Author& author) {
  const int64_t hidden = spec.hidden;
  const int64_t q = int64_t{spec.num_heads} * spec.head_dim;
  const int64_t kv = int64_t{spec.num_kv_heads} * spec.head_dim;
  author.Matrix(prefix + "attn_q.weight", spec.weights, {q, hidden});
  author.Matrix(prefix + "attn_k.weight", spec.weights, {kv, hidden});
  author.Matrix(prefix + "attn_v.weight", spec.weights, {kv, hidden});
  author.Matrix(prefix + "attn_output.weight", spec.weights, {hidden, q});
  if (family.qkv_bias) {
    author.Bias(prefix + "attn_q.bias", {q});
    author.Bias(prefix + "attn_k.bias", {kv});
    author.Bias(prefix + "attn_v.bias", {kv});
  }
  if (family.output_bias) author.Bias(prefix + "attn_output.bias", {hidden});
  if (family.sinks) author.Bias(prefix + "attn_sinks.weight", {spec.num_heads}, 2.0f);
  if (family.qk_norm != QkNorm::kNone || spec.head_norms) {
    const bool row = family.qk_norm == QkNorm::kRow;
    author.Norm(prefix + "attn_q_norm.weight", row ? q : spec.head_dim);
    author.Norm(prefix + "attn_k_norm.weight", row ? kv : spec.head_dim);
  }
}

void WriteLatentAttention(const SynthSpec& spec, const std::string& prefix, Author& author) {
  const SynthLatent& latent = spec.latent;
  const int64_t hidden = spec.hidden, heads = spec.num_heads, rank = latent.kv_rank;
  const int64_t q = heads * spec.head_dim, nope = spec.head_dim - spec.rope_dim;
  if (latent.q_rank > 0) {
    author.Matrix(prefix + "attn_q_a.weight", spec.weights, {latent.q_rank, hidden});
    author.Norm(prefix + "attn_q_a_norm.weight", latent.q_rank);
    author.Matrix(prefix + "attn_q_b.weight", spec.weights, {q, latent.q_rank});
  } else {
    author.Matrix(prefix + "attn_q.weight", spec.weights, {q, hidden});
  }
  author.Matrix(prefix + "attn_kv_a_mqa.weight", spec.weights, {rank + spec.rope_dim, hidden});
  author.Norm(prefix + "attn_kv_a_norm.weight", rank);
  if (latent.whole_kv_b) {
    author.Matrix(prefix + "attn_kv_b.weight", spec.weights,
                  {heads * (nope + latent.value_dim), rank});
  } else {
    author.Matrix(prefix + "attn_k_b.weight", spec.weights, {heads, rank, nope});
    author.Matrix(prefix + "attn_v_b.weight", spec.weights, {heads, latent.value_dim, rank});
  }
  author.Matrix(prefix + "attn_output.weight", spec.weights, {hidden, heads * latent.value_dim});
}

// The three matrices of a dense feed-forward or ("_shexp") a shared expert.
void WriteFeedForward(const SynthSpec& spec, const std::string& prefix, const std::string& suffix,
                      int64_t ffn, Author& author) {
  author.Matrix(prefix + "ffn_gate" + suffix + ".weight", spec.weights, {ffn, spec.hidden});
  author.Matrix(prefix + "ffn_up" + suffix + ".weight", spec.weights, {ffn, spec.hidden});
  author.Matrix(prefix + "ffn_down" + suffix + ".weight", spec.weights, {spec.hidden, ffn});
}

void WriteExpertMatrices(const SynthSpec& spec, const std::string& prefix, Author& author) {
  const int64_t hidden = spec.hidden, experts = spec.num_experts, ffn = spec.expert_ffn;
  const SynthExperts layout = spec.routing.layout;
  const auto stack = [&](const std::string& part) { return prefix + part + "_exps.weight"; };
  if (layout == SynthExperts::kGateUp) {
    author.FromStacks(stack("ffn_gate_up"), spec.experts, {experts, 2 * ffn, hidden},
                      {{stack("ffn_gate"), stack("ffn_up")}, 0, ffn, hidden});
  }
  for (const std::string part : {"ffn_gate", "ffn_up", "ffn_down"}) {
    const bool down = part == "ffn_down";
    const int64_t rows = down ? hidden : ffn, cols = down ? ffn : hidden;
    if (layout == SynthExperts::kApart) {
      for (int64_t e = 0; e < experts; ++e) {
        author.FromStacks(absl::StrCat(prefix, part, ".", e, ".weight"), spec.experts, {rows, cols},
                          {{stack(part)}, e, rows, cols});
      }
    } else if (down || layout == SynthExperts::kStacks) {
      author.Matrix(stack(part), spec.experts, {experts, rows, cols});
    }
  }
}

void WriteExperts(const SynthSpec& spec, const Family& family, const std::string& prefix,
                  Author& author) {
  const int64_t hidden = spec.hidden, experts = spec.num_experts, ffn = spec.expert_ffn;
  const SynthRouting& routing = spec.routing;
  const std::string router = prefix + "ffn_gate_inp.weight";
  if (routing.zipf > 0) {
    author.ScaledRows(
        router, {experts, hidden},
        ZipfRouterScales(spec.seed, router, spec.num_experts, spec.num_experts_used, routing.zipf));
  } else {
    author.Matrix(router, DType::kF32, {experts, hidden});
  }
  WriteExpertMatrices(spec, prefix, author);
  if (family.expert_bias) {
    author.Bias(prefix + "ffn_gate_inp.bias", {experts});
    // Wide enough that some of what they shift is clamped at 7.
    author.Bias(prefix + "ffn_gate_exps.bias", {experts, ffn}, 6.0f);
    author.Bias(prefix + "ffn_up_exps.bias", {experts, ffn}, 6.0f);
    author.Bias(prefix + "ffn_down_exps.bias", {experts, hidden});
  }
  if (routing.correction_bias) author.Bias(prefix + "exp_probs_b.bias", {experts});
  if (routing.shared_ffn > 0) WriteFeedForward(spec, prefix, "_shexp", routing.shared_ffn, author);
  if (family.shared_gate) {
    author.Matrix(prefix + "ffn_gate_inp_shexp.weight", DType::kF32, Shape({hidden}));
  }
}

void WriteLayer(const SynthSpec& spec, const Family& family, int32_t layer, Author& author) {
  const std::string prefix = absl::StrCat("blk.", layer, ".");
  author.Norm(prefix + "attn_norm.weight", spec.hidden);
  if (spec.latent.kv_rank > 0) {
    WriteLatentAttention(spec, prefix, author);
  } else {
    WriteAttention(spec, family, prefix, author);
  }
  author.Norm(prefix + std::string(family.ffn_norm) + ".weight", spec.hidden);
  if (family.post_norms) {
    author.Norm(prefix + "post_attention_norm.weight", spec.hidden);
    author.Norm(prefix + "post_ffw_norm.weight", spec.hidden);
  }
  if (spec.num_experts == 0 || layer < spec.routing.leading_dense) {
    WriteFeedForward(spec, prefix, "", spec.ffn, author);
  } else {
    WriteExperts(spec, family, prefix, author);
  }
  if (layer < spec.num_layers) return;
  author.Matrix(prefix + "nextn.eh_proj.weight", spec.weights, {spec.hidden, 2 * spec.hidden});
  for (const char* const norm : {"enorm", "hnorm", "shared_head_norm"}) {
    author.Norm(absl::StrCat(prefix, "nextn.", norm, ".weight"), spec.hidden);
  }
}

// Layer norms and biases everywhere, queries, keys and values in one, two matrices around GELU.
void WriteBloomLayer(const SynthSpec& spec, int32_t layer, Author& author) {
  const std::string prefix = absl::StrCat("blk.", layer, ".");
  const auto norm = [&](const std::string& name) {
    author.Norm(prefix + name + ".weight", spec.hidden);
    author.Bias(prefix + name + ".bias", {spec.hidden});
  };
  const auto linear = [&](const std::string& name, int64_t out, int64_t in) {
    author.Matrix(prefix + name + ".weight", spec.weights, {out, in});
    author.Bias(prefix + name + ".bias", {out});
  };
  norm("attn_norm");
  linear("attn_qkv", 3 * int64_t{spec.hidden}, spec.hidden);
  linear("attn_output", spec.hidden, spec.hidden);
  norm("ffn_norm");
  linear("ffn_up", spec.ffn, spec.hidden);
  linear("ffn_down", spec.hidden, spec.ffn);
}

}  // namespace

absl::StatusOr<GgufWriter> MakeSynthModel(const SynthSpec& spec) {
  const Family* const family = FindFamily(spec.architecture);
  if (family == nullptr) {
    return base::InvalidArgument(absl::StrCat("architecture: \"", spec.architecture, "\""));
  }
  Author author(spec);
  WriteMetadata(spec, *family, author.writer);
  author.Matrix("token_embd.weight", spec.embedding, {spec.vocab_size, spec.hidden});
  if (family->layer_norm) {
    // Of either sign: the head is the table of embeddings, and would answer every token with
    // itself.
    author.Bias("token_embd_norm.weight", {spec.hidden}, 1.0f);
    author.Bias("token_embd_norm.bias", {spec.hidden});
  }
  for (int32_t i = 0; i < spec.num_layers + spec.num_nextn; ++i) {
    if (family->layer_norm) {
      WriteBloomLayer(spec, i, author);
    } else {
      WriteLayer(spec, *family, i, author);
    }
  }
  if (!spec.rope_freqs.empty()) {
    author.writer.AddTensor("rope_freqs.weight", DType::kF32,
                            Shape({static_cast<int64_t>(spec.rope_freqs.size())}), spec.rope_freqs);
  }
  author.Norm("output_norm.weight", spec.hidden);
  if (family->layer_norm) author.Bias("output_norm.bias", {spec.hidden});
  if (!spec.tied) author.Matrix("output.weight", spec.head, {spec.vocab_size, spec.hidden});
  RETURN_IF_ERROR(author.status());
  return std::move(author.writer);
}

}  // namespace conclave::engine
