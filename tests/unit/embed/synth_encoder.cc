#include "unit/embed/synth_encoder.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <span>
#include <utility>

#include "base/check.h"
#include "engine/weights/gguf_writer.h"
#include "support/hf_checkpoint.h"
#include "tools/synth_model.h"
#include "tools/synth_values.h"
#include "unit/embed/tiny_bert.h"

namespace conclave::embed {
namespace {

namespace fs = std::filesystem;
using engine::DType;
using engine::GgufWriter;
using engine::Shape;

// base + scale · u, as in tests/golden/models/tiny_values.py
std::vector<float> MakeUp(const std::string& name, int64_t count, float base, float scale) {
  std::vector<float> values(static_cast<size_t>(count));
  engine::MakeFiller(engine::TensorSeed(1, name), DType::kF32, count, base, scale)(
      0, std::as_writable_bytes(std::span(values)));
  return values;
}

struct Tensor {
  std::string name;  // in GGUF
  std::vector<int64_t> shape;
  std::vector<float> values;
};

Tensor Matrix(const std::string& name, int64_t out, int64_t in) {
  return {name, {out, in}, MakeUp(name, out * in, 0, std::sqrt(3.0f / static_cast<float>(in)))};
}

Tensor Vector(const std::string& name, int64_t n, float center) {
  return {name, {n}, MakeUp(name, n, center, 0.25f)};
}

class Tensors final {
 public:
  explicit Tensors(const SynthEncoder& e) {
    constexpr int64_t h = SynthEncoder::kHidden;
    const bool nomic = e.architecture == "nomic-bert";
    all_.push_back(Matrix("token_embd.weight", SynthEncoder::kVocab, h));
    all_.push_back(Matrix("token_types.weight", e.types, h));
    if (!nomic) all_.push_back(Matrix("position_embd.weight", SynthEncoder::kContext, h));
    Norm("token_embd_norm");
    for (int i = 0; i < SynthEncoder::kLayers; ++i) {
      const std::string at = "blk." + std::to_string(i) + ".";
      if (nomic) {
        Linear(at + "attn_qkv", 3 * h, h, false);
        Linear(at + "ffn_gate", SynthEncoder::kFfn, h, false);
      } else {
        for (const char* part : {"attn_q", "attn_k", "attn_v"}) Linear(at + part, h, h, true);
      }
      Linear(at + "attn_output", h, h, !nomic);
      Norm(at + "attn_output_norm");
      Linear(at + "ffn_up", SynthEncoder::kFfn, h, !nomic);
      Linear(at + "ffn_down", h, SynthEncoder::kFfn, !nomic);
      Norm(at + "layer_output_norm");
    }
    if (e.pooling_type != 4) return;
    Linear("cls", h, h, true);
    Linear("cls.output", 1, h, true);
  }
  const std::vector<Tensor>& all() const { return all_; }

 private:
  void Linear(const std::string& name, int64_t out, int64_t in, bool bias) {
    all_.push_back(Matrix(name + ".weight", out, in));
    if (bias) all_.push_back(Vector(name + ".bias", out, 0));
  }
  void Norm(const std::string& name) {
    all_.push_back(Vector(name + ".weight", SynthEncoder::kHidden, 1));
    all_.push_back(Vector(name + ".bias", SynthEncoder::kHidden, 0));
  }

