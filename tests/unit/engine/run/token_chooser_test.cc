// Tokens chosen from rows that stay on a device, of which a digest and some blocks come over,
// against those chosen from the whole rows: every bit the same.
#include "engine/run/token_chooser.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "engine/grammar/gbnf.h"
#include "engine/grammar/token_grammar.h"

namespace conclave::engine {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

std::unique_ptr<Kernels> Processors() {
  return *CreateKernels({.device = "cpu", .num_threads = 2});
}

// The emulated device; `digests` as CONCLAVE_CUDA_DIGESTS has it.
std::unique_ptr<Kernels> Emulated(const char* digests) {
  setenv("CONCLAVE_CUDA_MODULE", CONCLAVE_EMULATED_CUDA_MODULE, 1);
  setenv("CONCLAVE_CUDA_DIGESTS", digests, 1);
  absl::StatusOr<std::unique_ptr<Kernels>> kernels =
      CreateKernels({.device = "cuda", .num_threads = 2});
  unsetenv("CONCLAVE_CUDA_DIGESTS");
  REQUIRE(kernels.ok());
  return *std::move(kernels);
}

struct One {
  std::string name;
  GenerateRequest request;
  std::vector<TokenId> output;
  std::vector<float> logits;
  std::vector<TokenId> stop_ids;
};

// A batch with a sequence for each, all of which want a token; the first may be scored too.
struct Step {
  std::vector<std::unique_ptr<Sequence>> sequences;
  Batch batch;
  std::vector<float> logits;

  void Add(const One& one, int32_t score_rows = 0) {
    auto& sequence = sequences.emplace_back(
        std::make_unique<Sequence>(one.request, StoppingCriteria{.stop_ids = one.stop_ids}));
    sequence->tokens.insert(sequence->tokens.end(), one.output.begin(), one.output.end());
    if (one.request.grammar != nullptr) {
      sequence->matcher = std::make_unique<grammar::Matcher>(one.request.grammar);
    }
    batch.parts.push_back({.sequence = sequence.get(),
                           .rows = sequence->num_tokens(),
                           .wants_logits = true,
                           .score_rows = score_rows});
    batch.num_score_rows += score_rows;
    for (int32_t i = 0; i <= score_rows; ++i) {
      logits.insert(logits.end(), one.logits.begin(), one.logits.end());
    }
  }
};

struct Chosen {
  std::vector<Choice> choices;
  std::vector<ScoredToken> scores;
};

Chosen ChooseWith(Kernels& kernels, TokenChooser& chooser, const Step& step) {
  const auto bytes = static_cast<int64_t>(step.logits.size() * sizeof(float));
  Buffer rows = *kernels.memory().Allocate(bytes);
  REQUIRE(kernels.memory().Upload(step.logits.data(), bytes, rows.data()).ok());
  const absl::Status status =
      chooser.Choose(step.batch, std::span(rows.as<float>(), step.logits.size()));
  INFO(status);
  REQUIRE(status.ok());
  return {chooser.choices(), chooser.scores()};
}

bool Same(const TokenLogprob& a, const TokenLogprob& b) {
  return a.id == b.id && a.logprob == b.logprob;
}
bool Same(const std::vector<TokenLogprob>& a, const std::vector<TokenLogprob>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& x, const auto& y) { return Same(x, y); });
}

void CheckSame(const Chosen& found, const Chosen& expected, const std::vector<One>& all) {
  REQUIRE(found.choices.size() == expected.choices.size());
  for (size_t i = 0; i < found.choices.size(); ++i) {
    CAPTURE(all[i].name, all[i].logits.size());
    CHECK(found.choices[i].token == expected.choices[i].token);
    CHECK(Same(found.choices[i].alternatives, expected.choices[i].alternatives));
    if (all[i].request.num_logprobs >= 0 && expected.choices[i].token >= 0) {
      CHECK(Same(found.choices[i].logprob, expected.choices[i].logprob));
    }
  }
  REQUIRE(found.scores.size() == expected.scores.size());
  for (size_t i = 0; i < found.scores.size(); ++i) {
    CHECK(Same(found.scores[i].logprob, expected.scores[i].logprob));
    CHECK(Same(found.scores[i].alternatives, expected.scores[i].alternatives));
  }
}

