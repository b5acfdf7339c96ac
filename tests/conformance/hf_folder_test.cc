// Hugging Face folders: the logits of transformers and the tensors of GGUF from the safetensors of
// every family, and refusals by the name of what is wrong.
#include "engine/weights/hf_folder.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <string>

#include "engine/tokenizer/load.h"
#include "engine/weights/model_file.h"
#include "support/hf_checkpoint.h"
#include "support/tiny_golden.h"
#include "support/tiny_model.h"
#include "tools/convert_model.h"
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

// The largest distance of the logits of a source from those of transformers.
double GoldenDistance(const TinyGolden& golden, std::shared_ptr<const ModelSource> source) {
  ModelRig rig(std::move(source), {.kv_type = KvType::kF32});
  const std::vector<float> logits = rig.Prefill(golden.prompt);
  const size_t width = golden.logits[0].size();
  REQUIRE(logits.size() == width * golden.logits.size());
  double distance = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const double apart = std::abs(logits[i] - golden.logits[i / width][i % width]);
    distance = std::isnan(apart) ? INFINITY : std::max(distance, apart);
  }
  return distance;
}

// Names of tiny models that a folder can be made of; some are the same model in another GGUF
// layout.
std::vector<std::string> FolderNames() {
  std::vector<std::string> names = RunnableTinyNames();
  std::erase_if(names, [](const std::string& name) {
    return TinySpec(name)->routing.layout != SynthExperts::kStacks;
  });
  return names;
}

// `config` with another value of a member, or with one more.
std::string WithMember(const std::string& config, const std::string& field,
                       const std::string& json) {
  const std::string key = "\"" + field + "\":";
  const size_t at = config.find(key);
  if (at == std::string::npos) return config.substr(0, config.size() - 1) + "," + key + json + "}";
  size_t end = at + key.size();
  for (int depth = 0; depth > 0 || (config[end] != ',' && config[end] != '}'); ++end) {
    depth += config[end] == '{' ? 1 : config[end] == '}' ? -1 : 0;
  }
  return config.substr(0, at) + key + json + config.substr(end);
}

// What transformers would say of a model's rotation besides what the spec says.
std::string MoreOf(const std::string& name) {
  if (name != "llama3_rope") return "";
  return R"("rope_scaling":{"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,)"
         R"("high_freq_factor":4.0,"original_max_position_embeddings":64})";
}

}  // namespace

TEST_CASE("a folder gives the logits of transformers") {
  for (const std::string& name : FolderNames()) {
    CAPTURE(name);
    const TinyGolden golden = ReadTinyGolden(name);
    const TempFolder folder;
    WriteCheckpoint(folder.path(), HfTensors(golden.spec), HfConfig(golden.spec, MoreOf(name)));
    CHECK(GoldenDistance(golden, Open(folder.path())) < 2e-5);
  }
}

TEST_CASE("a folder of shards, and one with experts in stacks, give the same") {
  for (const std::string& name : FolderNames()) {
    CAPTURE(name);
    const TinyGolden golden = ReadTinyGolden(name);
    const TempFolder folder;
    WriteCheckpoint(folder.path(), HfTensors(golden.spec, {.stacked = true}),
                    HfConfig(golden.spec, MoreOf(name)), 3);
    CHECK(GoldenDistance(golden, Open(folder.path())) < 2e-5);
  }
}

TEST_CASE("a folder has the tensors of the GGUF file, bit for bit") {
  for (const std::string& name : FolderNames()) {
    if (name == "deepseek2_kv_b" || name == "llama3_rope") continue;  // other tensors by design
    CAPTURE(name);
    const SynthSpec spec = *TinySpec(name);
    const TempFolder folder;
    WriteCheckpoint(folder.path(), HfTensors(spec), HfConfig(spec));
    const auto expected = MakeTinySource(spec), found = Open(folder.path());
    size_t compared = 0;
    for (const TensorEntry& entry : expected->tensors()) {
      if (entry.name.starts_with("blk." + std::to_string(spec.num_layers) + ".")) continue;
      CAPTURE(entry.name);
      const TensorEntry* made = found->FindTensor(entry.name);
      REQUIRE(made != nullptr);
      CHECK(made->view.shape == entry.view.shape);
      // Subtracting one and adding it again rounds.
      const std::vector<float> theirs = DecodedValues(*expected, entry.name);
      const std::vector<float> ours = DecodedValues(*found, entry.name);
      double apart = 0;
      for (size_t i = 0; i < ours.size(); ++i) {
        apart = std::max<double>(apart, std::abs(ours[i] - theirs[i]));
      }
      CHECK(apart <= (spec.architecture == "gemma3" ? 1e-7 : 0));
      ++compared;
    }
    CHECK(found->tensors().size() == compared);
  }
}

