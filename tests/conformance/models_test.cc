// Every architecture against two kinds of truth: the logits of Hugging Face transformers, and
// itself — alone or in a batch, with any threads, in any chunks, bit for bit.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <string>

#include "support/golden.h"
#include "support/tiny_model.h"

namespace conclave::engine {
namespace {

// The largest distance of two logits; both hold rows of the same width.
double Distance(const std::vector<float>& ours, const std::vector<std::vector<double>>& golden) {
  const size_t width = golden[0].size();
  double distance = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    const double theirs = golden[i / width][i % width];
    const double apart = std::abs(static_cast<double>(ours[i]) - theirs);
    distance = std::isnan(apart) ? INFINITY : std::max(distance, apart);
  }
  return distance;
}

std::vector<TokenId> Ids(const std::vector<double>& row) { return {row.begin(), row.end()}; }

TokenId ArgMax(std::span<const float> row) {
  return static_cast<TokenId>(std::max_element(row.begin(), row.end()) - row.begin());
}

std::vector<std::string> ArchitectureNames() {
  std::vector<std::string> names;
  for (const Architecture& architecture : AllArchitectures()) names.emplace_back(architecture.name);
  return names;
}

// Tiny models in every precision the architecture's matrices may have.
std::vector<SynthSpec> Variants(const std::string& architecture) {
  std::vector<SynthSpec> variants = {*TinySpec(architecture)};
  for (const DType dtype : {DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_K}) {
    SynthSpec spec = *TinySpec(architecture);
    if (dtype == DType::kQ4_K) {  // blocks of 256
      spec.hidden = spec.ffn = spec.expert_ffn = 256;
      spec.num_heads = 256 / spec.head_dim;
      spec.head = DType::kQ6_K;
    } else {
      spec.head = dtype;
    }
    spec.weights = spec.experts = spec.embedding = dtype;
    variants.push_back(spec);
  }
  return variants;
}

}  // namespace

TEST_CASE("logits agree with transformers at every position") {
  for (const std::string& name : ArchitectureNames()) {
    CAPTURE(name);
    auto golden = ReadGolden("models/" + name + ".txt");
    REQUIRE(golden["logits"].size() == 40);
    const std::vector<TokenId> prompt = Ids(golden["prompt"].at(0));
    REQUIRE(golden["logits"].size() == prompt.size());
    for (const KvType kv_type : {KvType::kF32, KvType::kF16}) {
      // fp32 leaves only the order of summation. fp16 rounds keys and values to 11 bits (5e-4 of
      // their size, which is about 1 here), and logits of these models reach ±4.
      const double tolerance = kv_type == KvType::kF32 ? 2e-5 : 5e-3;
      ModelRig rig(MakeTinySource(name), {.kv_type = kv_type});
      CHECK(Distance(rig.Prefill(prompt), golden["logits"]) < tolerance);
      CHECK(Distance(rig.Prefill(prompt, {1}), golden["logits"]) < tolerance);
    }
  }
}

TEST_CASE("64 greedy tokens agree with transformers") {
  for (const std::string& name : ArchitectureNames()) {
    CAPTURE(name);
    auto golden = ReadGolden("models/" + name + ".txt");
    REQUIRE(golden["greedy"].size() == 1);
    std::vector<TokenId> tokens = Ids(golden["prompt"].at(0));
    const std::vector<TokenId> expected = Ids(golden["greedy"].at(0));
    ModelRig rig(MakeTinySource(name));
    const auto width = static_cast<size_t>(rig.hparams().vocab_size);
    std::vector<int32_t> blocks(8);
    for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<int32_t>(2 * i + 1);
    std::vector<float> logits = rig.Step({{tokens, 0, blocks}});
    std::vector<TokenId> output;
    while (output.size() < expected.size()) {
      output.push_back(ArgMax(std::span(logits).last(width)));
      logits = rig.Step({{{output.back()}, static_cast<int32_t>(tokens.size()), blocks}});
      tokens.push_back(output.back());
    }
    CHECK(output == expected);
  }
}