// Normally distributed, with ties, masked ones and what is no number among them.
std::vector<float> Logits(size_t size, float spread, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  std::vector<float> logits(size);
  for (float& logit : logits) logit = spread > 0 ? normal(random) : 1.0f;
  for (size_t i = 7; i + 5 < size; i += 13) {
    logits[i] = i % 2 == 0 ? -kInf : std::nanf("");
    logits[i + 5] = logits[i - 1];
  }
  return logits;
}

struct Setting {
  const char* name;
  SamplingParams params;
  int32_t num_logprobs = -1;
};

const std::vector<Setting>& Settings() {
  static const std::vector<Setting> settings = {
      {"greedy", {.temperature = 0}},
      {"greedy, its logprob", {.temperature = 0}, 0},
      {"greedy, 20 logprobs", {.temperature = 0}, 20},
      {"plain", {}},
      {"plain, 3 logprobs", {}, 3},
      {"cold", {.temperature = 0.3f}},
      {"cold, its logprob", {.temperature = 0.3f}, 0},
      {"next to greedy", {.temperature = 1e-40f}},
      {"top_k", {.top_k = 5}},
      {"a wide top_k", {.temperature = 1.2f, .top_k = 700}, 2},
      {"top_k, top_p and min_p", {.temperature = 0.8f, .top_k = 40, .top_p = 0.9f, .min_p = 0.01f}},
      {"a narrow top_p", {.temperature = 0.4f, .top_p = 0.5f}, 5},
      {"top_p", {.temperature = 0.8f, .top_p = 0.95f}},
      {"a wide top_p", {.temperature = 1.5f, .top_p = 0.999f}},
      {"top_p and min_p", {.top_p = 0.9f, .min_p = 0.02f}},
      {"min_p", {.min_p = 0.05f}, 1},
      {"typical_p", {.typical_p = 0.3f}},
      {"typical_p, top_p", {.temperature = 0.7f, .typical_p = 0.9f, .top_p = 0.8f}, 4},
      {"top_k, typical_p", {.top_k = 100, .typical_p = 0.5f}},
      {"penalties",
       {.temperature = 0,
        .repetition_penalty = 1.3f,
        .frequency_penalty = 0.4f,
        .presence_penalty = -0.7f}},
      {"penalties of late tokens",
       {.temperature = 0.9f, .repetition_penalty = 0.8f, .penalty_last_n = 9},
       6},
      {"biases", {.temperature = 0.5f, .logit_bias = {{3, 20}, {1, -100}, {3, -0.3f}, {290, 15}}}},
      {"an end that is not allowed yet", {.temperature = 0, .min_tokens = 100}, 1},
      {"all of it",
       {.temperature = 0.7f,
        .top_p = 0.8f,
        .repetition_penalty = 1.1f,
        .presence_penalty = 2,
        .logit_bias = {{7, 12}, {2, 3}, {7, 1}},
        .min_tokens = 100},
       20},
  };
  return settings;
}

