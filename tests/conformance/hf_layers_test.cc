// Quantised layers of checkpoints, alone and in stacks of experts, each held to the formula its
// format is published with.
#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <string>

#include "engine/quant/half.h"
#include "engine/weights/hf_folder.h"
#include "support/hf_checkpoint.h"
#include "unit/engine/weights/temp_file.h"

namespace conclave::engine {
namespace {

std::shared_ptr<const ModelSource> Open(const std::string& folder) {
  auto source = OpenHfFolder(folder);
  INFO(source.status().ToString());
  REQUIRE(source.ok());
  return *std::move(source);
}

// A linear layer in another quantisation instead of the one the tiny model has.
void Replace(const std::string& name, std::vector<StoredTensor> with,
             std::vector<StoredTensor>* tensors) {
  const auto gone = std::remove_if(tensors->begin(), tensors->end(), [&](const StoredTensor& t) {
    return t.name == name + ".weight";
  });
  REQUIRE(gone != tensors->end());
  tensors->erase(gone, tensors->end());
  for (StoredTensor& tensor : with) {
    tensor.name = name + tensor.name;
    tensors->push_back(std::move(tensor));
  }
}

template <typename T>
std::string Packed(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

uint32_t Random(uint32_t i) { return (i * 2654435761u) ^ (i * 40503u >> 7); }

constexpr int64_t kOut = 32, kIn = 64, kGroupSize = 32;

struct Int4 {
  std::vector<int> q, zero;     // [in][out], [groups][out]
  std::vector<uint16_t> scale;  // fp16 [groups][out]
};

Int4 MakeInt4(bool symmetric, uint32_t seed = 0) {
  Int4 made;
  for (uint32_t i = 0; i < kIn * kOut; ++i) {
    made.q.push_back(static_cast<int>(Random(i + seed * 7919) >> 9 & 15));
  }
  for (uint32_t i = 0; i < kIn / kGroupSize * kOut; ++i) {
    made.zero.push_back(symmetric ? 8 : 1 + static_cast<int>(Random(i + 7) >> 5 & 7));
    made.scale.push_back(FloatToHalf(0.01f + 0.001f * static_cast<float>(Random(i) & 63)));
  }
  return made;
}

// What the reference kernels compute, in fp16: scale · (q − zero).
float Expected(const Int4& m, int64_t row, int64_t k, int64_t group) {
  const auto at = static_cast<size_t>(group * kOut + row);
  const int q = m.q[static_cast<size_t>(k * kOut + row)] - m.zero[at];
  return HalfToFloat(FloatToHalf(HalfToFloat(m.scale[at]) * static_cast<float>(q)));
}

std::vector<StoredTensor> AsGptq(const Int4& m, const std::vector<int32_t>& g_idx) {
  std::vector<uint32_t> words(kIn / 8 * kOut), zeros(kIn / kGroupSize * kOut / 8);
  for (int64_t k = 0; k < kIn; ++k) {
    for (int64_t row = 0; row < kOut; ++row) {
      words[k / 8 * kOut + row] |= static_cast<uint32_t>(m.q[k * kOut + row]) << (4 * (k % 8));
    }
  }
  for (int64_t g = 0; g < kIn / kGroupSize; ++g) {
    for (int64_t row = 0; row < kOut; ++row) {
      zeros[g * kOut / 8 + row / 8] |= static_cast<uint32_t>(m.zero[g * kOut + row] - 1)
                                       << (4 * (row % 8));
    }
  }
  std::vector<StoredTensor> stored = {
      {".qweight", "I32", {kIn / 8, kOut}, Packed(words)},
      {".qzeros", "I32", {kIn / kGroupSize, kOut / 8}, Packed(zeros)},
      {".scales", "F16", {kIn / kGroupSize, kOut}, Packed(m.scale)}};
  if (!g_idx.empty()) stored.push_back({".g_idx", "I32", {kIn}, Packed(g_idx)});
  return stored;
}

std::vector<StoredTensor> AsAwq(const Int4& m) {
  constexpr int kOrder[] = {0, 2, 4, 6, 1, 3, 5, 7};
  std::vector<uint32_t> words(kIn * kOut / 8), zeros(kIn / kGroupSize * kOut / 8);
  const auto pack = [&](const std::vector<int>& from, std::vector<uint32_t>* to) {
    for (size_t word = 0; word < to->size(); ++word) {
      for (size_t i = 0; i < 8; ++i) {
        (*to)[word] |= static_cast<uint32_t>(from[word * 8 + kOrder[i]]) << (4 * i);
      }
    }
  };
  pack(m.q, &words);
  pack(m.zero, &zeros);
  return {{".qweight", "I32", {kIn, kOut / 8}, Packed(words)},
          {".qzeros", "I32", {kIn / kGroupSize, kOut / 8}, Packed(zeros)},
          {".scales", "F16", {kIn / kGroupSize, kOut}, Packed(m.scale)}};
}

// --- a place for them: one layer, or every expert of one ----------------------------------------

constexpr int64_t kExperts = 8;  // of the tiny qwen3moe, whose experts are [32][64]

std::string ExpertName(int64_t e) {
  return "model.layers.0.mlp.experts." + std::to_string(e) + ".gate_proj";
}

// v_proj of the tiny llama replaced.
struct OneLayer {
  static constexpr char kTensor[] = "blk.0.attn_v.weight";

  std::shared_ptr<const ModelSource> With(std::vector<StoredTensor> layer,
                                          const std::string& quantization) {
    const SynthSpec spec = *TinySpec("llama");
    std::vector<StoredTensor> tensors = HfTensors(spec);
    Replace("model.layers.0.self_attn.v_proj", std::move(layer), &tensors);
    WriteCheckpoint(folder.path(), tensors,
                    HfConfig(spec, "\"quantization_config\":" + quantization));
    return Open(folder.path());
  }

  TempFolder folder;
};

// The gates of all experts of the first layer of the tiny qwen3moe replaced.
struct AllExperts {
  static constexpr char kTensor[] = "blk.0.ffn_gate_exps.weight";

  template <typename Layer>
  std::shared_ptr<const ModelSource> With(Layer layer, const std::string& quantization) {
    const SynthSpec spec = *TinySpec("qwen3moe");
    std::vector<StoredTensor> tensors = HfTensors(spec);
    for (int64_t e = 0; e < kExperts; ++e) Replace(ExpertName(e), layer(e), &tensors);
    WriteCheckpoint(folder.path(), tensors,
                    HfConfig(spec, "\"quantization_config\":" + quantization));
    return Open(folder.path());
  }

  TempFolder folder;
};

constexpr char kGptq[] = R"({"quant_method":"gptq","bits":4,"group_size":32})";
constexpr char kAwq[] = R"({"quant_method":"awq","bits":4,"group_size":32,"version":"GEMM"})";
constexpr char kFp8[] = R"({"quant_method":"fp8","weight_block_size":[16,24]})";

std::string Compressed(const std::string& format, const std::string& weights) {
  return R"({"quant_method":"compressed-tensors","format":")" + format +
         R"(","config_groups":{"group_0":{"weights":)" + weights + "}}}";
}
std::string PackedConfig(const std::string& more = R"("symmetric":true)") {
  return Compressed(
      "pack-quantized",
      R"({"num_bits":4,"group_size":32,"strategy":"group","type":"int",)" + more + "}");
}

