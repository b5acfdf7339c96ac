// Hugging Face folders: the logits of transformers from safetensors as from GGUF, and the weights
// of each quantisation by its formula.
#include "engine/weights/hf_folder.h"

#include <algorithm>
#include <bit>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <string>

#include "engine/quant/format.h"
#include "engine/quant/half.h"
#include "engine/tokenizer/load.h"
#include "support/golden.h"
#include "support/hf_checkpoint.h"
#include "support/tiny_model.h"
#include "unit/engine/weights/temp_file.h"

namespace conclave::engine {
namespace {

std::shared_ptr<const ModelSource> Open(const std::string& folder) {
  auto source = OpenHfFolder(folder);
  INFO(source.status().ToString());
  REQUIRE(source.ok());
  return *std::move(source);
}

std::string Refusal(const std::string& folder) {
  return std::string(OpenHfFolder(folder).status().message());
}

double GoldenDistance(const std::string& golden_name, std::shared_ptr<const ModelSource> source) {
  auto golden = ReadGolden("models/" + golden_name + ".txt");
  const std::vector<double>& prompt = golden["prompt"].at(0);
  ModelRig rig(std::move(source), {.kv_type = KvType::kF32});
  const std::vector<float> logits = rig.Prefill(std::vector<TokenId>(prompt.begin(), prompt.end()));
  const size_t width = golden["logits"].at(0).size();
  REQUIRE(logits.size() == width * golden["logits"].size());
  double distance = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double apart = std::abs(logits[i] - golden["logits"][i / width][i % width]);
    distance = std::isnan(apart) ? INFINITY : std::max(distance, apart);
  }
  return distance;
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

// The values a source gives for a tensor, in fp32.
std::vector<float> Values(const ModelSource& source, const std::string& name) {
  const TensorEntry* entry = source.FindTensor(name);
  REQUIRE(entry != nullptr);
  source.Prepare(*entry);
  std::vector<float> values(static_cast<size_t>(entry->view.shape.elements()));
  const int64_t cols = entry->view.cols();
  for (int64_t row = 0; row < entry->view.rows(); ++row) {
    FindFormat(entry->view.dtype)->dequantize_row(entry->view.row(row), &values[row * cols], cols);
  }
  source.DoneWith(entry->view);
  return values;
}

constexpr char kProjection[] = "model.layers.0.self_attn.v_proj";
constexpr char kTensor[] = "blk.0.attn_v.weight";
constexpr int64_t kOut = 32, kIn = 64, kGroupSize = 32;

struct Int4 {
  std::vector<int> q, zero;     // [in][out], [groups][out]
  std::vector<uint16_t> scale;  // fp16 [groups][out]
};

Int4 MakeInt4(bool symmetric) {
  Int4 made;
  for (uint32_t i = 0; i < kIn * kOut; ++i) made.q.push_back(static_cast<int>(Random(i) >> 9 & 15));
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

std::shared_ptr<const ModelSource> OpenWith(const TempFolder& folder,
                                            std::vector<StoredTensor> layer,
                                            const std::string& quantization) {
  const SynthSpec spec = *TinySpec("llama");
  std::vector<StoredTensor> tensors = HfTensors(spec);
  Replace(kProjection, std::move(layer), &tensors);
  WriteCheckpoint(folder.path(), tensors,
                  HfConfig(spec, "\"quantization_config\":" + quantization));
  return Open(folder.path());
}

}  // namespace

TEST_CASE("a folder gives the logits of transformers") {
  for (const std::string architecture : {"llama", "qwen2", "qwen3", "qwen3moe"}) {
    CAPTURE(architecture);
    const SynthSpec spec = *TinySpec(architecture);
    for (const size_t shards : {1, 3}) {
      const TempFolder folder;
      WriteCheckpoint(folder.path(), HfTensors(spec), HfConfig(spec), shards);
      CHECK(GoldenDistance(architecture, Open(folder.path())) < 2e-5);
    }
  }
}

TEST_CASE("a folder gives the logits of transformers with scaled rotations") {
  const TempFolder llama3, yarn;
  const SynthSpec llama = *TinySpec("llama"), qwen3 = *TinySpec("qwen3");
  WriteCheckpoint(llama3.path(), HfTensors(llama),
                  HfConfig(llama, R"("rope_scaling":{"rope_type":"llama3","factor":8.0,)"
                                  R"("low_freq_factor":1.0,"high_freq_factor":4.0,)"
                                  R"("original_max_position_embeddings":64})"));
  CHECK(GoldenDistance("llama3_rope", Open(llama3.path())) < 2e-5);
  WriteCheckpoint(yarn.path(), HfTensors(qwen3),
                  HfConfig(qwen3, R"("rope_scaling":{"type":"yarn","factor":4.0,)"
                                  R"("original_max_position_embeddings":128})"));
  CHECK(GoldenDistance("yarn", Open(yarn.path())) < 2e-5);
}

TEST_CASE("GPTQ weights are scale times what lies above the zero point") {
  const std::string config = R"({"quant_method":"gptq","bits":4,"group_size":32})";
  SECTION("symmetric, in order: exactly Q4_0") {
    const Int4 m = MakeInt4(true);
    const TempFolder folder;
    const auto source = OpenWith(folder, AsGptq(m, {}), config);
    CHECK(source->FindTensor(kTensor)->view.dtype == DType::kQ4_0);
    const std::vector<float> values = Values(*source, kTensor);
    for (int64_t row = 0; row < kOut; ++row) {
      for (int64_t k = 0; k < kIn; ++k) {
        const auto at = static_cast<size_t>(k / kGroupSize * kOut + row);
        const int q = m.q[static_cast<size_t>(k * kOut + row)] - 8;
        REQUIRE(values[row * kIn + k] == HalfToFloat(m.scale[at]) * static_cast<float>(q));
      }
    }
    CHECK(Values(*source, kTensor) == values);  // again, after it was given back
  }
  SECTION("with zero points and groups out of order") {
    const Int4 m = MakeInt4(false);
    std::vector<int32_t> g_idx;
    for (int32_t k = 0; k < kIn; ++k) g_idx.push_back(k % 2);
    const TempFolder folder;
    const auto source = OpenWith(folder, AsGptq(m, g_idx), config);
    const std::vector<float> values = Values(*source, kTensor);
    for (int64_t row = 0; row < kOut; ++row) {
      for (int64_t k = 0; k < kIn; ++k) {
        REQUIRE(values[row * kIn + k] == Expected(m, row, k, k % 2));
      }
    }
  }
}

TEST_CASE("AWQ weights are scale times what lies above the zero point") {
  const Int4 m = MakeInt4(false);
  const TempFolder folder;
  const auto source = OpenWith(
      folder, AsAwq(m), R"({"quant_method":"awq","bits":4,"group_size":32,"version":"GEMM"})");
  const std::vector<float> values = Values(*source, kTensor);
  for (int64_t row = 0; row < kOut; ++row) {
    for (int64_t k = 0; k < kIn; ++k) {
      REQUIRE(values[row * kIn + k] == Expected(m, row, k, k / kGroupSize));
    }
  }
}

TEST_CASE("FP8 weights are the value of each code times the scale of its block") {
  std::string codes;
  for (uint32_t i = 0; i < kOut * kIn; ++i) {
    const char code = static_cast<char>(Random(i) >> 4);
    codes.push_back((code & 0x7F) == 0x7F ? '\x01' : code);
  }
  std::vector<float> scales;
  for (int i = 0; i < 2 * 3; ++i) scales.push_back(0.5f + 0.37f * static_cast<float>(i));
  const TempFolder folder;
  const auto source = OpenWith(folder,
                               {{".weight", "F8_E4M3", {kOut, kIn}, codes},
                                {".weight_scale_inv", "F32", {2, 3}, Packed(scales)}},
                               R"({"quant_method":"fp8","weight_block_size":[16,24]})");
  const std::vector<float> values = Values(*source, kTensor);
  for (int64_t row = 0; row < kOut; ++row) {
    for (int64_t k = 0; k < kIn; ++k) {
      const auto code = static_cast<unsigned char>(codes[static_cast<size_t>(row * kIn + k)]);
      const int exponent = code >> 3 & 15;
      const float magnitude = exponent == 0
                                  ? static_cast<float>(code & 7) * 0x1p-9f
                                  : std::ldexp(1 + static_cast<float>(code & 7) / 8, exponent - 7);
      const float exact = (code & 0x80 ? -magnitude : magnitude) * scales[row / 16 * 3 + k / 24];
      // To bf16, half to even.
      auto bits = std::bit_cast<uint32_t>(exact);
      bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000;
      REQUIRE(values[row * kIn + k] == std::bit_cast<float>(bits));
    }
  }
}

TEST_CASE("the tokenizer, template and sampling of a folder are those of its files") {
  const SynthSpec spec = *TinySpec("llama");
  const TempFolder folder;
  WriteCheckpoint(folder.path(), HfTensors(spec), HfConfig(spec, "\"eos_token_id\":2"));
  folder.Write("tokenizer.json",
               R"({"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]},)"
               R"("added_tokens":[{"id":3,"content":"<s>","special":true},)"
               R"({"id":4,"content":"</s>","special":true}]})");
  folder.Write("tokenizer_config.json",
               R"({"bos_token":{"content":"<s>"},"eos_token":"</s>","add_bos_token":true,)"
               R"("tokenizer_class":"LlamaTokenizer","chat_template":)"
               R"([{"name":"default","template":"one"},{"name":"tool_use","template":"two"}]})");
  folder.Write("generation_config.json",
               R"({"eos_token_id":[4,1],"do_sample":true,"temperature":0.6,"top_k":20})");
  const auto source = Open(folder.path());
  const auto tokenizer = LoadTokenizer(*source);
  INFO(tokenizer.status().ToString());
  REQUIRE(tokenizer.ok());
  CHECK((*tokenizer)->Encode("ab", {.add_special = true}) == std::vector<TokenId>{3, 2});
  CHECK((*tokenizer)->bos() == 3);
  CHECK((*tokenizer)->eos() == 4);
  for (const TokenId id : {1, 2, 4}) CHECK((*tokenizer)->IsEndOfGeneration(id));
  CHECK_FALSE((*tokenizer)->IsEndOfGeneration(0));
  CHECK(*source->GetString("tokenizer.chat_template") == "one");
  CHECK(*source->GetString("tokenizer.chat_template.tool_use") == "two");
  CHECK(*source->GetFloat("general.sampling.temp", 0, 2) == 0.6);
  CHECK(*source->GetInt("general.sampling.top_k", 0, 100) == 20);
  // A template in a file of its own comes first.
  folder.Write("chat_template.jinja", "three");
  CHECK(*Open(folder.path())->GetString("tokenizer.chat_template") == "three");
  // Without a tokenizer.json there is no reading the other kinds.
  std::filesystem::remove(folder.path() + "/tokenizer.json");
  folder.Write("tokenizer.model", "x");
  CHECK(Refusal(folder.path()).find("a tokenizer needs its tokenizer.json") != std::string::npos);
}