TEST_CASE("the GGUF file of a folder gives the logits of transformers") {
  for (const std::string& name : FolderNames()) {
    CAPTURE(name);
    const TinyGolden golden = ReadTinyGolden(name);
    const TempFolder folder;
    WriteCheckpoint(folder.path(), HfTensors(golden.spec), HfConfig(golden.spec, MoreOf(name)));
    const std::string path = folder.path() + "/model.gguf";
    const auto source = Open(folder.path());
    const absl::Status status = ConvertModel(*source, DType::kF32, path, [](std::string_view) {});
    INFO(status.ToString());
    REQUIRE(status.ok());
    const auto converted = OpenModelFile(path);
    REQUIRE(converted.ok());
    CHECK((*converted)->metadata().size() == source->metadata().size() + 1);  // general.file_type
    CHECK(*(*converted)->GetInt("general.file_type", 0, 100) == 0);
    CHECK(GoldenDistance(golden, *converted) < 2e-5);
  }
}

TEST_CASE("a converted file has the types its readers expect") {
  const SynthSpec spec = *TinySpec("gpt-oss");
  const TempFolder folder;
  WriteCheckpoint(folder.path(), HfTensors(spec), HfConfig(spec));
  const std::string path = folder.path() + "/model.gguf";
  const auto source = Open(folder.path());
  for (const DType type : ConvertibleTypes()) {
    CAPTURE(NameOf(type));
    REQUIRE(ConvertModel(*source, type, path, [](std::string_view) {}).ok());
    const auto converted = *OpenModelFile(path);
    const auto type_of = [&](const std::string& name) {
      return converted->FindTensor(name)->view.dtype;
    };
    CHECK(type_of("token_embd.weight") == type);
    CHECK(type_of("blk.0.ffn_up_exps.weight") == type);
    // Vectors, stacks of biases and the router are small, and read as they are.
    for (const char* name : {"output_norm.weight", "blk.0.attn_q.bias", "blk.0.attn_sinks.weight",
                             "blk.0.ffn_up_exps.bias", "blk.0.ffn_gate_inp.weight"}) {
      CHECK(type_of(name) == DType::kF32);
    }
    const int64_t numbers[] = {0, 1, 32, 7};  // of ConvertibleTypes, as llama.cpp has them
    const auto which = std::find(ConvertibleTypes().begin(), ConvertibleTypes().end(), type) -
                       ConvertibleTypes().begin();
    CHECK(*converted->GetInt("general.file_type", 0, 100) == numbers[which]);
  }
}