// Scale times what lies above the zero point of 8, unrounded.
float Symmetric(const Int4& m, int64_t row, int64_t k) {
  const auto at = static_cast<size_t>(k / kGroupSize * kOut + row);
  return HalfToFloat(m.scale[at]) *
         static_cast<float>(m.q[static_cast<size_t>(k * kOut + row)] - 8);
}

// Eight weights of a row in a word.
std::vector<StoredTensor> AsPacked(const Int4& m, float times) {
  std::vector<uint32_t> words(kOut * kIn / 8);
  std::vector<uint16_t> scales;
  for (int64_t row = 0; row < kOut; ++row) {
    for (int64_t k = 0; k < kIn; ++k) {
      words[row * kIn / 8 + k / 8] |= static_cast<uint32_t>(m.q[k * kOut + row]) << (4 * (k % 8));
    }
    for (int64_t g = 0; g < kIn / kGroupSize; ++g) {
      const float scale = HalfToFloat(m.scale[g * kOut + row]) * times;
      scales.push_back(static_cast<uint16_t>(std::bit_cast<uint32_t>(scale) >> 16));
    }
  }
  return {{".weight_packed", "I32", {kOut, kIn / 8}, Packed(words)},
          {".weight_scale", "BF16", {kOut, kIn / kGroupSize}, Packed(scales)},
          {".weight_shape", "I64", {2}, Packed(std::vector<int64_t>{kOut, kIn})}};
}