// Every setting over rows of this kind; penalised tokens are likely ones too.
std::vector<One> AllSettings(size_t size, float spread, uint64_t seed) {
  std::vector<One> all;
  for (const Setting& setting : Settings()) {
    One one{.name = setting.name, .stop_ids = {2, 5, 2}};
    one.request = {.id = setting.name, .prompt = {3, 9, 3, 200}, .sampling = setting.params};
    one.request.num_logprobs = setting.num_logprobs;
    one.request.sampling.seed = seed;
    std::erase_if(one.request.sampling.logit_bias,
                  [&](const auto& bias) { return bias.first >= static_cast<TokenId>(size); });
    one.logits = Logits(size, spread, static_cast<uint32_t>(seed + all.size()));
    size_t best = 0;
    for (size_t i = 1; i < size; ++i) {
      if (one.logits[i] > one.logits[best]) best = i;
    }
    one.output = {4, static_cast<TokenId>(best), 7, 7, 2};
    one.logits[2] = one.logits[best];  // a stop id, as likely as the best
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace

TEST_CASE("what is chosen from rows read in part is what whole rows give") {
  const auto cpu = Processors();
  const auto device = Emulated("always");
  REQUIRE(device->row_reader() != nullptr);
  for (const size_t size : {300UL, 2048UL, 5001UL}) {
    TokenChooser expected(static_cast<int32_t>(size), cpu.get());
    TokenChooser found(static_cast<int32_t>(size), device.get());
    for (const float spread : {0.0f, 1.0f, 6.0f}) {
      const std::vector<One> all = AllSettings(size, spread, size);
      Step step;
      for (const One& one : all) step.Add(one);
      CheckSame(ChooseWith(*device, found, step), ChooseWith(*cpu, expected, step), all);
    }
  }
}

TEST_CASE("a row read in part is chosen from alike alone and among others") {
  const auto device = Emulated("always");
  const std::vector<One> all = AllSettings(1500, 3, 5);
  TokenChooser chooser(1500, device.get());
  Step together;
  for (const One& one : all) together.Add(one);
  const Chosen expected = ChooseWith(*device, chooser, together);
  Chosen alone;
  for (const One& one : all) {
    Step step;
    step.Add(one);
    alone.choices.push_back(ChooseWith(*device, chooser, step).choices[0]);
  }
  CheckSame(alone, expected, all);
}

TEST_CASE("tokens of a prompt are scored from rows read in part as from whole ones") {
  const auto cpu = Processors();
  const auto device = Emulated("always");
  TokenChooser expected(3000, cpu.get());
  TokenChooser found(3000, device.get());
  for (const int32_t count : {0, 1, 5, 128}) {
    One one{.name = "scored", .logits = Logits(3000, 2, 8)};
    one.request = {.id = "scored", .prompt = {1, 2999, 8, 1000, 0}, .sampling = {.seed = 4}};
    one.request.num_prompt_logprobs = count;
    one.request.num_logprobs = count;
    Step step;
    step.Add(one, 4);
    CheckSame(ChooseWith(*device, found, step), ChooseWith(*cpu, expected, step), {one});
  }
}

TEST_CASE("a grammar masks rows that stay on the device") {
  constexpr size_t kVocabulary = 700;
  std::vector<std::string> texts(kVocabulary);
  for (size_t i = 0; i < kVocabulary; ++i) texts[i] = i % 3 == 0 ? "ab" : i % 3 == 1 ? "b" : "c";
  const auto trie = std::make_shared<grammar::TokenTrie>(std::move(texts));
  const auto compile = [&](const char* gbnf) {
    return std::make_shared<grammar::TokenGrammar>(
        *grammar::CompileRules(*grammar::ParseGbnf(gbnf)), trie);
  };
  const auto cpu = Processors();
  const auto device = Emulated("always");
  TokenChooser expected(kVocabulary, cpu.get());
  TokenChooser found(kVocabulary, device.get());
  for (const char* gbnf : {"root ::= [ab]+", "root ::= \"c\"*", "root ::= \"x\""}) {
    std::vector<One> all = AllSettings(kVocabulary, 3, 9);
    const auto grammar = compile(gbnf);
    Step step;
    for (One& one : all) {
      one.request.grammar = grammar;
      step.Add(one);
    }
    const Chosen whole = ChooseWith(*cpu, expected, step);
    CheckSame(ChooseWith(*device, found, step), whole, all);
    if (gbnf == std::string("root ::= \"x\"")) CHECK(whole.choices[0].token == -1);
  }
}

TEST_CASE("rows without any number, or with infinite ones, are the same broken rows") {
  const auto cpu = Processors();
  const auto device = Emulated("always");
  TokenChooser expected(600, cpu.get());
  TokenChooser found(600, device.get());
  std::vector<std::vector<float>> rows(5, std::vector<float>(600, std::nanf("")));
  rows[1].assign(600, -kInf);
  rows[2][599] = -3;
  rows[3].assign(600, 2.0f);
  rows[3][300] = kInf;
  rows[4].assign(600, 0.0f);
  for (size_t i = 0; i < 600; i += 2) rows[4][i] = -0.0f;
  for (const std::vector<float>& row : rows) {
    std::vector<One> all;
    Step step;
    for (const Setting& setting : Settings()) {
      One one{.name = setting.name, .logits = row};
      one.request = {.id = "r", .prompt = {1}, .sampling = setting.params};
      one.request.num_logprobs = setting.num_logprobs;
      all.push_back(one);
      step.Add(one);
    }
    CheckSame(ChooseWith(*device, found, step), ChooseWith(*cpu, expected, step), all);
  }
}

TEST_CASE("changes beyond what a step takes are made on the host") {
  const auto cpu = Processors();
  const auto device = Emulated("always");
  const int64_t most = device->row_reader()->changes_max();
  constexpr int32_t kVocabulary = 9000;
  TokenChooser expected(kVocabulary, cpu.get());
  TokenChooser found(kVocabulary, device.get());
  std::vector<One> all;
  Step step;
  for (int i = 0; i < 3; ++i) {
    One one{.name = "long", .logits = Logits(kVocabulary, 3, 4)};
    one.request = {.id = "r", .sampling = {.temperature = 0.5f, .repetition_penalty = 1.2f}};
    one.request.num_logprobs = 2;
    for (int32_t id = 0; id < static_cast<int32_t>(most / 2) && id < kVocabulary; ++id) {
      one.request.prompt.push_back(id);
    }
    all.push_back(one);
    step.Add(one);
  }
  CheckSame(ChooseWith(*device, found, step), ChooseWith(*cpu, expected, step), all);
}

TEST_CASE("small steps come whole, and digests can be turned off") {
  const auto cpu = Processors();
  CHECK(cpu->row_reader() == nullptr);
  CHECK(Emulated("0")->row_reader() == nullptr);
  const std::vector<One> all = AllSettings(1000, 2, 3);
  TokenChooser expected(1000, cpu.get());
  Step step;
  for (const One& one : all) step.Add(one);
  for (const char* digests : {"0", "1"}) {
    const auto device = Emulated(digests);
    TokenChooser found(1000, device.get());
    CheckSame(ChooseWith(*device, found, step), ChooseWith(*cpu, expected, step), all);
  }
}

TEST_CASE("a step that could not be computed gives no token") {
  const One one{.name = "one", .request = {.id = "r", .prompt = {1}}, .logits = Logits(1000, 2, 3)};
  Step step;
  step.Add(one);
  const auto choose = [&](Kernels& kernels) {
    TokenChooser chooser(1000, &kernels);
    Buffer rows = *kernels.memory().Allocate(1000 * 4);
    REQUIRE(kernels.memory().Upload(step.logits.data(), 1000 * 4, rows.data()).ok());
    return chooser.Choose(step.batch, std::span(rows.as<float>(), 1000));
  };
  const auto works = Emulated("always");
  CHECK(choose(*works).ok());
  // The driver's second launch is one of the digest.
  setenv("CONCLAVE_EMULATOR_FAIL_LAUNCH", "1", 1);
  const auto failing = Emulated("always");
  unsetenv("CONCLAVE_EMULATOR_FAIL_LAUNCH");
  CHECK(choose(*failing).code() == absl::StatusCode::kUnavailable);
  CHECK(!failing->status().ok());
  // What the kernels lack is not the driver's to say.
  works->Softmax(nullptr, 0, 0, 0);
  CHECK(choose(*works).code() == absl::StatusCode::kUnimplemented);
}

}  // namespace conclave::engine
