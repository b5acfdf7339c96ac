#include "engine/schedule/scheduler.h"

#include <catch2/catch.hpp>
#include <map>
#include <optional>
#include <random>
#include <string>

namespace conclave::engine {
namespace {

// The scheduler with a "model" whose next token is a function of the tokens so far: whatever order
// things are computed in, a sequence's output is known beforehand.
class Bench {
 public:
  Bench(SchedulerOptions options, int32_t num_blocks, bool prefix_cache)
      : pool_(num_blocks),
        cache_(prefix_cache ? std::make_optional<PrefixCache>(&pool_, options.block_tokens)
                            : std::nullopt),
        scheduler_(options, &pool_, cache_.has_value() ? &*cache_ : nullptr) {}

  Sequence& Add(const std::string& id, int32_t prompt_tokens, int32_t max_output,
                TokenId first = 1) {
    std::vector<TokenId> prompt(static_cast<size_t>(prompt_tokens), 7);
    prompt[0] = first;
    return *scheduler_.Add(
        std::make_unique<Sequence>(GenerateRequest{.id = id, .prompt = std::move(prompt)},
                                   StoppingCriteria{.max_output = max_output}));
  }

  static TokenId NextToken(std::span<const TokenId> tokens) {
    uint32_t hash = 2166136261u;
    for (const TokenId token : tokens) hash = (hash ^ static_cast<uint32_t>(token)) * 16777619u;
    return static_cast<TokenId>(hash % 1000);
  }

  // One turn; ended sequences leave with their output kept.
  Batch Step() {
    Batch batch = scheduler_.Next();
    scheduler_.Commit(batch);
    preempted += batch.num_preempted;
    std::vector<BatchPart> parts = batch.parts;
    for (const BatchPart& part : parts) {
      Sequence& sequence = *part.sequence;
      REQUIRE(part.rows > 0);
      REQUIRE(sequence.num_computed <= sequence.num_tokens());
      REQUIRE(sequence.blocks.size() * 16 >= static_cast<size_t>(sequence.num_computed));
      if (!part.wants_logits) continue;
      REQUIRE(sequence.num_left() == 0);
      sequence.tokens.push_back(NextToken(sequence.tokens));
      sequence.has_emitted = true;
      if (sequence.num_output() < sequence.stopping.max_output) continue;
      const std::span<const TokenId> output = sequence.output();
      outputs[sequence.request.id] = {output.begin(), output.end()};
      scheduler_.Remove(sequence);
    }
    return batch;
  }

  // False when the work never ends.
  bool RunAll(int steps_max = 10000) {
    for (int i = 0; i < steps_max; ++i) {
      if (scheduler_.num_running() + scheduler_.num_waiting() == 0) return true;
      Step();
    }
    return false;
  }

  Scheduler& scheduler() { return scheduler_; }
  BlockPool& pool() { return pool_; }

  std::map<std::string, std::vector<TokenId>> outputs;
  int preempted = 0;

