// The tensors of tiny models the way transformers stores them, from those GGUF has.
#include <cstring>
#include <map>
#include <memory>

#include "base/check.h"
#include "engine/quant/format.h"
#include "support/hf_checkpoint.h"
#include "support/tiny_model.h"

namespace conclave::engine {
namespace {

// An fp32 tensor that can be taken apart.
struct Values {
  std::vector<int64_t> shape;
  std::vector<float> values;

  int64_t cols() const { return shape.back(); }
  int64_t rows() const { return static_cast<int64_t>(values.size()) / cols(); }
  const float* row(int64_t i) const { return values.data() + i * cols(); }
  void Append(const float* from, int64_t count) { values.insert(values.end(), from, from + count); }
};

// Row i of the result is row `from(i)`.
template <typename From>
Values Picked(const Values& tensor, std::vector<int64_t> shape, From from) {
  Values result{.shape = std::move(shape), .values = {}};
  const int64_t width = tensor.shape.size() == 1 ? 1 : tensor.cols();
  int64_t rows = 1;
  for (const int64_t extent : result.shape) rows *= extent;
  rows /= width;
  for (int64_t i = 0; i < rows; ++i) result.Append(tensor.values.data() + from(i) * width, width);
  return result;
}

// [a][b][c] → [a][c][b].
Values Turned(const Values& stack) {
  const int64_t a = stack.shape[0], b = stack.shape[1], c = stack.shape[2];
  Values result{.shape = {a, c, b}, .values = std::vector<float>(stack.values.size())};
  for (int64_t i = 0; i < a; ++i) {
    for (int64_t j = 0; j < b; ++j) {
      for (int64_t k = 0; k < c; ++k) {
        result.values[(i * c + k) * b + j] = stack.values[(i * b + j) * c + k];
      }
    }
  }
  return result;
}

Values Slice(const Values& stack, int64_t i) {
  Values slice{.shape = {stack.shape[1], stack.shape[2]}, .values = {}};
  const int64_t count = stack.shape[1] * stack.shape[2];
  slice.Append(stack.values.data() + i * count, count);
  return slice;
}

using Parts = std::map<std::string, Values>;  // "attn_q.weight" → its values

class Layers final {
 public:
  Layers(const SynthSpec& spec, const HfLayout& layout) : spec_(spec), layout_(layout) {}

  void Add(const std::string& name, const Values& tensor) {
    StoredTensor stored{
        .name = name, .dtype = layout_.bf16 ? "BF16" : "F32", .shape = tensor.shape, .bytes = {}};
    for (const float value : tensor.values) {
      uint32_t bits = 0;
      std::memcpy(&bits, &value, 4);
      if (layout_.bf16 || layout_.rounded) bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000;
      for (int byte = layout_.bf16 ? 2 : 0; byte < 4; ++byte) {
        stored.bytes.push_back(static_cast<char>(bits >> (8 * byte)));
      }
    }
    tensors.push_back(std::move(stored));
  }

  void AddGlobals(const Parts& parts) {
    const bool bloom = spec_.architecture == "bloom";
    const std::map<std::string, std::string> names = {
        {"token_embd", bloom ? "transformer.word_embeddings" : "model.embed_tokens"},
        {"token_embd_norm", "transformer.word_embeddings_layernorm"},
        {"output_norm", bloom ? "transformer.ln_f" : "model.norm"},
        {"output", "lm_head"}};
    for (const auto& [part, tensor] : parts) {
      if (part == "rope_freqs.weight") continue;
      const size_t dot = part.find('.');
      const bool norm = part.starts_with("output_norm");
      Add(names.at(part.substr(0, dot)) + part.substr(dot), norm ? Shifted(tensor) : tensor);
    }
  }

  void AddLayer(int64_t layer, Parts parts) {
    const bool bloom = spec_.architecture == "bloom";
    prefix_ = (bloom ? "transformer.h." : "model.layers.") + std::to_string(layer) + ".";
    if (spec_.latent.kv_rank > 0 && !spec_.latent.whole_kv_b) JoinKeysAndValues(&parts);
    if (parts.contains("ffn_gate_exps.weight")) AddExperts(&parts);
    for (const auto& [part, tensor] : parts) AddPart(part, tensor);
  }

  std::vector<StoredTensor> tensors;

 private:
  bool Is(const std::string& architecture) const { return spec_.architecture == architecture; }

  // Gemma's norms are stored less one.
  Values Shifted(Values norm) const {
    if (Is("gemma3")) {
      for (float& value : norm.values) value -= 1;
    }
    return norm;
  }

