#include "support/hf_checkpoint.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>

namespace conclave::engine {
namespace {

void WriteFile(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary)
      .write(content.data(), static_cast<std::streamsize>(content.size()));
}

// Members of a JSON object, comma after comma.
class Members {
 public:
  void Add(const std::string& name, const std::string& json) {
    text_ += (text_.empty() ? "\"" : ",\"") + name + "\":" + json;
  }
  void Add(const std::string& name, int32_t value) { Add(name, std::to_string(value)); }
  void Add(const std::string& name, double value) {
    char digits[32];
    std::snprintf(digits, sizeof digits, "%.9g", value);
    Add(name, std::string(digits));
  }
  void Flag(const std::string& name, bool value) {
    Add(name, std::string(value ? "true" : "false"));
  }
  void Text(const std::string& name, const std::string& value) { Add(name, "\"" + value + "\""); }
  std::string Object() const { return "{" + text_ + "}"; }

 private:
  std::string text_;
};

std::string ModelType(const SynthSpec& spec) {
  const std::string& architecture = spec.architecture;
  if (architecture == "llama") {
    return spec.num_experts > 0 ? "mixtral" : spec.sliding_window > 0 ? "mistral" : "llama";
  }
  if (architecture == "deepseek2") return spec.routing.gating == 2 ? "deepseek_v3" : "deepseek_v2";
  if (architecture == "qwen2moe") return "qwen2_moe";
  if (architecture == "qwen3moe") return "qwen3_moe";
  if (architecture == "gpt-oss") return "gpt_oss";
  if (architecture == "glm4moe") return "glm4_moe";
  if (architecture == "minimax-m2") return "minimax_m2";
  return architecture == "gemma3" ? "gemma3_text" : architecture;
}

// Members that only some families have.
void AddFamilyMembers(const SynthSpec& spec, Members* config) {
  const std::string type = ModelType(spec);
  if (type == "mixtral" || type == "gpt_oss" || type == "minimax_m2") {
    config->Add("num_local_experts", spec.num_experts);
  } else if (type.starts_with("deepseek") || type == "glm4_moe") {
    config->Add("n_routed_experts", spec.num_experts);
    config->Add("n_shared_experts", spec.routing.num_shared);
    config->Add("first_k_dense_replace", spec.routing.leading_dense);
    config->Add("routed_scaling_factor", static_cast<double>(spec.routing.weights_scale));
    config->Flag("norm_topk_prob", spec.routing.weights_norm);
    config->Add("n_group", std::max(1, spec.routing.num_groups));
    config->Add("topk_group", std::max(1, spec.routing.num_groups_used));
  } else if (spec.num_experts > 0) {
    config->Add("num_experts", spec.num_experts);
    config->Flag("norm_topk_prob", type == "qwen3_moe");
  }
  if (type == "deepseek_v2") {
    config->Text("topk_method", spec.routing.num_groups > 1 ? "group_limited_greedy" : "greedy");
  }
  if (spec.latent.kv_rank > 0) {
    config->Add("kv_lora_rank", spec.latent.kv_rank);
    config->Add("q_lora_rank",
                spec.latent.q_rank > 0 ? std::to_string(spec.latent.q_rank) : "null");
    config->Add("qk_nope_head_dim", spec.head_dim - spec.rope_dim);
    config->Add("qk_rope_head_dim", spec.rope_dim);
    config->Add("v_head_dim", spec.latent.value_dim);
  }
  if (type == "qwen2_moe") {
    config->Add("shared_expert_intermediate_size", spec.routing.shared_ffn);
  }
  if (type == "glm4_moe") config->Add("partial_rotary_factor", 0.5);
  if (type == "minimax_m2") config->Add("rotary_dim", spec.rope_dim);
  if (type == "gpt_oss") config->Add("swiglu_limit", 7.0);
  if (type == "gemma3_text") {
    const bool is_27b = spec.num_layers == 62;
    config->Add("query_pre_attn_scalar", is_27b ? spec.hidden / spec.num_heads : spec.head_dim);
    config->Add("rope_local_base_freq", static_cast<double>(spec.local_rope_base));
    config->Add("sliding_window_pattern", 6);
  }
}

void AddScaling(const SynthSpec& spec, Members* config) {
  Members scaling;
  if (spec.rope_linear_factor > 0) {
    scaling.Text("rope_type", "linear");
    scaling.Add("factor", static_cast<double>(spec.rope_linear_factor));
  } else if (spec.yarn_factor > 0) {
    scaling.Text("type", "yarn");
    scaling.Add("factor", static_cast<double>(spec.yarn_factor));
    scaling.Add("original_max_position_embeddings", spec.yarn_original_context);
    if (spec.yarn_beta_fast > 0) {
      scaling.Add("beta_fast", static_cast<double>(spec.yarn_beta_fast));
      scaling.Add("beta_slow", 1.0);
    }
    if (spec.yarn_log_multiplier > 0) {
      for (const char* field : {"mscale", "mscale_all_dim"}) {
        scaling.Add(field, 10.0 * static_cast<double>(spec.yarn_log_multiplier));
      }
    }
    if (spec.architecture == "gpt-oss") scaling.Flag("truncate", false);
  } else {
    return;
  }
  config->Add("rope_scaling", scaling.Object());
}

}  // namespace

std::string HfConfig(const SynthSpec& spec, const std::string& more) {
  Members config;
  config.Text("model_type", ModelType(spec));
  config.Add("vocab_size", spec.vocab_size);
  config.Add("hidden_size", spec.hidden);
  if (spec.architecture == "bloom") {
    config.Add("n_layer", spec.num_layers);
    config.Add("n_head", spec.num_heads);
    config.Add("seq_length", spec.context_length);
    config.Add("layer_norm_epsilon", static_cast<double>(spec.rms_eps));
  } else {
    config.Add("num_hidden_layers", spec.num_layers);
    config.Add("num_attention_heads", spec.num_heads);
    config.Add("num_key_value_heads", spec.num_kv_heads);
    if (spec.latent.kv_rank == 0) config.Add("head_dim", spec.head_dim);
    config.Add("intermediate_size", spec.ffn);
    config.Add("max_position_embeddings", spec.context_length);
    config.Add("rms_norm_eps", static_cast<double>(spec.rms_eps));
    config.Add("rope_theta", static_cast<double>(spec.rope_base));
    if (spec.architecture != "gemma3") config.Text("hidden_act", "silu");
    config.Flag("tie_word_embeddings", spec.tied);
    if (spec.sliding_window > 0) config.Add("sliding_window", spec.sliding_window);
    if (spec.num_experts > 0) {
      config.Add("num_experts_per_tok", spec.num_experts_used);
      config.Add("moe_intermediate_size", spec.expert_ffn);
    }
    AddFamilyMembers(spec, &config);
    AddScaling(spec, &config);
  }
  const std::string object = config.Object();
  return more.empty() ? object : object.substr(0, object.size() - 1) + "," + more + "}";
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
