#include "support/hf_checkpoint.h"

#include <cstring>
#include <fstream>
#include <map>
#include <memory>

#include "base/check.h"
#include "support/tiny_model.h"

namespace conclave::engine {
namespace {

const std::map<std::string, std::string>& Parts() {
  static const auto* parts = new std::map<std::string, std::string>{
      {"attn_norm", "input_layernorm"},    {"ffn_norm", "post_attention_layernorm"},
      {"attn_q", "self_attn.q_proj"},      {"attn_k", "self_attn.k_proj"},
      {"attn_v", "self_attn.v_proj"},      {"attn_output", "self_attn.o_proj"},
      {"attn_q_norm", "self_attn.q_norm"}, {"attn_k_norm", "self_attn.k_norm"},
      {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"},       {"ffn_gate_inp", "mlp.gate"},
      {"ffn_gate_exps", "gate_proj"},      {"ffn_up_exps", "up_proj"},
      {"ffn_down_exps", "down_proj"}};
  return *parts;
}

std::string BytesOf(const TensorView& view) {
  return {reinterpret_cast<const char*>(view.data), static_cast<size_t>(view.bytes())};
}

// Rows of pairs become rows of halves, head by head: what conversion to GGUF did, undone.
std::string Unpermuted(const TensorView& view, int64_t head_dim) {
  std::string bytes = BytesOf(view);
  const auto row = static_cast<size_t>(view.row_bytes());
  for (int64_t r = 0; r < view.rows(); ++r) {
    const int64_t head = r / head_dim, half = r % head_dim / (head_dim / 2), i = r % (head_dim / 2);
    std::memcpy(bytes.data() + static_cast<size_t>(r) * row,
                view.row(head * head_dim + 2 * i + half), row);
  }
  return bytes;
}

std::vector<int64_t> Extents(const Shape& shape, int first = 0) {
  std::vector<int64_t> extents;
  for (int i = first; i < shape.rank(); ++i) extents.push_back(shape[i]);
  return extents;
}

void AddLayerTensor(const SynthSpec& spec, const TensorEntry& entry,
                    std::vector<StoredTensor>* tensors) {
  const size_t dot = entry.name.find('.', 4), last = entry.name.rfind('.');
  const std::string layer = "model.layers." + entry.name.substr(4, dot - 4) + ".";
  const std::string part = entry.name.substr(dot + 1, last - dot - 1);
  const std::string& name = Parts().at(part);
  if (part.ends_with("_exps")) {
    for (int64_t e = 0; e < entry.view.shape[0]; ++e) {
      tensors->push_back({layer + "mlp.experts." + std::to_string(e) + "." + name + ".weight",
                          "F32", Extents(entry.view.shape, 1), BytesOf(entry.view.Slice(e))});
    }
    return;
  }
  const bool permuted = spec.architecture == "llama" && (part == "attn_q" || part == "attn_k");
  tensors->push_back({layer + name + entry.name.substr(last), "F32", Extents(entry.view.shape),
                      permuted ? Unpermuted(entry.view, spec.head_dim) : BytesOf(entry.view)});
}

void WriteFile(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary)
      .write(content.data(), static_cast<std::streamsize>(content.size()));
}

}  // namespace

std::vector<StoredTensor> HfTensors(const SynthSpec& spec) {
  std::vector<StoredTensor> tensors;
  const std::shared_ptr<const ModelSource> source = MakeTinySource(spec);
  for (const TensorEntry& entry : source->tensors()) {
    if (entry.name.starts_with("blk.")) {
      AddLayerTensor(spec, entry, &tensors);
    } else if (entry.name != "rope_freqs.weight") {
      const std::string name = entry.name == "token_embd.weight" ? "model.embed_tokens.weight"
                               : entry.name == "output.weight"   ? "lm_head.weight"
                                                                 : "model.norm.weight";
      tensors.push_back({name, "F32", Extents(entry.view.shape), BytesOf(entry.view)});
    }
  }
  return tensors;
}

std::string HfConfig(const SynthSpec& spec, const std::string& more) {
  const std::string type = spec.architecture == "qwen3moe" ? "qwen3_moe" : spec.architecture;
  const auto field = [](const char* name, int64_t value) {
    return std::string(",\"") + name + "\":" + std::to_string(value);
  };
  std::string config =
      "{\"model_type\":\"" + type + "\"" + field("num_hidden_layers", spec.num_layers) +
      field("hidden_size", spec.hidden) + field("num_attention_heads", spec.num_heads) +
      field("num_key_value_heads", spec.num_kv_heads) + field("head_dim", spec.head_dim) +
      field("intermediate_size", spec.ffn) + field("vocab_size", spec.vocab_size) +
      field("max_position_embeddings", spec.context_length) +
      ",\"rms_norm_eps\":1e-5,\"rope_theta\":10000.0,\"hidden_act\":\"silu\"";
  if (spec.num_experts > 0) {
    config += field("num_experts", spec.num_experts) +
              field("num_experts_per_tok", spec.num_experts_used) +
              field("moe_intermediate_size", spec.expert_ffn) + ",\"norm_topk_prob\":true";
  }
  return config + (more.empty() ? "" : "," + more) + "}";
}

void WriteCheckpoint(const std::string& folder, const std::vector<StoredTensor>& tensors,
                     const std::string& config, size_t num_shards) {
  WriteFile(folder + "/config.json", config);
  std::string index = "{\"weight_map\":{";
  for (size_t shard = 0; shard < num_shards; ++shard) {
    std::string header = "{", data;
    const std::string file =
        num_shards == 1 ? "model.safetensors" : "model-" + std::to_string(shard) + ".safetensors";
    for (size_t i = shard; i < tensors.size(); i += num_shards) {
      const StoredTensor& tensor = tensors[i];
      std::string shape;
      for (const int64_t extent : tensor.shape) {
        shape += (shape.empty() ? "" : ",") + std::to_string(extent);
      }
      header += (header.size() > 1 ? ",\"" : "\"") + tensor.name + "\":{\"dtype\":\"" +
                tensor.dtype + "\",\"shape\":[" + shape + "],\"data_offsets\":[" +
                std::to_string(data.size()) + "," +
                std::to_string(data.size() + tensor.bytes.size()) + "]}";
      data += tensor.bytes;
      index += (index.back() == '{' ? "\"" : ",\"") + tensor.name + "\":\"" + file + "\"";
    }
    header += "}";
    const uint64_t length = header.size();
    std::string content(8, '\0');
    std::memcpy(content.data(), &length, 8);
    WriteFile(folder + "/" + file, content + header + data);
  }
  if (num_shards > 1) WriteFile(folder + "/model.safetensors.index.json", index + "}}");
}

}  // namespace conclave::engine