  std::string NameOf(const std::string& module) const {
    static const std::map<std::string, std::string> kBloom = {
        {"attn_norm", "input_layernorm"},        {"attn_qkv", "self_attention.query_key_value"},
        {"attn_output", "self_attention.dense"}, {"ffn_norm", "post_attention_layernorm"},
        {"ffn_up", "mlp.dense_h_to_4h"},         {"ffn_down", "mlp.dense_4h_to_h"}};
    static const std::map<std::string, std::string> kOthers = {
        {"attn_norm", "input_layernorm"},
        {"ffn_norm", "post_attention_layernorm"},
        {"post_attention_norm", "post_attention_layernorm"},
        {"post_ffw_norm", "post_feedforward_layernorm"},
        {"attn_q", "self_attn.q_proj"},
        {"attn_k", "self_attn.k_proj"},
        {"attn_v", "self_attn.v_proj"},
        {"attn_output", "self_attn.o_proj"},
        {"attn_q_norm", "self_attn.q_norm"},
        {"attn_k_norm", "self_attn.k_norm"},
        {"attn_q_a", "self_attn.q_a_proj"},
        {"attn_q_a_norm", "self_attn.q_a_layernorm"},
        {"attn_q_b", "self_attn.q_b_proj"},
        {"attn_kv_a_mqa", "self_attn.kv_a_proj_with_mqa"},
        {"attn_kv_a_norm", "self_attn.kv_a_layernorm"},
        {"attn_kv_b", "self_attn.kv_b_proj"},
        {"ffn_gate", "mlp.gate_proj"},
        {"ffn_up", "mlp.up_proj"},
        {"ffn_down", "mlp.down_proj"}};
    if (Is("gemma3") && module == "ffn_norm") return "pre_feedforward_layernorm";
    if (module.starts_with("nextn.")) return module.substr(6);
    if (module.ends_with("_shexp") && module != "ffn_gate_inp_shexp") {
      const std::string part = module.substr(4, module.size() - 10);
      return (Is("qwen2moe") ? "mlp.shared_expert." : "mlp.shared_experts.") + part + "_proj";
    }
    return Is("bloom") ? kBloom.at(module) : kOthers.at(module);
  }

  // Where the router and the experts are.
  std::string Mixture() const {
    const bool sparse = (Is("llama") || Is("minimax-m2")) && !layout_.stacked;
    return sparse ? "block_sparse_moe." : "mlp.";
  }

  void AddPart(const std::string& part, const Values& tensor) {
    const size_t dot = part.rfind('.');
    const std::string module = part.substr(0, dot), suffix = part.substr(dot);
    if (module == "ffn_gate_inp") {
      Add(prefix_ + (Is("gpt-oss") ? "mlp.router" : Mixture() + "gate") + suffix, tensor);
    } else if (module == "exp_probs_b") {
      const std::string gate = Is("minimax-m2") ? "" : "gate.";
      Add(prefix_ + Mixture() + gate + "e_score_correction_bias", tensor);
    } else if (module == "ffn_gate_inp_shexp") {
      Add(prefix_ + "mlp.shared_expert_gate.weight",
          {.shape = {1, tensor.cols()}, .values = tensor.values});
    } else if (module == "attn_sinks") {
      Add(prefix_ + "self_attn.sinks", tensor);
    } else if (module.ends_with("norm") && suffix == ".weight") {
      Add(prefix_ + NameOf(module) + suffix, Shifted(tensor));
    } else if (module == "attn_qkv") {
      Add(prefix_ + NameOf(module) + suffix, HeadsTogether(tensor));
    } else if (Is("llama") && (module == "attn_q" || module == "attn_k")) {
      Add(prefix_ + NameOf(module) + suffix, Halves(tensor));
    } else {
      Add(prefix_ + NameOf(module) + suffix, tensor);
    }
  }

  // Rows of pairs become rows of halves, head by head: what conversion to GGUF did, undone.
  Values Halves(const Values& tensor) const {
    const int64_t d = spec_.head_dim;
    return Picked(tensor, tensor.shape, [d](int64_t r) {
      const int64_t head = r / d, half = r % d / (d / 2), i = r % (d / 2);
      return head * d + 2 * i + half;
    });
  }

  // [3][heads][d] → [heads][3][d].
  Values HeadsTogether(const Values& tensor) const {
    const int64_t d = spec_.hidden / spec_.num_heads, heads = spec_.num_heads;
    return Picked(tensor, tensor.shape, [=](int64_t r) {
      const int64_t head = r / (3 * d), part = r / d % 3;
      return (part * heads + head) * d + r % d;
    });
  }