TEST_CASE("a folder in bf16 is the model of its rounded values, norms and biases too") {
  for (const std::string& name : FolderNames()) {
    CAPTURE(name);
    TinyGolden golden = ReadTinyGolden(name);
    const std::string config = HfConfig(golden.spec, MoreOf(name));
    const TempFolder rounded, bf16;
    WriteCheckpoint(rounded.path(), HfTensors(golden.spec, {.rounded = true}), config);
    WriteCheckpoint(bf16.path(), HfTensors(golden.spec, {.bf16 = true}), config);
    ModelRig rig(Open(rounded.path()), {.kv_type = KvType::kF32});
    const std::vector<float> logits = rig.Prefill(golden.prompt);
    const size_t width = golden.logits[0].size();
    for (size_t i = 0; i < logits.size(); ++i) golden.logits[i / width][i % width] = logits[i];
    CHECK(GoldenDistance(golden, Open(bf16.path())) < 2e-5);
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

TEST_CASE("a config.json that says what is not known is refused by the field") {
  struct Case {
    const char* model;
    const char* field;  // takes the place of a member, or is added
    const char* json;
    const char* why;
  };
  constexpr Case kCases[] = {
      {"llama", "model_type", R"("rwkv")", "model_type: \"rwkv\" is not known (llama, mistral"},
      {"llama", "model_type", "7", "model_type: expected string"},
      {"llama", "hidden_act", R"("relu")", "hidden_act: \"relu\" is not supported"},
      {"llama", "mlp_bias", "true", "mlp_bias: true is not supported"},
      {"llama", "hidden_size", "0", "hidden_size: must be between 1 and"},
      {"llama", "vocab_size", "null", "vocab_size: expected integer"},
      {"llama", "num_hidden_layers", "2000", "num_hidden_layers: must be between 1 and 1024"},
      {"llama", "rope_scaling", R"({"rope_type":"dynamic","factor":2})",
       "rope_scaling.rope_type: \"dynamic\" is not supported"},
      {"llama", "rope_scaling", R"({"rope_type":"yarn","factor":4,"truncate":false})",
       "rope_scaling.truncate: false is not supported"},
      {"llama", "partial_rotary_factor", "0.5",
       "partial_rotary_factor: a part of a head is not supported"},
      {"mistral", "sliding_window", "0", "sliding_window: must be between 1 and"},
      {"qwen2", "layer_types", R"(["full_attention"])",
       "layer_types: expected one for each of the 2 layers"},
      {"qwen2", "layer_types", R"(["full_attention","linear_attention"])",
       "layer_types[1]: \"linear_attention\" is not supported"},
      {"qwen2", "layer_types", R"(["full_attention","sliding_attention"])",
       "layer_types: slides without use_sliding_window"},
      {"qwen3", "attention_bias", "true", "attention_bias: true is not supported"},
      {"qwen3moe", "mlp_only_layers", "[0]", "mlp_only_layers: a mixture in some layers only"},
      {"qwen3moe", "num_experts_per_tok", "9", "num_experts_per_tok: must be between 1 and 8"},
      {"qwen2moe", "decoder_sparse_step", "2",
       "decoder_sparse_step: a mixture in some layers only"},
      {"deepseek2_v2", "topk_method", R"("random")", "topk_method: \"random\" is not supported"},
      {"deepseek2_v2", "norm_topk_prob", "true", "norm_topk_prob: true is not supported"},
      {"deepseek2", "n_group", "3", "n_group: does not divide the number of experts"},
      {"deepseek2", "scoring_func", R"("softmax")", "scoring_func: \"softmax\" is not supported"},
      {"deepseek2", "rope_interleave", "false", "rope_interleave: false is not supported"},
      {"deepseek2", "rope_scaling",
       R"({"type":"yarn","factor":4,"mscale":1.0,"mscale_all_dim":0.5})",
       "rope_scaling.mscale: anything but the value of mscale_all_dim is not supported"},
      {"gpt-oss", "swiglu_limit", "8.0", "swiglu_limit: another value than 7.0"},
      {"gpt-oss", "rope_scaling", R"({"rope_type":"yarn","factor":4})",
       "rope_scaling.truncate: true is not supported"},
      {"minimax-m2", "model_type", R"("minimax")",
       "architectures: a \"minimax\" other than MiniMaxM2ForCausalLM is not supported"},
      {"minimax-m2", "qk_norm_type", R"("per_head")", "qk_norm_type: \"per_head\" is not"},
      {"gemma3", "query_pre_attn_scalar", "24", "query_pre_attn_scalar: anything but 32 is not"},
      {"gemma3", "final_logit_softcapping", "30.0", "final_logit_softcapping: capping is not"},
      {"bloom", "apply_residual_connection_post_layernorm", "true", "true is not supported"},
      {"llama", "quantization_config", R"({"quant_method":"bitsandbytes"})",
       "quantization_config.quant_method: \"bitsandbytes\" is not supported"},
      {"llama", "quantization_config", R"({"quant_method":"gptq","bits":3,"group_size":32})",
       "quantization_config.bits: 3 bits is not supported"},
      {"llama", "quantization_config", R"({"quant_method":"fp8"})",
       "quantization_config.weight_block_size: FP8 without blocks is not supported"},
      {"llama", "quantization_config",
       R"({"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":)"
       R"({"a":{"weights":{"num_bits":4,"type":"int","strategy":"group","group_size":32,)"
       R"("symmetric":false}}}})",
       "config_groups.a.weights.symmetric: false is not supported"},
  };
  for (const Case& refused : kCases) {
    const SynthSpec spec = *TinySpec(refused.model);
    const TempFolder folder;
    WriteCheckpoint(folder.path(), HfTensors(spec),
                    WithMember(HfConfig(spec), refused.field, refused.json));
    const std::string message = Refusal(folder.path());
    CAPTURE(refused.model, refused.field, refused.json, message);
    CHECK(message.find(std::string("config.json: ")) != std::string::npos);
    CHECK(message.find(refused.why) != std::string::npos);
  }
}

TEST_CASE("tensors that do not fit are refused by name") {
  struct Case {
    const char* model;
    const char* tensor;
    std::vector<int64_t> shape;  // of what takes its place; empty = nothing does
    const char* why;
  };
  const Case cases[] = {
      {"llama", "model.embed_tokens.weight", {}, "model.embed_tokens.weight: no such tensor"},
      {"llama", "lm_head.weight", {}, "lm_head.weight: no such tensor"},
      {"llama", "model.layers.1.mlp.up_proj.weight", {}, "up_proj.weight: no such tensor"},
      {"llama", "model.layers.0.self_attn.extra.weight", {1}, "this architecture does not have"},
      {"llama", "model.layers.2.input_layernorm.weight", {64}, "this architecture does not have"},
      {"llama",
       "model.layers.0.self_attn.q_proj.weight",
       {60, 64},
       "expected 4 heads of an even number of rows, found [60][64]"},
      {"llama",
       "model.layers.0.self_attn.v_proj.bias",
       {31},
       "expected a vector of 32, found [31]"},
      {"llama", "model.layers.0.mlp.up_proj.bias", {96}, "this architecture does not have"},
      {"qwen3",
       "model.layers.0.mlp.shared_expert_gate.weight",
       {1, 64},
       "this architecture does not have"},
      {"deepseek2",
       "model.layers.0.self_attn.q_a_proj.bias",
       {32},
       "this architecture does not have"},
      {"llama", "model.norm.weight", {0}, "model.norm.weight: a tensor without elements"},
      {"mixtral",
       "model.layers.0.block_sparse_moe.experts.3.w2.weight",
       {},
       "experts.3.w2.weight: no such tensor"},
      {"qwen3moe",
       "model.layers.0.mlp.experts.3.up_proj.weight",
       {32, 32},
       "experts.3.up_proj: expected [32][64] like expert 0, found [32][32]"},
      {"qwen2moe",
       "model.layers.0.mlp.shared_expert_gate.weight",
       {2, 64},
       "shared_expert_gate.weight: expected one row, found [2][64]"},
      {"deepseek2",
       "model.layers.0.self_attn.kv_b_proj.weight",
       {190, 32},
       "kv_b_proj: expected 4 heads of 48 rows, found [190][32]"},
      {"deepseek2",
       "model.layers.1.mlp.gate.e_score_correction_bias",
       {},
       "e_score_correction_bias: no such tensor"},
      {"deepseek2_lite",
       "model.layers.0.self_attn.q_proj.weight",
       {},
       "q_proj.weight: no such tensor"},
      {"gpt-oss",
       "model.layers.0.mlp.experts.gate_up_proj",
       {8, 64, 191},
       "gate_up_proj: expected 8 experts of an even number of rows, found [8][191][64]"},
      {"gpt-oss",
       "model.layers.0.mlp.experts.down_proj_bias",
       {},
       "down_proj_bias: no such tensor"},
      {"bloom",
       "transformer.h.0.self_attention.query_key_value.weight",
       {190, 64},
       "expected queries, keys and values of 4 heads, found [190][64]"},
      {"gemma3",
       "model.layers.0.post_feedforward_layernorm.weight",
       {},
       "post_feedforward_layernorm.weight: no such tensor"},
      {"gemma3", "audio_tower.conv.weight", {4}, "this architecture does not have"},
  };
  for (const Case& refused : cases) {
    const SynthSpec spec = *TinySpec(refused.model);
    std::vector<StoredTensor> tensors = HfTensors(spec);
    std::erase_if(tensors, [&](const StoredTensor& t) { return t.name == refused.tensor; });
    if (!refused.shape.empty()) {
      size_t elements = 1;
      for (const int64_t extent : refused.shape) elements *= static_cast<size_t>(extent);
      tensors.push_back({refused.tensor, "F32", refused.shape, std::string(elements * 4, '\0')});
    }
    const TempFolder folder;
    WriteCheckpoint(folder.path(), tensors, HfConfig(spec));
    const std::string message = Refusal(folder.path());
    CAPTURE(refused.model, refused.tensor, message);
    CHECK(message.find("model.safetensors: ") != std::string::npos);
    CHECK(message.find(refused.why) != std::string::npos);
  }
}

TEST_CASE("what a folder has besides the model of text is left out") {
  const SynthSpec spec = *TinySpec("gemma3");
  const TinyGolden golden = ReadTinyGolden("gemma3");
  for (const std::string prefix : {"language_model.model.", "model.language_model."}) {
    CAPTURE(prefix);
    std::vector<StoredTensor> tensors = HfTensors(spec);
    for (StoredTensor& tensor : tensors) tensor.name = prefix + tensor.name.substr(6);
    tensors.push_back({"vision_tower.encoder.weight", "F32", {1}, "abcd"});
    tensors.push_back({"multi_modal_projector.mm_input_projection_weight", "F32", {1}, "abcd"});
    std::string text = WithMember(HfConfig(spec), "model_type", R"("gemma3_text")");
    const TempFolder folder;
    WriteCheckpoint(folder.path(), tensors,
                    R"({"model_type":"gemma3","text_config":)" + text + "}");
    CHECK(GoldenDistance(golden, Open(folder.path())) < 2e-5);
  }
}

}  // namespace conclave::engine
