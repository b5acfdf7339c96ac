// Every architecture against two kinds of truth: the logits of Hugging Face transformers, and
// itself — alone or in a batch, with any threads, in any chunks, bit for bit. The rows of this
// table are the tiny models of tools/synth_shapes.cc, each with its file in tests/golden/models.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <numeric>
#include <set>
#include <string>

#include "engine/models/blocks/latent_attention.h"
#include "support/tiny_golden.h"
#include "support/tiny_model.h"

namespace conclave::engine {
namespace {

// fp32 keys and values leave only the order of summation.
constexpr double kTolerance = 2e-5;

// The largest distance of logits from the golden ones of the positions from `first` on.
double Distance(std::span<const float> ours, const TinyGolden& golden, size_t first = 0) {
  const size_t width = golden.logits[0].size();
  REQUIRE(ours.size() == (golden.logits.size() - first) * width);
  double distance = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    const double theirs = golden.logits[first + i / width][i % width];
    const double apart = std::abs(static_cast<double>(ours[i]) - theirs);
    distance = std::isnan(apart) ? INFINITY : std::max(distance, apart);
  }
  return distance;
}

TokenId ArgMax(std::span<const float> row) {
  return static_cast<TokenId>(std::max_element(row.begin(), row.end()) - row.begin());
}

// For what every layer does alike: without those whose point is to have many.
std::vector<std::string> ShallowTinyNames() {
  std::vector<std::string> names = RunnableTinyNames();
  std::erase_if(names, [](const std::string& name) { return TinySpec(name)->num_layers > 10; });
  return names;
}

// Tiny models in every precision their matrices may have.
std::vector<SynthSpec> Variants(const std::string& name) {
  std::vector<SynthSpec> variants = {*TinySpec(name)};
  for (const DType dtype : {DType::kBF16, DType::kQ8_0, DType::kQ4_0, DType::kQ4_K}) {
    const bool wide = dtype == DType::kQ4_K;  // blocks of 256
    SynthSpec spec = wide ? Widened(*TinySpec(name)) : *TinySpec(name);
    spec.head = wide ? DType::kQ6_K : dtype;
    spec.weights = spec.experts = spec.embedding = dtype;
    variants.push_back(spec);
  }
  return variants;
}

// The mean distance of two logits.
double Apart(const std::vector<float>& a, const std::vector<float>& b) {
  REQUIRE(a.size() == b.size());
  double apart = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    apart += std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
  }
  return apart / static_cast<double>(a.size());
}

// Blocks for the tokens, from `first` on.
std::vector<int32_t> Blocks(int32_t first, const std::vector<TokenId>& tokens) {
  std::vector<int32_t> blocks(tokens.size() / 16 + 1);
  std::iota(blocks.begin(), blocks.end(), first);
  return blocks;
}

}  // namespace

TEST_CASE("logits agree with transformers at every position, in one step and token by token") {
  for (const std::string& name : RunnableTinyNames()) {
    CAPTURE(name);
    const TinyGolden golden = ReadTinyGolden(name);
    for (const KvType kv_type : {KvType::kF32, KvType::kF16}) {
      // fp16 rounds keys and values to 11 bits (5e-4 of their size, which is about 1 here), and
      // logits of these models reach ±4. Experts whose weights are scaled make more of it.
      const double tolerance = kv_type == KvType::kF32 ? kTolerance : 1e-2;
      ModelRig rig(MakeTinySource(golden.spec), {.kv_type = kv_type});
      CHECK(Distance(rig.Prefill(golden.prompt), golden) < tolerance);
      CHECK(Distance(rig.Prefill(golden.prompt, {1}), golden) < tolerance);
    }
  }
}

TEST_CASE("logits agree with transformers, eight at once and on top of what another computed") {
  for (const std::string& name : RunnableTinyNames()) {
    CAPTURE(name);
    const TinyGolden golden = ReadTinyGolden(name);
    ModelRig rig(MakeTinySource(golden.spec), {.kv_type = KvType::kF32});
    std::vector<ModelRig::Piece> pieces;
    for (int32_t i = 0; i < 8; ++i) {
      pieces.push_back({golden.prompt, 0, {3 * i, 3 * i + 1, 3 * i + 2}});
    }
    const std::vector<float> together = rig.Step(pieces);
    const size_t one = together.size() / 8;
    for (size_t i = 0; i < 8; ++i) {
      CHECK(Distance(std::span(together).subspan(i * one, one), golden) < kTolerance);
    }
    // The two full blocks of the first sequence under a sequence that computes only the rest.
    const std::vector<TokenId> rest(golden.prompt.begin() + 32, golden.prompt.end());
    CHECK(Distance(rig.Step({{rest, 32, {0, 1, 30}}}), golden, 32) < kTolerance);
  }
}