  // kv_b_proj: of each head the rows of keys, which GGUF has as columns, and those of values.
  void JoinKeysAndValues(Parts* parts) const {
    const Values keys = Turned(parts->at("attn_k_b.weight"));
    const Values& values = parts->at("attn_v_b.weight");
    const int64_t heads = keys.shape[0], latent = keys.shape[2];
    Values both{.shape = {heads * (keys.shape[1] + values.shape[1]), latent}, .values = {}};
    for (int64_t head = 0; head < heads; ++head) {
      both.Append(keys.row(head * keys.shape[1]), keys.shape[1] * latent);
      both.Append(values.row(head * values.shape[1]), values.shape[1] * latent);
    }
    parts->erase("attn_k_b.weight");
    parts->erase("attn_v_b.weight");
    parts->emplace("attn_kv_b.weight", std::move(both));
  }

  void AddExperts(Parts* parts) {
    const auto take = [&](const std::string& name) { return parts->extract(name).mapped(); };
    const Values gate = take("ffn_gate_exps.weight"), up = take("ffn_up_exps.weight"),
                 down = take("ffn_down_exps.weight");
    const std::string experts = prefix_ + Mixture() + "experts.";
    const int64_t count = gate.shape[0], rows = gate.shape[1];
    if (Is("gpt-oss")) {
      // Gate and up rows one after the other, everything as [in][out].
      const auto interleave = [&](const Values& a, const Values& b) {
        Values both{.shape = a.shape, .values = {}};
        both.shape[1] *= 2;
        const int64_t width = a.shape.size() == 2 ? 1 : a.cols();
        for (int64_t i = 0; i < count * rows; ++i) {
          both.Append(a.values.data() + i * width, width);
          both.Append(b.values.data() + i * width, width);
        }
        return both;
      };
      Add(experts + "gate_up_proj", Turned(interleave(gate, up)));
      Add(experts + "gate_up_proj_bias",
          interleave(take("ffn_gate_exps.bias"), take("ffn_up_exps.bias")));
      Add(experts + "down_proj", Turned(down));
      Add(experts + "down_proj_bias", take("ffn_down_exps.bias"));
      return;
    }
    if (layout_.stacked) {
      Values both{.shape = {count, 2 * rows, gate.cols()}, .values = {}};
      for (int64_t e = 0; e < count; ++e) {
        both.Append(gate.row(e * rows), rows * gate.cols());
        both.Append(up.row(e * rows), rows * up.cols());
      }
      Add(experts + "gate_up_proj", both);
      Add(experts + "down_proj", down);
      return;
    }
    const bool numbered = Mixture() == "block_sparse_moe.";
    for (int64_t e = 0; e < count; ++e) {
      const std::string expert = experts + std::to_string(e) + ".";
      Add(expert + (numbered ? "w1" : "gate_proj") + ".weight", Slice(gate, e));
      Add(expert + (numbered ? "w3" : "up_proj") + ".weight", Slice(up, e));
      Add(expert + (numbered ? "w2" : "down_proj") + ".weight", Slice(down, e));
    }
  }

  const SynthSpec& spec_;
  HfLayout layout_;
  std::string prefix_;
};

Values ValuesOf(const TensorView& view) {
  CHECK(view.dtype == DType::kF32);
  Values tensor{.shape = {}, .values = std::vector<float>(view.shape.elements())};
  for (int i = 0; i < view.shape.rank(); ++i) tensor.shape.push_back(view.shape[i]);
  std::memcpy(tensor.values.data(), view.data, tensor.values.size() * 4);
  return tensor;
}

}  // namespace

std::vector<StoredTensor> HfTensors(const SynthSpec& spec, const HfLayout& layout) {
  const std::shared_ptr<const ModelSource> source = MakeTinySource(spec);
  Parts globals;
  std::map<int64_t, Parts> layers;
  for (const TensorEntry& entry : source->tensors()) {
    const Values values = ValuesOf(entry.view);
    if (!entry.name.starts_with("blk.")) {
      globals.emplace(entry.name, values);
      continue;
    }
    const size_t dot = entry.name.find('.', 4);
    layers[std::stoll(entry.name.substr(4, dot - 4))].emplace(entry.name.substr(dot + 1), values);
  }
  Layers made(spec, layout);
  made.AddGlobals(globals);
  for (auto& [number, parts] : layers) made.AddLayer(number, std::move(parts));
  return std::move(made.tensors);
}

std::vector<float> DecodedValues(const ModelSource& source, const std::string& name) {
  const TensorEntry* const entry = source.FindTensor(name);
  CHECK(entry != nullptr);
  source.Prepare(*entry);
  std::vector<float> values(static_cast<size_t>(entry->view.shape.elements()));
  const int64_t cols = entry->view.cols();
  for (int64_t row = 0; row < entry->view.rows(); ++row) {
    FindFormat(entry->view.dtype)->dequantize_row(entry->view.row(row), &values[row * cols], cols);
  }
  source.DoneWith(entry->view);
  return values;
}

}  // namespace conclave::engine