  std::vector<Tensor> all_;
};

// --- vocabularies -------------------------------------------------------------------------------

// Ids 2 and 3 begin and end a text in both kinds.
void SetTokenizer(const std::string& kind, GgufWriter* writer) {
  std::vector<std::string> tokens = {"[PAD]", "[UNK]", "[CLS]", "[SEP]"};
  std::vector<int32_t> types = {3, 2, 3, 3};
  for (int i = 4; i < SynthEncoder::kVocab; ++i) {
    const std::string letter(1, static_cast<char>('a' + i % 26));
    tokens.push_back("▁" + std::string(static_cast<size_t>(i / 26), letter[0]));
    types.push_back(1);
  }
  writer->SetString("tokenizer.ggml.model", kind);
  writer->SetStrings("tokenizer.ggml.tokens", tokens);
  writer->SetInts("tokenizer.ggml.token_type", types);
  if (kind == "bert") {
    writer->SetUint32("tokenizer.ggml.cls_token_id", 2);
    writer->SetUint32("tokenizer.ggml.seperator_token_id", 3);
  } else {
    writer->SetFloats("tokenizer.ggml.scores", std::vector<float>(tokens.size(), -1.0f));
    writer->SetUint32("tokenizer.ggml.bos_token_id", 2);
    writer->SetUint32("tokenizer.ggml.eos_token_id", 3);
    writer->SetBool("tokenizer.ggml.add_bos_token", true);
    writer->SetBool("tokenizer.ggml.add_eos_token", true);
  }
  writer->SetUint32("tokenizer.ggml.unknown_token_id", 1);
}

std::string VocabTxt() {
  std::string text = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n";
  for (int i = 4; i < SynthEncoder::kVocab; ++i) {
    text += std::string(static_cast<size_t>(i / 26 + 1), static_cast<char>('a' + i % 26)) + "\n";
  }
  return text;
}

// --- folders ------------------------------------------------------------------------------------

const std::map<std::string, std::string>& BertNames() {
  static const auto* names =
      new std::map<std::string, std::string>{{"token_embd", "embeddings.word_embeddings"},
                                             {"token_types", "embeddings.token_type_embeddings"},
                                             {"position_embd", "embeddings.position_embeddings"},
                                             {"token_embd_norm", "embeddings.LayerNorm"},
                                             {"attn_q", "attention.self.query"},
                                             {"attn_k", "attention.self.key"},
                                             {"attn_v", "attention.self.value"},
                                             {"attn_output", "attention.output.dense"},
                                             {"attn_output_norm", "attention.output.LayerNorm"},
                                             {"ffn_up", "intermediate.dense"},
                                             {"ffn_down", "output.dense"},
                                             {"layer_output_norm", "output.LayerNorm"}};
  return *names;
}

const std::map<std::string, std::string>& NomicNames() {
  static const auto* names =
      new std::map<std::string, std::string>{{"token_embd", "embeddings.word_embeddings"},
                                             {"token_types", "embeddings.token_type_embeddings"},
                                             {"token_embd_norm", "emb_ln"},
                                             {"attn_qkv", "attn.Wqkv"},
                                             {"attn_output", "attn.out_proj"},
                                             {"attn_output_norm", "norm1"},
                                             {"ffn_up", "mlp.fc11"},
                                             {"ffn_gate", "mlp.fc12"},
                                             {"ffn_down", "mlp.fc2"},
                                             {"layer_output_norm", "norm2"}};
  return *names;
}

std::string FolderName(const SynthEncoder& e, const std::string& name) {
  const bool nomic = e.architecture == "nomic-bert";
  const bool ranks = e.pooling_type == 4;
  const size_t dot = name.rfind('.');
  const std::string last = name.substr(dot);
  if (name.starts_with("cls.output.")) {
    return (e.roberta ? "classifier.out_proj" : "classifier") + last;
  }
  if (name.starts_with("cls."))
    return (e.roberta ? "classifier.dense" : "bert.pooler.dense") + last;
  const std::string prefix = !ranks ? "" : e.roberta ? "roberta." : "bert.";
  const auto& names = nomic ? NomicNames() : BertNames();
  if (!name.starts_with("blk.")) return prefix + names.at(name.substr(0, dot)) + last;
  const size_t part = name.find('.', 4) + 1;
  return prefix + (nomic ? "encoder.layers." : "encoder.layer.") + name.substr(4, part - 4) +
         names.at(name.substr(part, dot - part)) + last;
}

std::string Bytes(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

std::string FolderConfig(const SynthEncoder& e) {
  const std::string architecture =
      e.pooling_type == 4 ? R"("architectures": ["XForSequenceClassification"], )" : "";
  if (e.architecture == "nomic-bert" && !e.published) {
    return R"({"model_type": "nomic_bert", "hidden_size": 32, "num_hidden_layers": 2,
               "num_attention_heads": 4, "intermediate_size": 64, "hidden_act": "silu",
               "max_position_embeddings": 64, "layer_norm_eps": 1e-12, "vocab_size": 90,
               "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0}})";
  }
  if (e.architecture == "nomic-bert") {
    return R"({"model_type": "nomic_bert", "n_embd": 32, "n_layer": 2, "n_head": 4, "n_inner": 64,
               "n_positions": 8192, "max_trained_positions": 64, "layer_norm_epsilon": 1e-12,
               "rotary_emb_base": 1000, "rotary_emb_fraction": 1.0, "causal": false,
               "activation_function": "swiglu", "prenorm": false, "vocab_size": 90,
               "rotary_scaling_factor": null})";
  }
  return std::string("{") + architecture + R"("model_type": ")" +
         (e.roberta ? "xlm-roberta" : "bert") + R"(", "hidden_size": 32, "num_hidden_layers": 2,
             "num_attention_heads": 4, "intermediate_size": 64, "pad_token_id": 1,
             "hidden_act": "gelu", "vocab_size": 90, "layer_norm_eps": )" +
         std::to_string(e.eps) + R"(, "max_position_embeddings": )" +
         std::to_string(SynthEncoder::kContext + (e.roberta ? 2 : 0)) + "}";
}

}  // namespace

