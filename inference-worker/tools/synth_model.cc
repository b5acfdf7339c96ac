#include "tools/synth_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/strings.h"
#include "engine/quant/format.h"

namespace conclave::engine {
namespace {

struct Family {
  std::string_view architecture;
  bool qkv_bias;
  bool qk_norm;
  bool experts;
};
constexpr Family kFamilies[] = {
    {"llama", false, false, false},
    {"qwen2", true, false, false},
    {"qwen3", false, true, false},
    {"qwen3moe", false, true, true},
};

const Family* FindFamily(std::string_view architecture) {
  for (const Family& family : kFamilies) {
    if (family.architecture == architecture) return &family;
  }
  return nullptr;
}

struct NamedShape {
  std::string_view name;
  SynthSpec spec;
};

// The published shapes; types are set by the caller.
const NamedShape kShapes[] = {
    {"qwen3moe-30b-a3b",
     {.architecture = "qwen3moe",
      .num_layers = 48,
      .hidden = 2048,
      .num_heads = 32,
      .num_kv_heads = 4,
      .head_dim = 128,
      .ffn = 6144,
      .num_experts = 128,
      .num_experts_used = 8,
      .expert_ffn = 768,
      .vocab_size = 151936,
      .context_length = 32768,
      .rope_base = 1000000.0f,
      .rms_eps = 1e-6f,
      .norm_spread = 0}},
    {"llama-1b",
     {.architecture = "llama",
      .num_layers = 16,
      .hidden = 2048,
      .num_heads = 32,
      .num_kv_heads = 8,
      .head_dim = 64,
      .ffn = 8192,
      .vocab_size = 128256,
      .context_length = 32768,
      .rope_base = 500000.0f,
      .rms_eps = 1e-5f,
      .norm_spread = 0}},
    {"qwen3-0.6b",
     {.architecture = "qwen3",
      .num_layers = 28,
      .hidden = 1024,
      .num_heads = 16,
      .num_kv_heads = 8,
      .head_dim = 128,
      .ffn = 3072,
      .vocab_size = 151936,
      .context_length = 32768,
      .rope_base = 1000000.0f,
      .rms_eps = 1e-6f,
      .tied = true,
      .norm_spread = 0}},
};

// The finaliser of splitmix64.
uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// FNV-1a of the name, mixed with the model's seed.
uint64_t TensorSeed(uint64_t seed, std::string_view name) {
  uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  return Mix(hash ^ seed);
}

uint64_t BitsAt(uint64_t tensor_seed, uint64_t index) {
  return Mix(tensor_seed + index * 0x9e3779b97f4a7c15ULL);
}

// Uniform in [-1, 1), a multiple of 2^-23: exact in fp32.
float UniformAt(uint64_t tensor_seed, uint64_t index) {
  return static_cast<float>(BitsAt(tensor_seed, index) >> 40) * 0x1.0p-23f - 1.0f;
}

uint16_t HalfBits(float value) {
  uint16_t bits = 0;
  FindFormat(DType::kF16)->quantize_row(&value, &bits, 1);
  return bits;
}

void PutHalf(std::byte* at, float value) {
  const uint16_t bits = HalfBits(value);
  std::memcpy(at, &bits, sizeof bits);
}

void FillRandom(uint64_t row_seed, std::span<std::byte> bytes) {
  for (size_t i = 0; i < bytes.size(); i += 8) {
    const uint64_t word = BitsAt(row_seed, i / 8);
    std::memcpy(bytes.data() + i, &word, std::min<size_t>(8, bytes.size() - i));
  }
}

// Scales that make a block of uniformly random quants have the standard deviation `sigma`, written
// over random bytes. Quantising floats would give the same picture a hundred times slower.
void SetBlockScales(DType dtype, std::byte* block, float sigma) {
  switch (dtype) {
    case DType::kQ8_0:  // int8, standard deviation 73.9; no quantiser writes -128
      for (int i = 2; i < 34; ++i) {
        if (block[i] == std::byte{0x80}) block[i] = std::byte{0x81};
      }
      return PutHalf(block, sigma / 73.9f);
    case DType::kQ4_0:  // 0…15 minus 8, standard deviation 4.61
      return PutHalf(block, sigma / 4.61f);
    case DType::kQ4_K: {
      // All eight 6-bit scales and minima 32: y = 32·d·q − 32·dmin, centred by dmin = 7.5·d.
      const float d = sigma / (32.0f * 4.61f);
      PutHalf(block, d);
      PutHalf(block + 2, 7.5f * d);
      // j < 4: the low six bits of bytes 0…7; j >= 4: low nibbles of 8…11 with the top bits of 0…7.
      for (int i = 0; i < 8; ++i) block[4 + i] = std::byte{32 | (2 << 6)};
      for (int i = 8; i < 12; ++i) block[4 + i] = std::byte{0};
      return;
    }
    case DType::kQ6_K:  // 0…63 minus 32, standard deviation 18.5, scales 32
      std::memset(block + 192, 32, 16);
      return PutHalf(block + 208, sigma / (32.0f * 18.5f));
    default:
      return;
  }
}

bool IsFloat(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

// Those whose scales SetBlockScales knows.
bool HasRandomBlocks(DType dtype) {
  return dtype == DType::kQ8_0 || dtype == DType::kQ4_0 || dtype == DType::kQ4_K ||
         dtype == DType::kQ6_K;
}

bool CanMake(DType dtype) {
  const QuantFormat* const format = FindFormat(dtype);
  return format != nullptr && format->quantize_row != nullptr;
}

// Any other format: a few thousand values ±scale are quantised once, and rows are drawn from their
// blocks.
GgufWriter::RowFiller DrawBlocks(uint64_t tensor_seed, DType dtype, float scale) {
  constexpr int64_t kValues = 16'384;
  const QuantFormat& format = *FindFormat(dtype);
  std::vector<float> values(kValues);
  for (size_t i = 0; i < values.size(); ++i) values[i] = scale * UniformAt(tensor_seed, i);
  const int64_t num_blocks = kValues / format.block_elements();
  std::vector<std::byte> pool(static_cast<size_t>(num_blocks * format.block_bytes()));
  format.quantize_row(values.data(), pool.data(), kValues);
  const auto block_bytes = static_cast<size_t>(format.block_bytes());
  return [=, pool = std::move(pool)](int64_t row, std::span<std::byte> bytes) {
    const uint64_t row_seed = Mix(tensor_seed + static_cast<uint64_t>(row));
    for (size_t at = 0; at < bytes.size(); at += block_bytes) {
      const uint64_t drawn = BitsAt(row_seed, at) % static_cast<uint64_t>(num_blocks);
      std::memcpy(bytes.data() + at, pool.data() + drawn * block_bytes, block_bytes);
    }
  };
}

// value(i) = base + scale · u(i) for floats; blocks of that deviation for quants.
GgufWriter::RowFiller MakeFiller(uint64_t tensor_seed, DType dtype, int64_t cols, float base,
                                 float scale) {
  if (IsFloat(dtype)) {
    return [=](int64_t row, std::span<std::byte> bytes) {
      std::vector<float> values(static_cast<size_t>(cols));
      const auto first = static_cast<uint64_t>(row * cols);
      for (size_t i = 0; i < values.size(); ++i) {
        values[i] = base + scale * UniformAt(tensor_seed, first + i);
      }
      FindFormat(dtype)->quantize_row(values.data(), bytes.data(), cols);
    };
  }
  if (!HasRandomBlocks(dtype)) return DrawBlocks(tensor_seed, dtype, scale);
  const float sigma = scale / std::sqrt(3.0f);  // of a uniform in ±scale
  return [=](int64_t row, std::span<std::byte> bytes) {
    FillRandom(Mix(tensor_seed + static_cast<uint64_t>(row)), bytes);
    const auto block_bytes = static_cast<size_t>(InfoOf(dtype).block_bytes);
    for (size_t at = 0; at < bytes.size(); at += block_bytes) {
      SetBlockScales(dtype, bytes.data() + at, sigma);
    }
  };
}

// Adds the tensors of one model with names as GGUF has them.
class Author {
 public:
  explicit Author(const SynthSpec& spec) : spec_(spec) {}

  // Standard deviation 1/sqrt(fan_in), so that activations keep their size through the layers.
  void Matrix(const std::string& name, DType dtype, const Shape& shape) {
    const int64_t cols = shape[shape.rank() - 1];
    Add(name, dtype, shape, 0, static_cast<float>(std::sqrt(3.0 / static_cast<double>(cols))));
  }
  void Norm(const std::string& name, int64_t n) {
    Add(name, DType::kF32, Shape({n}), 1.0f, spec_.norm_spread);
  }
  void Bias(const std::string& name, int64_t n) { Add(name, DType::kF32, Shape({n}), 0, 0.25f); }

  GgufWriter writer;

 private:
  void Add(const std::string& name, DType dtype, const Shape& shape, float base, float scale) {
    writer.AddTensor(
        name, dtype, shape,
        MakeFiller(TensorSeed(spec_.seed, name), dtype, shape[shape.rank() - 1], base, scale));
  }

  const SynthSpec& spec_;
};

void WriteMetadata(const SynthSpec& spec, GgufWriter& writer) {
  const auto key = [&](std::string_view name) {
    return absl::StrCat(spec.architecture, ".", base::Abs(name));
  };
  const auto set = [&](std::string_view name, int32_t value) {
    writer.SetUint32(key(name), static_cast<uint32_t>(value));
  };
  writer.SetString("general.architecture", spec.architecture);
  writer.SetString("general.name", "synthetic");
  set("block_count", spec.num_layers);
  set("context_length", spec.context_length);
  set("embedding_length", spec.hidden);
  set("feed_forward_length", spec.ffn);
  set("attention.head_count", spec.num_heads);
  set("attention.head_count_kv", spec.num_kv_heads);
  set("attention.key_length", spec.head_dim);
  set("attention.value_length", spec.head_dim);
  set("rope.dimension_count", spec.head_dim);
  set("vocab_size", spec.vocab_size);
  writer.SetFloat(key("attention.layer_norm_rms_epsilon"), spec.rms_eps);
  writer.SetFloat(key("rope.freq_base"), spec.rope_base);
  if (spec.num_experts > 0) {
    set("expert_count", spec.num_experts);
    set("expert_used_count", spec.num_experts_used);
    set("expert_feed_forward_length", spec.expert_ffn);
  }
  if (spec.yarn_factor > 0) {
    writer.SetString(key("rope.scaling.type"), "yarn");
    writer.SetFloat(key("rope.scaling.factor"), spec.yarn_factor);
    set("rope.scaling.original_context_length", spec.yarn_original_context);
  }
  if (spec.no_vocab) writer.SetString("tokenizer.ggml.model", "no_vocab");
}

void WriteLayer(const SynthSpec& spec, const Family& family, int32_t layer, Author& author) {
  const std::string prefix = absl::StrCat("blk.", layer, ".");
  const int64_t hidden = spec.hidden;
  const int64_t q = int64_t{spec.num_heads} * spec.head_dim;
  const int64_t kv = int64_t{spec.num_kv_heads} * spec.head_dim;
  author.Norm(prefix + "attn_norm.weight", hidden);
  author.Matrix(prefix + "attn_q.weight", spec.weights, {q, hidden});
  author.Matrix(prefix + "attn_k.weight", spec.weights, {kv, hidden});
  author.Matrix(prefix + "attn_v.weight", spec.weights, {kv, hidden});
  author.Matrix(prefix + "attn_output.weight", spec.weights, {hidden, q});
  if (family.qkv_bias) {
    author.Bias(prefix + "attn_q.bias", q);
    author.Bias(prefix + "attn_k.bias", kv);
    author.Bias(prefix + "attn_v.bias", kv);
  }
  if (family.qk_norm) {
    author.Norm(prefix + "attn_q_norm.weight", spec.head_dim);
    author.Norm(prefix + "attn_k_norm.weight", spec.head_dim);
  }
  author.Norm(prefix + "ffn_norm.weight", hidden);
  if (spec.num_experts == 0) {
    author.Matrix(prefix + "ffn_gate.weight", spec.weights, {spec.ffn, hidden});
    author.Matrix(prefix + "ffn_up.weight", spec.weights, {spec.ffn, hidden});
    author.Matrix(prefix + "ffn_down.weight", spec.weights, {hidden, spec.ffn});
    return;
  }
  const int64_t experts = spec.num_experts;
  author.Matrix(prefix + "ffn_gate_inp.weight", DType::kF32, {experts, hidden});
  author.Matrix(prefix + "ffn_gate_exps.weight", spec.experts, {experts, spec.expert_ffn, hidden});
  author.Matrix(prefix + "ffn_up_exps.weight", spec.experts, {experts, spec.expert_ffn, hidden});
  author.Matrix(prefix + "ffn_down_exps.weight", spec.experts, {experts, hidden, spec.expert_ffn});
}

absl::Status CheckSpec(const SynthSpec& spec) {
  for (const DType dtype : {spec.weights, spec.experts, spec.embedding, spec.head}) {
    if (!CanMake(dtype)) {
      return base::InvalidArgument(
          absl::StrCat("type ", base::Abs(NameOf(dtype)), " cannot be made up"));
    }
  }
  const auto divides = [](DType dtype, int32_t cols) {
    return cols > 0 && cols % InfoOf(dtype).block_elements == 0;
  };
  const bool fits = divides(spec.weights, spec.hidden) && divides(spec.weights, spec.ffn) &&
                    divides(spec.weights, spec.num_heads * spec.head_dim) &&
                    divides(spec.embedding, spec.hidden) && divides(spec.head, spec.hidden) &&
                    divides(spec.experts, spec.hidden) &&
                    (spec.num_experts == 0 || divides(spec.experts, spec.expert_ffn));
  return fits ? absl::OkStatus()
              : base::InvalidArgument("a row length is no multiple of its type's block");
}

}  // namespace

absl::StatusOr<SynthSpec> TinySpec(std::string_view architecture) {
  const Family* const family = FindFamily(architecture);
  if (family == nullptr) {
    return base::InvalidArgument(absl::StrCat("architecture: \"", base::Abs(architecture), "\""));
  }
  SynthSpec spec{.architecture = std::string(architecture)};
  if (family->qk_norm) spec.head_dim = 32;  // independent of hidden and heads there
  if (family->experts) {
    spec.num_experts = 8;
    spec.num_experts_used = 2;
    spec.expert_ffn = 32;
  }
  return spec;
}

absl::StatusOr<SynthSpec> ShapeByName(std::string_view name) {
  for (const NamedShape& shape : kShapes) {
    if (shape.name == name) return shape.spec;
  }
  return base::InvalidArgument(absl::StrCat("shape: \"", base::Abs(name), "\" is not known"));
}

std::vector<std::string> ShapeNames() {
  std::vector<std::string> names;
  for (const NamedShape& shape : kShapes) names.emplace_back(shape.name);
  return names;
}

absl::StatusOr<GgufWriter> MakeSynthModel(const SynthSpec& spec) {
  const Family* const family = FindFamily(spec.architecture);
  if (family == nullptr) {
    return base::InvalidArgument(absl::StrCat("architecture: \"", spec.architecture, "\""));
  }
  RETURN_IF_ERROR(CheckSpec(spec));
  Author author(spec);
  WriteMetadata(spec, author.writer);
  author.Matrix("token_embd.weight", spec.embedding, {spec.vocab_size, spec.hidden});
  for (int32_t i = 0; i < spec.num_layers; ++i) WriteLayer(spec, *family, i, author);
  if (!spec.rope_freqs.empty()) {
    author.writer.AddTensor("rope_freqs.weight", DType::kF32,
                            Shape({static_cast<int64_t>(spec.rope_freqs.size())}), spec.rope_freqs);
  }
  author.Norm("output_norm.weight", spec.hidden);
  if (!spec.tied) author.Matrix("output.weight", spec.head, {spec.vocab_size, spec.hidden});
  return std::move(author.writer);
}

}  // namespace conclave::engine