TEST_CASE("scaled rotations agree with transformers") {
  for (const std::string name : {"llama3_rope", "yarn"}) {
    CAPTURE(name);
    auto golden = ReadGolden("models/" + name + ".txt");
    REQUIRE(golden["logits"].size() == 40);
    SynthSpec spec = *TinySpec(name == "yarn" ? "qwen3" : "llama");
    if (name == "yarn") {
      spec.yarn_factor = 4;
      spec.yarn_original_context = 128;
    } else {
      const std::vector<double>& divisors = golden["rope_freqs"].at(0);
      spec.rope_freqs.assign(divisors.begin(), divisors.end());
    }
    ModelRig rig(MakeTinySource(spec), {.kv_type = KvType::kF32});
    CHECK(Distance(rig.Prefill(Ids(golden["prompt"].at(0))), golden["logits"]) < 2e-5);
    // The scaling is what is tested: without it the logits are others.
    ModelRig plain(MakeTinySource(spec.architecture), {.kv_type = KvType::kF32});
    CHECK(Distance(plain.Prefill(Ids(golden["prompt"].at(0))), golden["logits"]) > 1e-2);
  }
}

TEST_CASE("chunks of any size give the same bits") {
  for (const std::string& name : ArchitectureNames()) {
    for (const SynthSpec& spec : Variants(name)) {
      CAPTURE(name, NameOf(spec.weights));
      ModelRig rig(MakeTinySource(spec));
      const std::vector<TokenId> prompt = TinyPrompt(1, 53, spec.vocab_size);
      const std::vector<float> whole = rig.Prefill(prompt);
      REQUIRE(std::isfinite(whole[0]));
      CHECK(rig.Prefill(prompt, {1}) == whole);
      CHECK(rig.Prefill(prompt, {16}) == whole);
      CHECK(rig.Prefill(prompt, {7, 1, 30, 2}) == whole);
    }
  }
}

namespace {

// On an emulated device the two kinds are a minute each, so they are two cases.
void CheckBatchOf16(bool experts) {
  for (const std::string& name : ArchitectureNames()) {
    if ((TinySpec(name)->num_experts > 0) != experts) continue;
    for (const SynthSpec& spec : Variants(name)) {
      CAPTURE(name, NameOf(spec.weights));
      ModelRig rig(MakeTinySource(spec));
      const auto width = static_cast<size_t>(spec.vocab_size);
      std::vector<ModelRig::Piece> pieces;
      std::vector<std::vector<float>> alone;
      for (int i = 0; i < 16; ++i) {
        // Different lengths; odd ones are decodes on top of a computed beginning.
        const std::vector<TokenId> tokens =
            TinyPrompt(static_cast<uint64_t>(i), 3 + 5 * (i % 6), spec.vocab_size);
        std::vector<float> logits = rig.Prefill(tokens, {1 << 20}, i * 2);
        const bool decode = i % 2 == 1;
        const size_t first = decode ? tokens.size() - 1 : 0;
        pieces.push_back({{tokens.begin() + static_cast<ptrdiff_t>(first), tokens.end()},
                          static_cast<int32_t>(first),
                          {2 * i, 2 * i + 1}});
        logits.erase(logits.begin(), logits.begin() + static_cast<ptrdiff_t>(first * width));
        alone.push_back(std::move(logits));
      }
      const std::vector<float> together = rig.Step(pieces);
      auto at = together.begin();
      for (const std::vector<float>& expected : alone) {
        CHECK(std::equal(expected.begin(), expected.end(), at));
        at += static_cast<ptrdiff_t>(expected.size());
      }
    }
  }
}

}  // namespace

TEST_CASE("a sequence in a batch of 16 gets the bits it gets alone: dense") {
  CheckBatchOf16(false);
}
TEST_CASE("a sequence in a batch of 16 gets the bits it gets alone: experts") {
  CheckBatchOf16(true);
}

TEST_CASE("1, 2 and 4 threads and every instruction set give the same bits") {
  for (const std::string& name : ArchitectureNames()) {
    for (const SynthSpec& spec : Variants(name)) {
      CAPTURE(name, NameOf(spec.weights));
      const auto source = MakeTinySource(spec);
      const std::vector<TokenId> prompt = TinyPrompt(2, 37, spec.vocab_size);
      const std::vector<float> expected = ModelRig(source, {.num_threads = 1}).Prefill(prompt);
      for (const int threads : {2, 4}) {
        CHECK(ModelRig(source, {.num_threads = threads}).Prefill(prompt) == expected);
      }
      for (const std::string& isa : SupportedIsas()) {
        CAPTURE(isa);
        CHECK(ModelRig(source, {.num_threads = 2, .isa = isa}).Prefill(prompt) == expected);
      }
    }
  }
}

}  // namespace conclave::engine