float Bf16(float value) {
  auto bits = std::bit_cast<uint32_t>(value);
  bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000;
  return std::bit_cast<float>(bits);
}

// e4m3: seven is the bias, and there are no infinities.
float E4m3(unsigned char code) {
  const int exponent = code >> 3 & 15;
  const float mantissa = static_cast<float>(code & 7);
  const float magnitude =
      exponent == 0 ? mantissa * 0x1p-9f : std::ldexp(1 + mantissa / 8, exponent - 7);
  return code & 0x80 ? -magnitude : magnitude;
}

std::string MakeCodes(uint32_t seed, int64_t count) {
  std::string codes;
  for (uint32_t i = 0; i < count; ++i) {
    const char code = static_cast<char>(Random(i + seed * 7919) >> 4);
    codes.push_back((code & 0x7F) == 0x7F ? '\x01' : code);
  }
  return codes;
}

std::vector<float> MakeScales(int64_t count, float first) {
  std::vector<float> scales;
  for (int64_t i = 0; i < count; ++i) scales.push_back(first + 0.37f * static_cast<float>(i));
  return scales;
}

}  // namespace

TEST_CASE("GPTQ weights are scale times what lies above the zero point") {
  SECTION("symmetric, in order: exactly Q4_0") {
    const Int4 m = MakeInt4(true);
    OneLayer place;
    const auto source = place.With(AsGptq(m, {}), kGptq);
    CHECK(source->FindTensor(place.kTensor)->view.dtype == DType::kQ4_0);
    const std::vector<float> values = DecodedValues(*source, place.kTensor);
    for (int64_t row = 0; row < kOut; ++row) {
      for (int64_t k = 0; k < kIn; ++k) REQUIRE(values[row * kIn + k] == Symmetric(m, row, k));
    }
    CHECK(DecodedValues(*source, place.kTensor) == values);  // again, after it was given back
  }
  SECTION("with zero points and groups out of order") {
    const Int4 m = MakeInt4(false);
    std::vector<int32_t> g_idx;
    for (int32_t k = 0; k < kIn; ++k) g_idx.push_back(k % 2);
    OneLayer place;
    const auto source = place.With(AsGptq(m, g_idx), kGptq);
    const std::vector<float> values = DecodedValues(*source, place.kTensor);
    for (int64_t row = 0; row < kOut; ++row) {
      for (int64_t k = 0; k < kIn; ++k) {
        REQUIRE(values[row * kIn + k] == Expected(m, row, k, k % 2));
      }
    }
  }
  SECTION("in experts: a stack of Q4_0 where all are symmetric") {
    AllExperts place;
    const auto source = place.With([](int64_t e) { return AsGptq(MakeInt4(true, e), {}); }, kGptq);
    CHECK(source->FindTensor(place.kTensor)->view.dtype == DType::kQ4_0);
    const std::vector<float> values = DecodedValues(*source, place.kTensor);
    for (int64_t e = 0; e < kExperts; ++e) {
      const Int4 m = MakeInt4(true, e);
      for (int64_t i = 0; i < kOut * kIn; ++i) {
        REQUIRE(values[e * kOut * kIn + i] == Symmetric(m, i / kIn, i % kIn));
      }
    }
  }
  SECTION("in experts that differ: a stack that is exact for each") {
    const auto symmetric = [](int64_t e) { return e % 3 != 1; };
    AllExperts place;
    const auto source =
        place.With([&](int64_t e) { return AsGptq(MakeInt4(symmetric(e), e), {}); }, kGptq);
    const std::vector<float> values = DecodedValues(*source, place.kTensor);
    for (int64_t e = 0; e < kExperts; ++e) {
      const Int4 m = MakeInt4(symmetric(e), e);
      for (int64_t i = 0; i < kOut * kIn; ++i) {
        const int64_t row = i / kIn, k = i % kIn;
        REQUIRE(values[e * kOut * kIn + i] ==
                (symmetric(e) ? Symmetric(m, row, k) : Expected(m, row, k, k / kGroupSize)));
      }
    }
  }
}