TEST_CASE("64 greedy tokens agree with transformers") {
  for (const std::string& name : RunnableTinyNames()) {
    CAPTURE(name);
    const TinyGolden golden = ReadTinyGolden(name);
    REQUIRE(golden.greedy.size() == 64);
    std::vector<TokenId> tokens = golden.prompt;
    ModelRig rig(MakeTinySource(golden.spec));
    const auto width = static_cast<size_t>(rig.hparams().vocab_size);
    std::vector<int32_t> blocks(8);
    for (size_t i = 0; i < blocks.size(); ++i) blocks[i] = static_cast<int32_t>(2 * i + 1);
    std::vector<float> logits = rig.Step({{tokens, 0, blocks}});
    std::vector<TokenId> output;
    while (output.size() < golden.greedy.size()) {
      output.push_back(ArgMax(std::span(logits).last(width)));
      logits = rig.Step({{{output.back()}, static_cast<int32_t>(tokens.size()), blocks}});
      tokens.push_back(output.back());
    }
    CHECK(output == golden.greedy);
  }
}

TEST_CASE("blocks that predict further tokens are passed over") {
  for (const std::string& name : RunnableTinyNames()) {
    if (name != "deepseek2" && name != "glm4moe") continue;
    TinyGolden golden = ReadTinyGolden(name);
    for (const int32_t num_nextn : {0, 1, 3}) {
      CAPTURE(name, num_nextn);
      golden.spec.num_nextn = num_nextn;
      ModelRig rig(MakeTinySource(golden.spec), {.kv_type = KvType::kF32});
      CHECK(Distance(rig.Prefill(golden.prompt), golden) < kTolerance);
    }
  }
}

TEST_CASE("every architecture has a tiny model") {
  for (const Architecture& architecture : AllArchitectures()) {
    CAPTURE(architecture.name);
    const std::vector<std::string> names = TinyNames();
    CHECK(std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      return TinySpec(name)->architecture == architecture.name;
    }));
  }
}

TEST_CASE("what the keys of a variant say is what sets its logits apart") {
  using Change = std::function<void(SynthSpec&)>;
  const struct {
    const char* name;
    const char* without;
    Change change;
  } rows[] = {
      {"llama3_rope", "rope_freqs", [](SynthSpec& s) { s.rope_freqs.clear(); }},
      {"yarn", "scaling", [](SynthSpec& s) { s.yarn_factor = 0; }},
      {"mistral", "a window", [](SynthSpec& s) { s.sliding_window = 0; }},
      {"deepseek2", "scaling", [](SynthSpec& s) { s.yarn_factor = 0; }},
      {"deepseek2", "mscale_all_dim", [](SynthSpec& s) { s.yarn_log_multiplier = 0; }},
      {"deepseek2", "groups",
       [](SynthSpec& s) { s.routing.num_groups_used = s.routing.num_groups; }},
      {"deepseek2", "a correction bias", [](SynthSpec& s) { s.routing.correction_bias = false; }},
      {"deepseek2", "normalised weights", [](SynthSpec& s) { s.routing.weights_norm = false; }},
      {"deepseek2", "scaled weights", [](SynthSpec& s) { s.routing.weights_scale = 0; }},
      {"deepseek2", "sigmoid", [](SynthSpec& s) { s.routing.gating = 1; }},
      {"deepseek2_kimi", "beta_fast", [](SynthSpec& s) { s.yarn_beta_fast = 0; }},
      {"deepseek2_v2", "groups",
       [](SynthSpec& s) { s.routing.num_groups_used = s.routing.num_groups; }},
      {"gpt-oss", "a short window", [](SynthSpec& s) { s.sliding_window = 64; }},
      {"gpt-oss", "scaling", [](SynthSpec& s) { s.yarn_factor = 0; }},
      {"glm4moe", "partial rotation", [](SynthSpec& s) { s.rope_dim = 0; }},
      {"glm4moe_qk_norm", "norms of heads", [](SynthSpec& s) { s.head_norms = false; }},
      {"minimax-m2", "partial rotation", [](SynthSpec& s) { s.rope_dim = 0; }},
      {"gemma3", "a short window", [](SynthSpec& s) { s.sliding_window = 64; }},
      {"gemma3", "scaling", [](SynthSpec& s) { s.rope_linear_factor = 0; }},
      {"gemma3", "a base of its own", [](SynthSpec& s) { s.local_rope_base = 1000000; }},
  };
  const std::vector<std::string> names = RunnableTinyNames();
  for (const auto& row : rows) {
    if (std::find(names.begin(), names.end(), row.name) == names.end()) continue;
    CAPTURE(row.name, row.without);
    const TinyGolden golden = ReadTinyGolden(row.name);
    SynthSpec spec = golden.spec;
    row.change(spec);
    ModelRig rig(MakeTinySource(spec), {.kv_type = KvType::kF32});
    CHECK(Distance(rig.Prefill(golden.prompt), golden) > 1e-2);
  }
}

