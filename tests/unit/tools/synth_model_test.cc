#include "tools/synth_model.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "engine/quant/format.h"
#include "engine/weights/gguf.h"
#include "tools/synth_routing.h"

namespace conclave::engine {

TEST_CASE("made-up matrices have the deviation of their fan-in in every type") {
  for (const QuantFormat* format : AllFormats()) {
    const DType dtype = format->dtype;
    CAPTURE(format->name());
    SynthSpec spec = *TinySpec("llama");
    spec.hidden = spec.ffn = 256;
    spec.num_heads = 16;
    spec.vocab_size = 512;
    spec.head = spec.weights = spec.embedding = dtype;
    const std::vector<std::byte> bytes = MakeSynthModel(spec)->Serialize();
    const auto source = *OpenGgufBytes(bytes, "synth");
    const TensorView view = source->FindTensor("output.weight")->view;
    REQUIRE(view.dtype == dtype);
    std::vector<float> row(256);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < view.rows(); ++i) {
      FindFormat(dtype)->dequantize_row(view.row(i), row.data(), 256);
      for (const float value : row) {
        sum += value;
        squares += double{value} * value;
      }
    }
    const double count = static_cast<double>(view.shape.elements());
    CHECK(std::sqrt(squares / count) == Approx(1.0 / 16).epsilon(0.05));
    // Over 4096 blocks of 32 with a sign each.
    CHECK(sum / count == Approx(0).margin(0.001));
  }
}

TEST_CASE("values depend on seed and tensor name") {
  SynthSpec spec = *TinySpec("qwen2");
  const std::vector<std::byte> one = MakeSynthModel(spec)->Serialize();
  CHECK(MakeSynthModel(spec)->Serialize() == one);
  spec.seed = 2;
  CHECK(MakeSynthModel(spec)->Serialize() != one);
}

TEST_CASE("a router with ranks chooses experts as often as they say") {
  constexpr int32_t kExperts = 64, kUsed = 6;
  SynthSpec spec = *TinySpec("qwen3moe");
  spec.hidden = 512;
  spec.num_experts = kExperts;
  spec.num_experts_used = kUsed;
  spec.routing.zipf = 1;
  const std::vector<std::byte> bytes = MakeSynthModel(spec)->Serialize();
  const auto source = *OpenGgufBytes(bytes, "synth");
  const TensorView router = source->FindTensor("blk.1.ffn_gate_inp.weight")->view;
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  std::vector<int> chosen(kExperts);
  constexpr int kTokens = 4000;
  std::vector<float> x(512), row(512);
  std::vector<std::pair<float, size_t>> scores(kExperts);
  for (int token = 0; token < kTokens; ++token) {
    for (float& value : x) value = normal(random);
    for (size_t e = 0; e < scores.size(); ++e) {
      std::memcpy(row.data(), router.row(static_cast<int64_t>(e)), sizeof(float) * row.size());
      scores[e] = {std::inner_product(x.begin(), x.end(), row.begin(), 0.0f), e};
    }
    std::partial_sort(scores.begin(), scores.begin() + kUsed, scores.end(), std::greater<>());
    for (int i = 0; i < kUsed; ++i) ++chosen[scores[static_cast<size_t>(i)].second];
  }
  std::sort(chosen.begin(), chosen.end(), std::greater<>());
  const std::vector<double> shares = ZipfShares(kExperts, kUsed, 1);
  CHECK(std::accumulate(shares.begin(), shares.end(), 0.0) == Approx(kUsed));
  // What the hottest quarter and half have of all that is chosen.
  double expected = 0, counted = 0;
  for (size_t rank = 0; rank < kExperts; ++rank) {
    expected += shares[rank] / kUsed;
    counted += chosen[rank] / double{kTokens * kUsed};
    if (rank == kExperts / 4 - 1 || rank == kExperts / 2 - 1) {
      CHECK(counted == Approx(expected).margin(0.05));
      CHECK(counted > 1.5 * static_cast<double>(rank + 1) / kExperts);
    }
  }
  // Another layer has other favourites.
  const auto scales = [](const std::string& name) {
    return ZipfRouterScales(1, name, kExperts, kUsed, 1);
  };
  CHECK(scales("blk.0.ffn_gate_inp.weight") != scales("blk.1.ffn_gate_inp.weight"));
}

TEST_CASE("every tiny model can be made, and widened in a type of long blocks") {
  for (const std::string& name : TinyNames()) {
    CAPTURE(name);
    CHECK(MakeSynthModel(*TinySpec(name)).ok());
    SynthSpec spec = Widened(*TinySpec(name));
    spec.weights = spec.experts = spec.embedding = spec.head = DType::kQ4_K;
    CHECK(MakeSynthModel(spec).status() == absl::OkStatus());
  }
}

TEST_CASE("experts apart hold the values of the experts in one") {
  const std::vector<std::byte> one = MakeSynthModel(*TinySpec("mixtral"))->Serialize();
  const std::vector<std::byte> many = MakeSynthModel(*TinySpec("mixtral_apart"))->Serialize();
  const auto stacked = *OpenGgufBytes(one, "stacked"), apart = *OpenGgufBytes(many, "apart");
  const TensorView stack = stacked->FindTensor("blk.1.ffn_down_exps.weight")->view;
  CHECK(apart->FindTensor("blk.1.ffn_down_exps.weight") == nullptr);
  for (int64_t e = 0; e < 8; ++e) {
    const TensorEntry* entry = apart->FindTensor("blk.1.ffn_down." + std::to_string(e) + ".weight");
    REQUIRE(entry != nullptr);
    const TensorView part = stack.Slice(e);
    REQUIRE(entry->view.bytes() == part.bytes());
    CHECK(std::memcmp(entry->view.data, part.data, static_cast<size_t>(part.bytes())) == 0);
  }
}

TEST_CASE("rows that fit no block take the type there is for them") {
  SynthSpec spec = *ShapeByName("deepseek-v2-lite");
  spec.num_layers = 2;
  spec.vocab_size = 8;
  spec.weights = spec.experts = spec.embedding = spec.head = DType::kQ4_K;
  spec.num_experts = 2;  // enough for the types
  spec.num_experts_used = 1;
  const std::vector<std::byte> bytes = MakeSynthModel(spec)->Serialize();
  const auto source = *OpenGgufBytes(bytes, "lite");
  const auto type = [&](const char* name) { return source->FindTensor(name)->view.dtype; };
  CHECK(type("blk.0.ffn_up.weight") == DType::kQ4_K);
  CHECK(type("blk.0.ffn_down.weight") == DType::kQ5_0);       // 10944
  CHECK(type("blk.1.ffn_down_exps.weight") == DType::kQ5_0);  // 1408
  CHECK(type("blk.1.attn_k_b.weight") == DType::kQ5_0);       // 128
  CHECK(type("blk.1.attn_v_b.weight") == DType::kQ4_K);
}

TEST_CASE("what cannot be made up is refused") {
  CHECK_FALSE(TinySpec("bert").ok());
  CHECK_FALSE(ShapeByName("gpt-5").ok());
  SynthSpec spec = *TinySpec("llama");
  spec.weights = DType::kQ4_K;  // rows of 64 are no multiple of 256
  CHECK(MakeSynthModel(spec).status().code() == absl::StatusCode::kInvalidArgument);
  spec = *TinySpec("llama");
  spec.head = DType::kIQ2_XS;
  CHECK(MakeSynthModel(spec).status().code() == absl::StatusCode::kInvalidArgument);
  for (const std::string& name : ShapeNames()) CHECK(ShapeByName(name).ok());
}

}  // namespace conclave::engine