TEST_CASE("AWQ weights are scale times what lies above the zero point") {
  const Int4 m = MakeInt4(false);
  OneLayer layer;
  std::vector<float> values = DecodedValues(*layer.With(AsAwq(m), kAwq), layer.kTensor);
  AllExperts experts;
  const auto stack = DecodedValues(
      *experts.With([](int64_t e) { return AsAwq(MakeInt4(false, e)); }, kAwq), experts.kTensor);
  values.insert(values.end(), stack.begin(), stack.end());
  for (int64_t which = 0; which <= kExperts; ++which) {
    const Int4 made = which == 0 ? m : MakeInt4(false, which - 1);
    for (int64_t i = 0; i < kOut * kIn; ++i) {
      const int64_t row = i / kIn, k = i % kIn;
      REQUIRE(values[which * kOut * kIn + i] == Expected(made, row, k, k / kGroupSize));
    }
  }
}

TEST_CASE("packed weights are scale times what lies above 8") {
  SECTION("exactly Q4_0 where every scale is a half") {
    AllExperts place;
    const auto source =
        place.With([](int64_t e) { return AsPacked(MakeInt4(true, e), 1); }, PackedConfig());
    CHECK(source->FindTensor(place.kTensor)->view.dtype == DType::kQ4_0);
    const std::vector<float> values = DecodedValues(*source, place.kTensor);
    for (int64_t e = 0; e < kExperts; ++e) {
      const Int4 m = MakeInt4(true, e);
      for (int64_t i = 0; i < kOut * kIn; ++i) {
        const int64_t row = i / kIn, k = i % kIn;
        const float scale = HalfToFloat(m.scale[k / kGroupSize * kOut + row]);
        const auto cut = std::bit_cast<float>(std::bit_cast<uint32_t>(scale) & 0xFFFF0000);
        const int q = m.q[static_cast<size_t>(k * kOut + row)] - 8;
        REQUIRE(values[e * kOut * kIn + i] == cut * static_cast<float>(q));
      }
    }
  }
  SECTION("rounded to bf16 where one is beyond them") {
    const Int4 m = MakeInt4(true);
    OneLayer place;
    const auto source = place.With(AsPacked(m, 0x1p30f), PackedConfig());
    CHECK(source->FindTensor(place.kTensor)->view.dtype == DType::kBF16);
    const std::vector<float> values = DecodedValues(*source, place.kTensor);
    for (int64_t i = 0; i < kOut * kIn; ++i) {
      const int64_t row = i / kIn, k = i % kIn;
      const float scale = HalfToFloat(m.scale[k / kGroupSize * kOut + row]) * 0x1p30f;
      const auto cut = std::bit_cast<float>(std::bit_cast<uint32_t>(scale) & 0xFFFF0000);
      const int q = m.q[static_cast<size_t>(k * kOut + row)] - 8;
      REQUIRE(values[i] == Bf16(cut * static_cast<float>(q)));
    }
  }
}

TEST_CASE("FP8 weights are the value of each code times the scale of its block") {
  AllExperts place;
  const auto source = place.With(
      [](int64_t e) -> std::vector<StoredTensor> {
        return {{".weight", "F8_E4M3", {kOut, kIn}, MakeCodes(e, kOut * kIn)},
                {".weight_scale_inv", "F32", {2, 3}, Packed(MakeScales(6, 0.5f + e))}};
      },
      kFp8);
  const std::vector<float> values = DecodedValues(*source, place.kTensor);
  for (int64_t e = 0; e < kExperts; ++e) {
    const std::string codes = MakeCodes(e, kOut * kIn);
    const std::vector<float> scales = MakeScales(6, 0.5f + static_cast<float>(e));
    for (int64_t i = 0; i < kOut * kIn; ++i) {
      const int64_t row = i / kIn, k = i % kIn;
      const float value = E4m3(static_cast<unsigned char>(codes[static_cast<size_t>(i)]));
      REQUIRE(values[e * kOut * kIn + i] == Bf16(value * scales[row / 16 * 3 + k / 24]));
    }
  }
}