TEST_CASE("a folder that does not fit its config.json is refused with the field or tensor") {
  const SynthSpec spec = *TinySpec("llama");
  const TempFolder folder;
  std::vector<StoredTensor> tensors = HfTensors(spec);
  const auto refused = [&](const std::string& more, const std::string& why) {
    WriteCheckpoint(folder.path(), tensors, HfConfig(spec, more));
    const std::string message = Refusal(folder.path());
    CAPTURE(message, why);
    CHECK(message.find(why) != std::string::npos);
  };
  refused(R"("rope_scaling":{"rope_type":"dynamic","factor":2})",
          "config.json: rope_scaling.rope_type: \"dynamic\" is not supported");
  refused(R"("mlp_bias":true)", "config.json: mlp_bias: true is not supported");
  refused(R"("quantization_config":{"quant_method":"bitsandbytes"})",
          "quantization_config.quant_method: \"bitsandbytes\" is not supported");
  refused(R"("quantization_config":{"quant_method":"gptq","bits":3,"group_size":32})", "3 bits");
  tensors.push_back({"model.layers.0.self_attn.extra.weight", "F32", {1}, "abcd"});
  refused("", "model.layers.0.self_attn.extra.weight: a tensor this architecture does not have");
  tensors.pop_back();
  tensors.erase(std::find_if(tensors.begin(), tensors.end(), [](const StoredTensor& t) {
    return t.name == "model.layers.1.mlp.up_proj.weight";
  }));
  refused("", "model.layers.1.mlp.up_proj.weight: no such tensor");
  folder.Write("config.json", R"({"model_type":"rwkv"})");
  CHECK(Refusal(folder.path()).find("model_type: \"rwkv\" is not known (llama, mistral") !=
        std::string::npos);
}

}  // namespace conclave::engine