 private:
  BlockPool pool_;
  std::optional<PrefixCache> cache_;
  Scheduler scheduler_;
};

}  // namespace

TEST_CASE("a long prompt is computed in chunks of the budget") {
  Bench bench({.step_token_budget = 32}, 64, false);
  bench.Add("a", 80, 1);
  CHECK(bench.Step().num_rows == 32);
  CHECK(bench.Step().num_rows == 32);
  const Batch last = bench.Step();
  CHECK(last.num_rows == 16);
  CHECK(last.parts[0].wants_logits);
  CHECK(bench.outputs["a"].size() == 1);
  CHECK(bench.pool().num_free() == 64);
}

TEST_CASE("decodes come first and prompts take what is left, in order of arrival") {
  Bench bench({.step_token_budget = 32}, 64, false);
  bench.Add("a", 8, 10);
  bench.Step();
  bench.Add("b", 60, 1);
  bench.Add("c", 60, 1);
  const Batch batch = bench.Step();
  REQUIRE(batch.parts.size() == 2);
  CHECK(batch.parts[0].sequence->request.id == "a");
  CHECK(batch.parts[0].rows == 1);
  CHECK(batch.parts[1].sequence->request.id == "b");
  CHECK(batch.parts[1].rows == 31);
  CHECK(bench.scheduler().num_waiting() == 1);
  CHECK(bench.scheduler().waiting_tokens() == 29 + 60);
}

TEST_CASE("short prompts share a step") {
  Bench bench({.step_token_budget = 32}, 64, false);
  for (int i = 0; i < 4; ++i) bench.Add(std::to_string(i), 10, 1);
  const Batch batch = bench.Step();
  CHECK(batch.parts.size() == 4);
  CHECK(batch.num_rows == 32);
  CHECK(batch.parts[3].rows == 2);
  CHECK_FALSE(batch.parts[3].wants_logits);
}

TEST_CASE("a step full of decodes still carries a piece of a prompt") {
  Bench bench({.max_sequences = 64, .step_token_budget = 16}, 256, false);
  for (int i = 0; i < 20; ++i) bench.Add(std::to_string(i), 2, 100);
  for (int i = 0; i < 4; ++i) bench.Step();
  bench.Add("late", 40, 1);
  const Batch batch = bench.Step();
  CHECK(batch.num_rows == 20 + Scheduler::kMinPrefillRows);
}

TEST_CASE("no more run than there are slots") {
  Bench bench({.max_sequences = 2, .step_token_budget = 64}, 64, false);
  for (int i = 0; i < 3; ++i) bench.Add(std::to_string(i), 4, 3);
  bench.Step();
  CHECK(bench.scheduler().num_running() == 2);
  CHECK(bench.scheduler().num_waiting() == 1);
  CHECK(bench.RunAll());
  CHECK(bench.outputs.size() == 3);
}

TEST_CASE("nobody overtakes a prompt that waits for blocks") {
  Bench bench({.step_token_budget = 256}, 8, false);
  bench.Add("big", 96, 20);  // 6 of 8 blocks
  bench.Step();
  bench.Add("second", 60, 1);  // 4 blocks
  bench.Add("third", 4, 1);    // would fit
  bench.Step();
  CHECK(bench.scheduler().num_waiting() == 2);
  CHECK(bench.RunAll());
  CHECK(bench.outputs.size() == 3);
}

TEST_CASE("preemption changes nobody's output") {
  for (const bool prefix_cache : {false, true}) {
    std::map<std::string, std::vector<TokenId>> expected;
    for (const int32_t num_blocks : {400, 12}) {
      Bench bench({.max_sequences = 8, .step_token_budget = 48}, num_blocks, prefix_cache);
      for (int i = 0; i < 6; ++i) bench.Add(std::to_string(i), 20 + 7 * i, 60, i);
      REQUIRE(bench.RunAll());
      CHECK(bench.pool().num_used() == 0);
      if (num_blocks == 400) {
        CHECK(bench.preempted == 0);
        expected = bench.outputs;
      } else {
        CHECK(bench.preempted > 0);
        CHECK(bench.outputs == expected);
      }
    }
  }
}

TEST_CASE("the oldest sequence is never the victim of a newer one") {
  Bench bench({.max_sequences = 2, .step_token_budget = 64}, 4, false);
  Sequence& old = bench.Add("old", 30, 30);
  bench.Add("new", 30, 30);
  while (bench.preempted == 0) bench.Step();
  CHECK(old.state == Sequence::State::kRunning);
  CHECK(bench.RunAll());
}

TEST_CASE("a shared beginning is taken from the cache, all but the last token") {
  Bench bench({.step_token_budget = 256}, 64, true);
  bench.Add("a", 64, 1);
  bench.Step();
  CHECK(bench.pool().num_idle() == 4);
  Sequence& again = bench.Add("b", 64, 2);
  const Batch batch = bench.Step();
  CHECK(again.cached_tokens == 48);  // the fourth block holds the last token
  CHECK(batch.num_rows == 16);
  CHECK(bench.pool().num_used() == 4);
}

TEST_CASE("what a sequence generates can be matched too") {
  Bench bench({.step_token_budget = 256}, 64, true);
  bench.Add("a", 16, 20);
  REQUIRE(bench.RunAll());
  std::vector<TokenId> prompt(16, 7);
  prompt[0] = 1;
  for (const TokenId token : bench.outputs["a"]) prompt.push_back(token);
  Sequence& next = *bench.scheduler().Add(std::make_unique<Sequence>(
      GenerateRequest{.id = "b", .prompt = prompt}, StoppingCriteria{.max_output = 2}));
  bench.Step();
  CHECK(next.cached_tokens == 32);
}

TEST_CASE("a paused sequence takes no part until it is resumed") {
  Bench bench({.step_token_budget = 64}, 64, false);
  Sequence& a = bench.Add("a", 4, 10);
  bench.Step();
  bench.scheduler().Pause(a);
  CHECK(bench.Step().empty());
  bench.scheduler().Resume(a);
  CHECK(bench.Step().num_rows == 1);
  CHECK(bench.RunAll());
}

TEST_CASE("a sequence paused for long makes room for one that waits") {
  Bench bench({.max_sequences = 1, .step_token_budget = 64}, 64, false);
  Sequence& slow = bench.Add("slow", 4, 10);
  bench.Step();
  bench.scheduler().Pause(slow);
  bench.Add("quick", 4, 3);
  for (int i = 0; i < 3; ++i) bench.Step();
  CHECK(bench.outputs.count("quick") == 1);
  CHECK(slow.state == Sequence::State::kWaiting);
  CHECK(bench.Step().empty());
  bench.scheduler().Resume(slow);
  CHECK(bench.RunAll());
  CHECK(bench.outputs["slow"].size() == 10);
}

TEST_CASE("a sequence can be taken out in every state, and its blocks come back") {
  Bench bench({.max_sequences = 1, .step_token_budget = 16}, 16, false);
  Sequence& running = bench.Add("running", 40, 5);
  Sequence& waiting = bench.Add("waiting", 40, 5);
  bench.Step();
  bench.scheduler().Remove(waiting);
  CHECK(bench.scheduler().Find("waiting").empty());
  bench.scheduler().Remove(running);
  CHECK(bench.pool().num_free() == 16);
  CHECK(bench.Step().empty());
}

TEST_CASE("random arrivals, cancellations and pauses end with every block free") {
  std::mt19937 random(42);
  Bench bench({.max_sequences = 5, .step_token_budget = 40}, 24, true);
  std::map<std::string, Sequence*> live;
  for (int i = 0; i < 600; ++i) {
    const uint32_t dice = random() % 10;
    if (dice < 3 && live.size() < 12) {
      const std::string id = std::to_string(i);
      live[id] =
          &bench.Add(id, 1 + static_cast<int32_t>(random() % 150),
                     1 + static_cast<int32_t>(random() % 60), static_cast<TokenId>(random() % 3));
    } else if (dice == 3 && !live.empty()) {
      bench.scheduler().Remove(*live.begin()->second);
      live.erase(live.begin());
    } else if (dice == 4 && !live.empty()) {
      bench.scheduler().Pause(*live.rbegin()->second);
    } else if (dice >= 5 && !live.empty()) {
      bench.scheduler().Resume(*live.rbegin()->second);
    }
    bench.Step();
    for (const auto& [id, output] : bench.outputs) live.erase(id);
  }
  for (auto& [id, sequence] : live) bench.scheduler().Resume(*sequence);
  REQUIRE(bench.RunAll());
  CHECK(bench.pool().num_used() == 0);
}

TEST_CASE("batch inputs lay the parts out one after the other") {
  Sequence a({.prompt = {5, 6, 7}}, {});
  Sequence b({.prompt = {8, 9}}, {});
  a.block_numbers = {3};
  b.block_numbers = {1};
  Batch batch;
  batch.parts = {{.sequence = &a, .position = 1, .rows = 2, .wants_logits = true},
                 {.sequence = &b, .position = 0, .rows = 1, .wants_logits = false}};
  BatchInputs inputs;
  inputs.Fill(batch);
  CHECK(std::vector<TokenId>(inputs.tokens().begin(), inputs.tokens().end()) ==
        std::vector<TokenId>{6, 7, 8});
  CHECK(std::vector<int32_t>(inputs.positions().begin(), inputs.positions().end()) ==
        std::vector<int32_t>{1, 2, 0});
  REQUIRE(inputs.spans().size() == 2);
  CHECK(inputs.spans()[1].first_row == 2);
  CHECK(inputs.spans()[1].blocks[0] == 1);
  REQUIRE(inputs.output_rows().size() == 1);
  CHECK(inputs.output_rows()[0] == 1);
}

}  // namespace conclave::engine