TEST_CASE("FP8 weights of compressed-tensors have a scale per row, or one") {
  const std::string codes = MakeCodes(3, kOut * kIn);
  for (const bool per_row : {true, false}) {
    CAPTURE(per_row);
    const std::vector<float> scales = MakeScales(per_row ? kOut : 1, 0.25f);
    const std::string strategy = per_row ? "channel" : "tensor";
    OneLayer place;
    const auto source = place.With(
        {{".weight", "F8_E4M3", {kOut, kIn}, codes},
         {".weight_scale", "F32", per_row ? std::vector<int64_t>{kOut, 1} : std::vector<int64_t>{1},
          Packed(scales)}},
        Compressed("float-quantized", R"({"num_bits":8,"type":"float","symmetric":true,)"
                                      R"("strategy":")" +
                                          strategy + "\"}"));
    const std::vector<float> values = DecodedValues(*source, place.kTensor);
    for (int64_t i = 0; i < kOut * kIn; ++i) {
      const float value = E4m3(static_cast<unsigned char>(codes[static_cast<size_t>(i)]));
      REQUIRE(values[i] == Bf16(value * scales[per_row ? i / kIn : 0]));
    }
  }
}

TEST_CASE("latent keys are turned whatever they are stored in") {
  const SynthSpec spec = *TinySpec("deepseek2");
  constexpr int64_t kHeads = 4, kNope = 32, kValue = 16, kLatent = 32;
  constexpr int64_t kRows = kHeads * (kNope + kValue);
  const std::string codes = MakeCodes(1, kRows * kLatent);
  const std::vector<float> scales = MakeScales(6, 0.5f);  // blocks of [32][32], of rows alone
  std::vector<StoredTensor> tensors = HfTensors(spec);
  Replace("model.layers.0.self_attn.kv_b_proj",
          {{".weight", "F8_E4M3", {kRows, kLatent}, codes},
           {".weight_scale_inv", "F32", {6, 1}, Packed(scales)}},
          &tensors);
  const TempFolder folder;
  WriteCheckpoint(
      folder.path(), tensors,
      HfConfig(spec,
               R"("quantization_config":{"quant_method":"fp8","weight_block_size":[32,32]})"));
  const auto source = Open(folder.path());
  const std::vector<float> keys = DecodedValues(*source, "blk.0.attn_k_b.weight");
  const std::vector<float> values = DecodedValues(*source, "blk.0.attn_v_b.weight");
  REQUIRE(keys.size() + values.size() == codes.size());
  for (int64_t i = 0; i < kRows * kLatent; ++i) {
    const int64_t row = i / kLatent, c = i % kLatent;
    const int64_t head = row / (kNope + kValue), within = row % (kNope + kValue);
    const float expected =
        Bf16(E4m3(static_cast<unsigned char>(codes[static_cast<size_t>(i)])) * scales[row / 32]);
    REQUIRE((within < kNope ? keys[(head * kLatent + c) * kNope + within]
                            : values[(head * kValue + within - kNope) * kLatent + c]) == expected);
  }
}

