#include "engine/models/hparams.h"

#include <catch2/catch.hpp>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "engine/models/architecture.h"
#include "engine/weights/gguf.h"
#include "engine/weights/gguf_writer.h"
#include "support/tiny_model.h"

namespace conclave::engine {
namespace {

// The keys of a small, valid model; a case changes or leaves out some.
struct Keys {
  std::vector<std::pair<std::string, uint32_t>> integers = {
      {"block_count", 2},          {"context_length", 128},     {"embedding_length", 64},
      {"feed_forward_length", 96}, {"attention.head_count", 4}, {"attention.head_count_kv", 2},
  };
  std::vector<std::pair<std::string, float>> floats = {{"attention.layer_norm_rms_epsilon", 1e-6f}};
  std::vector<std::pair<std::string, std::string>> strings;
  std::vector<std::pair<std::string, std::vector<int32_t>>> lists;
  Shape embedding{100, 64};
  int num_tokens = 0;

  void Set(const std::string& key, uint32_t value) {
    Drop(key);
    integers.emplace_back(key, value);
  }
  void Drop(const std::string& key) {
    std::erase_if(integers, [&](const auto& entry) { return entry.first == key; });
  }
};

absl::StatusOr<HParams> ReadWith(const Keys& keys, const HParamDefaults& defaults) {
  GgufWriter writer;
  writer.SetString("general.architecture", "qwen3moe");
  for (const auto& [key, value] : keys.integers) writer.SetUint32("qwen3moe." + key, value);
  for (const auto& [key, value] : keys.floats) writer.SetFloat("qwen3moe." + key, value);
  for (const auto& [key, value] : keys.strings) writer.SetString("qwen3moe." + key, value);
  for (const auto& [key, value] : keys.lists) writer.SetInts("qwen3moe." + key, value);
  if (keys.num_tokens > 0) {
    writer.SetStrings("tokenizer.ggml.tokens",
                      std::vector<std::string>(static_cast<size_t>(keys.num_tokens), "x"));
  }
  const auto bytes_count = static_cast<size_t>(keys.embedding.elements()) * 4;
  writer.AddTensor("token_embd.weight", DType::kF32, keys.embedding,
                   std::vector<std::byte>(bytes_count));
  const std::vector<std::byte> bytes = writer.Serialize();
  return ReadHParams(**OpenGgufBytes(bytes, "case.gguf"), "qwen3moe", defaults);
}

absl::StatusOr<HParams> Read(const Keys& keys) { return ReadWith(keys, {}); }

}  // namespace

TEST_CASE("hyper-parameters have the defaults of the format") {
  const absl::StatusOr<HParams> h = Read({});
  REQUIRE(h.ok());
  CHECK(h->head_dim == 16);
  CHECK(h->value_dim == 16);
  CHECK(h->rope.dim == 16);
  CHECK(h->rope.base == 10000);
  CHECK(h->vocab_size == 100);
  CHECK(h->num_experts == 0);
  CHECK(h->norm_eps == 1e-6f);

  Keys mixture;
  mixture.Drop("attention.head_count_kv");
  mixture.Set("expert_count", 8);
  mixture.Set("expert_used_count", 2);
  mixture.Set("expert_feed_forward_length", 32);
  mixture.Set("attention.key_length", 32);
  const absl::StatusOr<HParams> m = Read(mixture);
  REQUIRE(m.ok());
  CHECK(m->num_kv_heads == 4);
  CHECK(m->head_dim == 32);
  CHECK(m->expert_ffn == 32);
  CHECK(m->router.renormalize);
}

TEST_CASE("missing and contradictory hyper-parameters are refused by key") {
  struct Case {
    std::string named;  // what the message must mention
    std::function<void(Keys&)> change;
  };
  const std::vector<Case> cases = {
      {"block_count", [](Keys& k) { k.Drop("block_count"); }},
      {"block_count", [](Keys& k) { k.Set("block_count", 0); }},
      {"block_count", [](Keys& k) { k.Set("block_count", 1u << 31); }},
      {"attention.head_count", [](Keys& k) { k.Set("attention.head_count", 0); }},
      {"attention.head_count", [](Keys& k) { k.Set("attention.head_count", 5); }},
      {"attention.head_count_kv", [](Keys& k) { k.Set("attention.head_count_kv", 3); }},
      {"attention.head_count_kv", [](Keys& k) { k.Set("attention.head_count_kv", 0); }},
      {"attention.key_length", [](Keys& k) { k.Set("attention.key_length", 1u << 20); }},
      {"context_length", [](Keys& k) { k.Set("context_length", 0); }},
      {"embedding_length", [](Keys& k) { k.Set("embedding_length", 1u << 30); }},
      {"token_embd.weight", [](Keys& k) { k.Set("embedding_length", 128); }},
      {"token_embd.weight", [](Keys& k) { k.embedding = Shape({64}); }},
      {"feed_forward_length", [](Keys& k) { k.Drop("feed_forward_length"); }},
      {"vocab_size", [](Keys& k) { k.Set("vocab_size", 99); }},
      {"tokenizer.ggml.tokens", [](Keys& k) { k.num_tokens = 101; }},
      {"rope.dimension_count", [](Keys& k) { k.Set("rope.dimension_count", 15); }},
      {"rope.dimension_count", [](Keys& k) { k.Set("rope.dimension_count", 32); }},
      {"expert_used_count", [](Keys& k) { k.Set("expert_count", 8); }},
      {"expert_used_count",
       [](Keys& k) {
         k.Set("expert_count", 8);
         k.Set("expert_used_count", 9);
       }},
      {"expert_feed_forward_length",
       [](Keys& k) {
         k.Set("expert_count", 8);
         k.Set("expert_used_count", 2);
         k.Drop("feed_forward_length");
       }},
      {"layer_norm_rms_epsilon",
       [](Keys& k) {
         k.floats = {{"attention.layer_norm_rms_epsilon", 2.0f}};
       }},
      {"expert_group_count",
       [](Keys& k) {
         k.Set("expert_count", 8);
         k.Set("expert_used_count", 2);
         k.Set("expert_group_count", 3);
       }},
      {"expert_group_used_count",
       [](Keys& k) {
         k.Set("expert_count", 8);
         k.Set("expert_used_count", 4);
         k.Set("expert_group_count", 4);
         k.Set("expert_group_used_count", 1);
       }},
      {"leading_dense_block_count",
       [](Keys& k) {
         k.Set("expert_count", 8);
         k.Set("expert_used_count", 4);
         k.Set("leading_dense_block_count", 3);
       }},
      {"nextn_predict_layers", [](Keys& k) { k.Set("nextn_predict_layers", 2); }},
      {"attention.sliding_window", [](Keys& k) { k.Set("attention.sliding_window", 1u << 30); }},
      {"attention.kv_lora_rank", [](Keys& k) { k.Set("attention.kv_lora_rank", 1u << 30); }},
      {"rope.dimension_count", [](Keys& k) { k.Set("attention.kv_lora_rank", 16); }},
      {"rope.freq_base", [](Keys& k) { k.floats.emplace_back("rope.freq_base", 0.0f); }},
  };
  for (const Case& one : cases) {
    CAPTURE(one.named);
    Keys keys;
    one.change(keys);
    const absl::Status status = Read(keys).status();
    CHECK_FALSE(status.ok());
    CHECK(std::string(status.message()).find(one.named) != std::string::npos);
    CHECK(std::string(status.message()).find("case.gguf") != std::string::npos);
  }
}

TEST_CASE("which layers slide is a period, a list or the architecture's own") {
  Keys keys;
  keys.Set("block_count", 7);
  keys.Set("attention.sliding_window", 16);
  using Flags = std::vector<bool>;
  const auto slides = [](const Keys& k, int32_t pattern) {
    return ReadWith(k, {.window_pattern = pattern})->slides;
  };
  CHECK(slides(keys, 1) == Flags(7, false));
  CHECK(slides(keys, 0) == Flags(7, true));
  CHECK(slides(keys, 2) == Flags{true, false, true, false, true, false, true});
  CHECK(slides(keys, 6) == Flags{true, true, true, true, true, false, true});
  keys.Set("attention.sliding_window_pattern", 3);
  CHECK(slides(keys, 0) == Flags{true, true, false, true, true, false, true});
  keys.Drop("attention.sliding_window_pattern");
  keys.lists = {{"attention.sliding_window_pattern", {1, 0, 0, 1, 0, 0, 1}}};
  CHECK(slides(keys, 0) == Flags{true, false, false, true, false, false, true});
  keys.lists = {{"attention.sliding_window_pattern", {1, 0}}};
  const absl::Status status = ReadWith(keys, {}).status();
  CHECK(std::string(status.message()).find("sliding_window_pattern") != std::string::npos);
  keys.Drop("attention.sliding_window");
  CHECK(slides(keys, 0) == Flags(7, false));
}

TEST_CASE("how experts are chosen is read, with the architecture's defaults") {
  Keys keys;
  keys.Set("expert_count", 16);
  keys.Set("expert_used_count", 4);
  keys.Set("expert_feed_forward_length", 32);
  const HParamDefaults sigmoid = {.router_score = RouterScore::kSigmoid,
                                  .router_renormalize = false};
  CHECK(ReadWith(keys, sigmoid)->router.score == RouterScore::kSigmoid);
  CHECK_FALSE(ReadWith(keys, sigmoid)->router.renormalize);
  keys.Set("expert_gating_func", 1);
  CHECK(ReadWith(keys, sigmoid)->router.score == RouterScore::kSoftmax);
  keys.Set("expert_gating_func", 3);
  CHECK(ReadWith(keys, {})->router.score == RouterScore::kSoftmaxOfSelected);
  keys.Set("expert_gating_func", 4);
  CHECK(Read(keys).status().code() == absl::StatusCode::kUnimplemented);
  keys.Set("expert_gating_func", 2);
  keys.Set("expert_group_count", 8);
  keys.Set("expert_group_used_count", 3);
  keys.Set("expert_shared_count", 2);
  keys.Set("leading_dense_block_count", 1);
  keys.floats.emplace_back("expert_weights_scale", 2.5f);
  const absl::StatusOr<HParams> h = Read(keys);
  REQUIRE(h.ok());
  CHECK(h->router.num_groups == 8);
  CHECK(h->router.num_groups_used == 3);
  CHECK(h->router.scale == 2.5);
  CHECK(h->shared_ffn == 64);
  CHECK_FALSE(h->is_moe(0));
  CHECK(h->is_moe(1));
}

TEST_CASE("layers that predict further tokens are not run") {
  Keys keys;
  keys.Set("block_count", 5);
  keys.Set("nextn_predict_layers", 1);
  CHECK(Read(keys)->num_layers == 4);
}

TEST_CASE("rope scaling is read, and an unknown kind refused") {
  Keys yarn;
  yarn.strings = {{"rope.scaling.type", "yarn"}};
  yarn.floats.emplace_back("rope.scaling.factor", 4.0f);
  yarn.Set("rope.scaling.original_context_length", 64);
  const absl::StatusOr<HParams> h = Read(yarn);
  REQUIRE(h.ok());
  CHECK(h->rope.scaling == RopeScaling::kYarn);
  CHECK(h->rope.factor == 4);
  CHECK(h->rope.original_context == 64);
  Keys other;
  other.strings = {{"rope.scaling.type", "longrope"}};
  CHECK(Read(other).status().code() == absl::StatusCode::kUnimplemented);
}

TEST_CASE("a model with a tensor of the wrong shape is refused with both shapes") {
  SynthSpec spec = *TinySpec("qwen3");
  GgufWriter writer = *MakeSynthModel(spec);
  const std::vector<std::byte> good = writer.Serialize();
  const std::shared_ptr<const ModelSource> source = *OpenGgufBytes(good, "tiny.gguf");
  const auto kernels = *CreateKernels({.num_threads = 1});
  CHECK(OpenModel(*source, *kernels).ok());

  spec.tied = true;
  GgufWriter wrong = *MakeSynthModel(spec);
  wrong.AddTensor("output.weight", DType::kF32, Shape({128, 32}),
                  std::vector<float>(128 * 32, 0.0f));
  const std::vector<std::byte> bytes = wrong.Serialize();
  const absl::Status status = OpenModel(**OpenGgufBytes(bytes, "tiny.gguf"), *kernels).status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  const std::string message(status.message());
  CHECK(message.find("output.weight") != std::string::npos);
  CHECK(message.find("[128][64]") != std::string::npos);
  CHECK(message.find("[128][32]") != std::string::npos);
}

TEST_CASE("a mixture of experts without experts is refused") {
  SynthSpec spec = *TinySpec("qwen3moe");
  spec.num_experts = 0;
  const absl::Status status =
      OpenModel(*MakeTinySource(spec), **CreateKernels({.num_threads = 1})).status();
  CHECK(status.code() == absl::StatusCode::kInvalidArgument);
  CHECK(std::string(status.message()).find("expert_count") != std::string::npos);
}

TEST_CASE("a weight that the architecture has no place for is refused by name") {
  for (const std::string name : {"blk.1.attn_q.bias", "output.bias", "blk.0.ffn_up.scale"}) {
    CAPTURE(name);
    GgufWriter writer = *MakeSynthModel(*TinySpec("qwen3"));
    writer.AddTensor(name, DType::kF32, Shape({64}), std::vector<float>(64, 0.5f));
    const std::vector<std::byte> bytes = writer.Serialize();
    const absl::Status status =
        OpenModel(**OpenGgufBytes(bytes, "tiny.gguf"), **CreateKernels({.num_threads = 1}))
            .status();
    CHECK(status.code() == absl::StatusCode::kUnimplemented);
    CHECK(std::string(status.message()).find(name) != std::string::npos);
  }
  // Of layers that are not run, and tables that keys say as well.
  for (const std::string name : {"blk.2.nextn.enorm.weight", "blk.0.attn_rot_embd.weight"}) {
    GgufWriter writer = *MakeSynthModel(*TinySpec("qwen3"));
    writer.AddTensor(name, DType::kF32, Shape({64}), std::vector<float>(64, 0.5f));
    const std::vector<std::byte> bytes = writer.Serialize();
    CHECK(OpenModel(**OpenGgufBytes(bytes, "tiny.gguf"), **CreateKernels({.num_threads = 1})).ok());
  }
}

}  // namespace conclave::engine