ScratchFolder::ScratchFolder() {
  std::string pattern = (fs::temp_directory_path() / "conclave-encoder-XXXXXX").string();
  path_ = mkdtemp(pattern.data());
}
ScratchFolder::~ScratchFolder() { fs::remove_all(path_); }

void ScratchFolder::Write(const std::string& name, const std::string& text) const {
  const fs::path path = fs::path(path_) / name;
  fs::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

void WriteGguf(const SynthEncoder& e, const std::string& path, const std::string& left_out) {
  GgufWriter writer;
  const std::string& a = e.architecture;
  writer.SetString("general.architecture", a);
  writer.SetUint32(a + ".block_count", SynthEncoder::kLayers);
  writer.SetUint32(a + ".context_length", SynthEncoder::kContext);
  writer.SetUint32(a + ".embedding_length", SynthEncoder::kHidden);
  writer.SetUint32(a + ".feed_forward_length", SynthEncoder::kFfn);
  writer.SetUint32(a + ".attention.head_count", SynthEncoder::kHeads);
  writer.SetFloat(a + ".attention.layer_norm_epsilon", static_cast<float>(e.eps));
  writer.SetBool(a + ".attention.causal", false);
  if (a == "nomic-bert") writer.SetFloat(a + ".rope.freq_base", 1000);
  if (e.pooling_type > 0 && !e.silent) {
    writer.SetUint32(a + ".pooling_type", static_cast<uint32_t>(e.pooling_type));
  }
  SetTokenizer(e.tokenizer, &writer);
  const Tensors tensors(e);
  for (const Tensor& tensor : tensors.all()) {
    if (tensor.name == left_out) continue;
    const bool matrix = tensor.shape.size() == 2;
    const Shape shape =
        matrix ? Shape({tensor.shape[0], tensor.shape[1]}) : Shape({tensor.shape[0]});
    const DType dtype = matrix && tensor.name.starts_with("blk.") ? e.matrices : DType::kF32;
    writer.AddTensor(tensor.name, dtype, shape, tensor.values);
  }
  CHECK(writer.WriteFile(path).ok());
}

void WriteQwen3(const SynthQwen3& q, const std::string& path) {
  engine::SynthSpec spec = *engine::TinySpec("qwen3");
  spec.no_vocab = false;
  GgufWriter writer = *engine::MakeSynthModel(spec);
  if (q.pooling_type > 0) {
    writer.SetUint32("qwen3.pooling_type", static_cast<uint32_t>(q.pooling_type));
  }
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  for (int i = 0; i < spec.vocab_size; ++i) {
    const bool printable = i > ' ' && i < 127;
    tokens.push_back(i == ' '    ? "Ġ"
                     : printable ? std::string(1, static_cast<char>(i))
                                 : "<|" + std::to_string(i) + "|>");
    types.push_back(i == ' ' || printable ? 1 : 3);
  }
  writer.SetString("tokenizer.ggml.model", "gpt2");
  writer.SetString("tokenizer.ggml.pre", "qwen2");
  writer.SetStrings("tokenizer.ggml.tokens", tokens);
  writer.SetInts("tokenizer.ggml.token_type", types);
  writer.SetStrings("tokenizer.ggml.merges", std::vector<std::string>());
  writer.SetUint32("tokenizer.ggml.eos_token_id", 3);
  writer.SetBool("tokenizer.ggml.add_eos_token", true);
  if (q.pooling_type == 4) {
    writer.SetStrings("qwen3.classifier.output_labels", q.labels);
    writer.SetString("tokenizer.chat_template.rerank", q.pair_template);
    const Tensor words = Matrix("cls.output.weight", 2, spec.hidden);
    writer.AddTensor(words.name, DType::kF32, Shape({2, spec.hidden}), words.values);
  }
  CHECK(writer.WriteFile(path).ok());
}

void WriteFolder(const SynthEncoder& e, const std::string& path) {
  std::vector<engine::StoredTensor> stored;
  const Tensors tensors(e);
  for (const Tensor& tensor : tensors.all()) {
    engine::StoredTensor one{FolderName(e, tensor.name), "F32", tensor.shape, Bytes(tensor.values)};
    if (e.roberta && tensor.name == "position_embd.weight") {
      one.shape[0] += 2;
      one.bytes.insert(0, 2 * SynthEncoder::kHidden * sizeof(float), '\0');
    }
    stored.push_back(std::move(one));
  }
  engine::WriteCheckpoint(path, stored, FolderConfig(e));
  std::ofstream(path + "/vocab.txt", std::ios::binary) << VocabTxt();
}

std::vector<GoldenCase> GoldenCases(const std::string& model) {
  const base::JsonDocument doc =
      ReadGolden(std::string(CONCLAVE_SOURCE_DIR) + "/tests/golden/embeddings/encoders.json");
  const base::JsonValue cases = doc.root().Get(model);
  CHECK(cases.size() > 0);
  const auto floats = [](const base::JsonValue& array) {
    std::vector<float> all;
    for (size_t i = 0; i < array.size(); ++i) {
      all.push_back(static_cast<float>(*array.At(i).AsNumber()));
    }
    return all;
  };
  std::vector<GoldenCase> all;
  for (size_t i = 0; i < cases.size(); ++i) {
    const base::JsonValue from = cases.At(i);
    GoldenCase one;
    for (size_t k = 0; k < from.Get("ids").size(); ++k) {
      one.tokens.ids.push_back(static_cast<TokenId>(*from.Get("ids").At(k).AsInt()));
    }
    if (from.Get("second").present()) {
      one.tokens.second = static_cast<int32_t>(*from.Get("second").AsInt());
    }
    one.mean = floats(from.Get("mean"));
    one.cls = floats(from.Get("cls"));
    one.last = floats(from.Get("last"));
    one.score = floats(from.Get("score"));
    all.push_back(std::move(one));
  }
  return all;
}

std::vector<float> EncodeOne(Encoder& encoder, const TokenSequence& tokens) {
  std::vector<float> out(static_cast<size_t>(encoder.info().dimensions));
  const auto size = static_cast<int32_t>(tokens.ids.size());
  const std::vector<int32_t> offsets = {0, size};
  const std::vector<int32_t> seconds = {tokens.second < 0 ? size : tokens.second};
  encoder.Encode({.ids = tokens.ids, .offsets = offsets, .seconds = seconds}, out.data());
  return out;
}

float LargestDifference(const std::vector<float>& a, const std::vector<float>& b) {
  CHECK(a.size() == b.size());
  float largest = 0;
  for (size_t i = 0; i < a.size(); ++i) largest = std::max(largest, std::abs(a[i] - b[i]));
  return largest;
}

}  // namespace conclave::embed