TEST_CASE("fast numerics expand latents for long prompts and stay close") {
  for (const std::string& name : RunnableTinyNames()) {
    SynthSpec spec = *TinySpec(name);
    if (spec.architecture != "deepseek2") continue;
    CAPTURE(name);
    for (const DType dtype : {DType::kF32, DType::kQ8_0}) {
      spec.weights = dtype;
      const auto source = MakeTinySource(spec);
      ModelRig exact(source, {.kv_type = KvType::kF32});
      ModelRig fast(source, {.kv_type = KvType::kF32, .numerics = Numerics::kFast});
      const int32_t expand_from = LatentAttention::ExpandFrom(exact.hparams());
      REQUIRE(expand_from < 100);
      const std::vector<TokenId> prompt = TinyPrompt(3, 2 * expand_from + 5, spec.vocab_size);
      const std::vector<float> expected = exact.Prefill(prompt);
      // Long enough at once: other sums, and with quantised weights other roundings to int8 too,
      // which turn the choice of an expert here and there.
      const double tolerance = dtype == DType::kF32 ? 1e-5 : 0.1;
      const std::vector<float> expanded = fast.Prefill(prompt);
      CHECK(Apart(expanded, expected) < tolerance);
      CHECK(expanded != expected);
      CHECK(Apart(fast.Prefill(prompt, {expand_from + 2, 3, expand_from}), expected) < tolerance);
      // Short chunks are absorbed: the same bits.
      CHECK(fast.Prefill(prompt, {expand_from - 1}) == expected);
      // Beside others that are absorbed, before and after it.
      const std::vector<TokenId> few(prompt.begin(), prompt.begin() + 5);
      const std::vector<float> mixed = fast.Step(
          {{few, 0, {0}}, {prompt, 0, Blocks(1, prompt)}, {few, 0, {40}}, {few, 0, {41}}});
      const auto width = static_cast<int64_t>(spec.vocab_size);
      const std::vector<float> alone(expected.begin(), expected.begin() + 5 * width);
      const auto rows = static_cast<int64_t>(prompt.size());
      CHECK(std::equal(alone.begin(), alone.end(), mixed.begin()));
      CHECK(std::equal(expanded.begin(), expanded.end(), mixed.begin() + 5 * width));
      CHECK(std::equal(alone.begin(), alone.end(), mixed.begin() + (5 + rows) * width));
      CHECK(std::equal(alone.begin(), alone.end(), mixed.begin() + (10 + rows) * width));
    }
  }
}

TEST_CASE("chunks of any size give the same bits") {
  for (const std::string& name : ShallowTinyNames()) {
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

// On a device that may be emulated one model of each architecture: a batch is the same to its
// variants, and half a minute each there.
std::vector<std::string> BatchNames() {
  std::vector<std::string> names = ShallowTinyNames();
  if ((*CreateKernels({.num_threads = 1}))->name().starts_with("cpu/")) return names;
  std::set<std::string> seen;
  std::erase_if(names, [&](const std::string& name) {
    return !seen.insert(TinySpec(name)->architecture).second;
  });
  return names;
}

void CheckBatchOf16(bool experts) {
  for (const std::string& name : BatchNames()) {
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
  for (const std::string& name : ShallowTinyNames()) {
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