TEST_CASE("MXFP4 experts keep their codes and scales") {
  // A code is a sign, two bits of exponent and one of mantissa.
  constexpr float kE2m1[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.f, -0.5f, -1, -1.5f, -2, -3, -4, -6};
  const SynthSpec spec = *TinySpec("gpt-oss");
  constexpr int64_t kRows = 192, kBlocks = 2;  // gate and up rows of one expert, each of 64
  std::string blocks, scales;
  for (uint32_t i = 0; i < kExperts * kRows * kBlocks * 16; ++i) {
    blocks.push_back(static_cast<char>(Random(i) >> 5));
  }
  for (uint32_t i = 0; i < kExperts * kRows * kBlocks; ++i) {
    scales.push_back(static_cast<char>(100 + (Random(i) >> 3 & 31)));
  }
  std::vector<StoredTensor> tensors = HfTensors(spec);
  const std::string name = "model.layers.0.mlp.experts.gate_up_proj";
  std::erase_if(tensors, [&](const StoredTensor& tensor) { return tensor.name == name; });
  tensors.push_back({name + "_blocks", "U8", {kExperts, kRows, kBlocks, 16}, blocks});
  tensors.push_back({name + "_scales", "U8", {kExperts, kRows, kBlocks}, scales});
  const TempFolder folder;
  WriteCheckpoint(folder.path(), tensors,
                  HfConfig(spec, R"("quantization_config":{"quant_method":"mxfp4"})"));
  const auto source = Open(folder.path());
  const std::vector<float> gate = DecodedValues(*source, "blk.0.ffn_gate_exps.weight");
  const std::vector<float> up = DecodedValues(*source, "blk.0.ffn_up_exps.weight");
  CHECK(source->FindTensor("blk.0.ffn_up_exps.weight")->view.dtype == DType::kMXFP4);
  REQUIRE(gate.size() == kExperts * kRows / 2 * 64);
  for (size_t block = 0; block < scales.size(); ++block) {
    const int exponent = static_cast<unsigned char>(scales[block]) - 127;
    for (size_t i = 0; i < 32; ++i) {
      const int code = static_cast<unsigned char>(blocks[block * 16 + i / 2]) >> (i % 2 * 4) & 15;
      const size_t row = block / kBlocks, column = block % kBlocks * 32 + i;
      const std::vector<float>& half = row % 2 == 0 ? gate : up;
      REQUIRE(half[row / 2 * 64 + column] == std::ldexp(kE2m1[code], exponent));
    }
  }
}

TEST_CASE("a quantised layer that is not whole is refused by its part") {
  const auto refusal = [](std::vector<StoredTensor> layer, const std::string& quantization) {
    const SynthSpec spec = *TinySpec("llama");
    std::vector<StoredTensor> tensors = HfTensors(spec);
    Replace("model.layers.0.self_attn.v_proj", std::move(layer), &tensors);
    const TempFolder folder;
    WriteCheckpoint(folder.path(), tensors,
                    HfConfig(spec, "\"quantization_config\":" + quantization));
    return std::string(OpenHfFolder(folder.path()).status().message());
  };
  const auto has = [](const std::string& message, const std::string& why) {
    CAPTURE(message, why);
    CHECK(message.find("self_attn.v_proj") != std::string::npos);
    CHECK(message.find(why) != std::string::npos);
  };
  const Int4 m = MakeInt4(true);
  const auto without = [](std::vector<StoredTensor> layer, size_t part) {
    layer.erase(layer.begin() + static_cast<std::ptrdiff_t>(part));
    return layer;
  };
  has(refusal(without(AsGptq(m, {}), 1), kGptq), ".qzeros: no such tensor");
  has(refusal(without(AsAwq(m), 2), kAwq), ".scales: no such tensor");
  has(refusal(without(AsPacked(m, 1), 2), PackedConfig()), ".weight_shape: no such tensor");
  std::vector<StoredTensor> layer = AsPacked(m, 1);
  layer[2].bytes = Packed(std::vector<int64_t>{kOut, kIn + 1});
  has(refusal(layer, PackedConfig()), "weight_shape: [32][65] does not fit weight_packed [32][8]");
  layer = AsGptq(m, std::vector<int32_t>(kIn, 2));
  has(refusal(layer, kGptq), "g_idx: element 0 is 2, of 2 groups");
  layer = {{".weight", "F8_E4M3", {kOut, kIn}, MakeCodes(0, kOut * kIn)},
           {".weight_scale_inv", "F32", {2, 2}, Packed(MakeScales(4, 1))}};
  has(refusal(layer, kFp8), "scale: expected [2][3], found [2][2] of F32");
  has(refusal(without(layer, 1), kFp8), ".weight_scale_inv: no such tensor");
  // e4m3 without a word of it in config.json
  has(refusal(without(layer, 1), kGptq), "a weight of type F8_E4M3 by itself says nothing");
}

}  // namespace conclave::engine
