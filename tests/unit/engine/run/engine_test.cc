// The engine through its door, on tiny random models.
#include "engine/engine.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>

#include "engine/weights/gguf.h"
#include "support/tiny_golden.h"
#include "support/tiny_model.h"
#include "tools/collector.h"
#include "unit/engine/run/engine_checks.h"

namespace conclave::engine {
namespace {

using namespace std::chrono_literals;

// Holds the step loop inside an event until the test lets go.
class Hold {
 public:
  Collector::Reaction Reaction() {
    return [this](const Event& event) {
      if (event.kind == Event::Kind::kAccepted) {
        held_.set_value();
        released_.get_future().wait_for(kDeadline);
      }
      return SinkAction::kContinue;
    };
  }
  void AwaitHeld() { REQUIRE(held_.get_future().wait_for(kDeadline) == std::future_status::ready); }
  void Release() { released_.set_value(); }

 private:
  std::promise<void> held_, released_;
};

}  // namespace

TEST_CASE("the engine's greedy answer is that of transformers, alone and eight at once") {
  for (const std::string& name : RunnableTinyNames()) {
    CAPTURE(name);
    const TinyGolden golden = ReadTinyGolden(name);
    const std::vector<TokenId>&prompt = golden.prompt, &expected = golden.greedy;
    for (const bool prefix_cache : {false, true}) {
      const auto engine = OpenTiny({.prefix_cache = prefix_cache}, golden.spec);
      CHECK(Answer(*engine, Request("alone", prompt, 64)) == expected);
      std::vector<std::shared_ptr<Collector>> all;
      for (int i = 0; i < 8; ++i) {
        all.push_back(Start(*engine, Request(std::to_string(i), prompt, 64)));
      }
      for (const auto& one : all) {
        const Event end = Finish(*one);
        CHECK(one->tokens() == expected);
        CHECK((end.usage.cached_tokens > 0) == prefix_cache);
      }
    }
  }
}

TEST_CASE("what a token keeps is said and what is planned for is all there is") {
  const struct {
    const char* name;
    int64_t bytes_per_token;  // in fp16
  } rows[] = {
      {"llama", 2 * 2 * (16 + 16) * 2},  // layers × kv heads × (key + value)
      {"qwen3", 2 * 2 * (32 + 32) * 2},
      {"deepseek2", 3 * (32 + 16) * 2},  // layers × (latent + rotated key)
  };
  const std::vector<std::string> names = RunnableTinyNames();
  for (const auto& row : rows) {
    if (std::ranges::find(names, row.name) == names.end()) continue;
    CAPTURE(row.name);
    const SynthSpec spec = *TinySpec(row.name);
    for (const bool f32 : {false, true}) {
      constexpr int64_t kTokens = 160;
      const int64_t bytes = row.bytes_per_token * (f32 ? 2 : 1);
      const auto engine =
          OpenTiny({.kv_bytes = bytes * kTokens, .kv_type = f32 ? "f32" : "f16"}, spec);
      CHECK(engine->info().kv_bytes_per_token == bytes);
      CHECK(engine->Stats().kv_blocks_total * engine->Stats().block_tokens == kTokens);
      // What does not fit into it is told so.
      const auto refused = engine->Submit(Request("long", TinyPrompt(1, kTokens + 1, 128), 1),
                                          std::make_shared<Collector>());
      CHECK(refused.code() == absl::StatusCode::kOutOfRange);
      CHECK(std::string(refused.message()).find(std::to_string(kTokens)) != std::string::npos);
    }
  }
}

TEST_CASE("events come in order and the end comes once") {
  const auto engine = OpenTiny({.step_token_budget = 16});
  GenerateRequest request = Request("a", TinyPrompt(1, 40, 128), 5);
  request.num_logprobs = 3;
  const auto collector = Start(*engine, std::move(request));
  const Event end = Finish(*collector);
  const std::vector<Event> events = collector->events();
  REQUIRE(events.size() == 1 + 2 + 5 + 1);
  CHECK(events[0].kind == Event::Kind::kAccepted);
  CHECK(events[1].kind == Event::Kind::kPrefill);
  CHECK(events[1].prefill_done == 16);
  CHECK(events[2].prefill_done == 32);
  CHECK(events[2].prefill_total == 40);
  for (size_t i = 3; i < 8; ++i) {
    REQUIRE(events[i].kind == Event::Kind::kToken);
    REQUIRE(events[i].alternatives.size() == 3);
    CHECK(events[i].alternatives[0].id == events[i].token);  // greedy
    CHECK(events[i].logprob.logprob == events[i].alternatives[0].logprob);
    CHECK(events[i].alternatives[0].logprob >= events[i].alternatives[1].logprob);
  }
  CHECK(end.reason == FinishReason::kLength);
  CHECK(end.token == -1);
  CHECK(end.usage.prompt_tokens == 40);
  CHECK(end.usage.output_tokens == 5);
  CHECK(end.timings.prefill_ms > 0);
}

TEST_CASE("sixteen sampled requests at once answer as each does alone, bit for bit") {
  std::vector<std::vector<std::pair<TokenId, float>>> alone;
  {
    const auto engine = OpenTiny({.num_threads = 1, .prefix_cache = false});
    for (uint64_t i = 0; i < 16; ++i) {
      const auto one = Start(*engine, SampledRequest(i, 5 + 9 * static_cast<int32_t>(i), 24));
      Finish(*one);
      alone.push_back(Trace(*one));
      CHECK(alone.back().size() == 24 * 3);
    }
  }
  for (const int threads : {1, 2, 4}) {
    for (const int32_t budget : {24, 256}) {
      const auto engine = OpenTiny({.num_threads = threads, .step_token_budget = budget});
      std::vector<std::shared_ptr<Collector>> all;
      for (uint64_t i = 0; i < 16; ++i) {
        all.push_back(Start(*engine, SampledRequest(i, 5 + 9 * static_cast<int32_t>(i), 24)));
      }
      for (size_t i = 0; i < all.size(); ++i) {
        Finish(*all[i]);
        CHECK(Trace(*all[i]) == alone[i]);
      }
    }
  }
}

TEST_CASE("preempted sequences answer as undisturbed ones") {
  std::vector<std::vector<std::pair<TokenId, float>>> expected;
  for (const bool tight : {false, true}) {
    const auto engine = OpenTiny({.max_sequences = 8, .prefix_cache = false});
    // Tight: room for about three of the eight at their full length.
    const int64_t per_token = engine->info().kv_bytes_per_token;
    const auto small =
        OpenTiny({.context_length = 128, .max_sequences = 8, .kv_bytes = per_token * 16 * 20});
    Engine& used = tight ? *small : *engine;
    std::vector<std::shared_ptr<Collector>> all;
    for (uint64_t i = 0; i < 8; ++i) all.push_back(Start(used, SampledRequest(i, 20, 80)));
    for (size_t i = 0; i < all.size(); ++i) {
      CHECK(Finish(*all[i]).reason == FinishReason::kLength);
      if (!tight) {
        expected.push_back(Trace(*all[i]));
      } else {
        CHECK(Trace(*all[i]) == expected[i]);
      }
    }
    CHECK((used.Stats().preempted_total > 0) == tight);
    CHECK(used.Stats().kv_blocks_used == 0);
  }
}

TEST_CASE("a resumed request goes on exactly where the other left off") {
  const auto engine = OpenTiny();
  const auto whole = Start(*engine, SampledRequest(3, 30, 40));
  Finish(*whole);
  const std::vector<TokenId> tokens = whole->tokens();
  const auto trace = Trace(*whole);
  for (const size_t cut : {1, 17, 39}) {
    for (const bool prefix_cache : {false, true}) {
      const auto other = OpenTiny({.prefix_cache = prefix_cache});
      GenerateRequest request = SampledRequest(3, 30, 40);
      request.resumed.assign(tokens.begin(), tokens.begin() + static_cast<ptrdiff_t>(cut));
      const auto rest = Start(*other, std::move(request));
      const Event end = Finish(*rest);
      const auto expected_from = trace.begin() + static_cast<ptrdiff_t>(3 * cut);
      CHECK(Trace(*rest) == std::vector(expected_from, trace.end()));
      CHECK(end.usage.prompt_tokens == 30);
      CHECK(end.usage.output_tokens == 40);
    }
  }
}

TEST_CASE("a request resumed with all its output ends at once") {
  const auto engine = OpenTiny();
  GenerateRequest request = Request("a", {1, 2, 3}, 2);
  request.resumed = {4, 5};
  const auto collector = Start(*engine, std::move(request));
  CHECK(Finish(*collector).reason == FinishReason::kLength);
  CHECK(collector->tokens().empty());
  CHECK(engine->Stats().waiting == 0);
}

TEST_CASE("salts keep cached prefixes apart") {
  const auto engine = OpenTiny();
  const auto cached = [&](const std::string& id, const std::string& salt) {
    GenerateRequest request = Request(id, TinyPrompt(4, 64, 128), 1);
    request.cache_salt = salt;
    return Finish(*Start(*engine, std::move(request))).usage.cached_tokens;
  };
  CHECK(cached("1", "alice") == 0);
  CHECK(cached("2", "alice") == 48);
  CHECK(cached("3", "bob") == 0);
  CHECK(engine->Stats().cached_tokens_total == 48);
}

TEST_CASE("a stop id ends the answer and is not part of it") {
  const auto engine = OpenTiny();
  const std::vector<TokenId> prompt = TinyPrompt(5, 10, 128);
  const std::vector<TokenId> free_run = Answer(*engine, Request("a", prompt, 12));
  const TokenId stop = free_run[5];
  const auto first = std::find(free_run.begin(), free_run.end(), stop);
  GenerateRequest request = Request("b", prompt, 12);
  request.stop_ids = {stop};
  const auto collector = Start(*engine, request);
  const Event end = Finish(*collector);
  CHECK(end.reason == FinishReason::kStop);
  CHECK(end.token == stop);
  CHECK(collector->tokens() == std::vector(free_run.begin(), first));

  // Masked until there are min_tokens, and until then another token is chosen.
  request.id = "c";
  request.sampling.min_tokens = 8;
  const std::vector<TokenId> longer = Answer(*engine, request);
  CHECK(longer.size() >= 8);
  CHECK(std::find(longer.begin(), longer.begin() + 8, stop) == longer.begin() + 8);
}

TEST_CASE("prompt and output end at the context") {
  const auto engine = OpenTiny({.context_length = 64});
  CHECK(engine->info().context_length == 64);
  const auto collector = Start(*engine, Request("a", TinyPrompt(1, 60, 128), 0));
  CHECK(Finish(*collector).reason == FinishReason::kLength);
  CHECK(collector->tokens().size() == 4);
  CHECK(Answer(*engine, Request("b", TinyPrompt(1, 64, 128), 0)).size() == 1);
  const absl::Status status =
      engine->Submit(Request("c", TinyPrompt(1, 65, 128), 0), std::make_shared<Collector>());
  CHECK(status.code() == absl::StatusCode::kOutOfRange);
  CHECK(std::string(status.message()).find("65 tokens, the context is 64") != std::string::npos);
}

TEST_CASE("requests out of range are refused by field and the sink stays silent") {
  const auto engine = OpenTiny();
  struct Case {
    std::string field;
    std::function<void(GenerateRequest&)> change;
  };
  const std::vector<Case> cases = {
      {"id", [](auto& r) { r.id.clear(); }},
      {"prompt", [](auto& r) { r.prompt.clear(); }},
      {"prompt[1]",
       [](auto& r) {
         r.prompt = {1, 128};
       }},
      {"prompt[0]", [](auto& r) { r.prompt = {-1}; }},
      {"resumed[0]", [](auto& r) { r.resumed = {500}; }},
      {"stop_token_ids[0]", [](auto& r) { r.stop_ids = {-3}; }},
      {"max_tokens", [](auto& r) { r.max_tokens = -1; }},
      {"num_logprobs", [](auto& r) { r.num_logprobs = 1000; }},
      {"num_logprobs", [](auto& r) { r.num_logprobs = -2; }},
      {"temperature", [](auto& r) { r.sampling.temperature = 9; }},
      {"logit_bias",
       [](auto& r) {
         r.sampling.logit_bias = {{128, 1.0f}};
       }},
  };
  for (const Case& one : cases) {
    CAPTURE(one.field);
    GenerateRequest request = Request("a", {1}, 1);
    one.change(request);
    const auto collector = std::make_shared<Collector>();
    const absl::Status status = engine->Submit(std::move(request), collector);
    CHECK(status.code() == absl::StatusCode::kInvalidArgument);
    CHECK(std::string(status.message()).rfind(one.field, 0) == 0);
    CHECK(collector->events().empty());
  }
  CHECK(engine->Stats().waiting == 0);
}

TEST_CASE("the queue has a limit, and a name can live once") {
  const auto engine = OpenTiny({.max_sequences = 1, .max_queued = 2});
  Hold hold;
  const auto first = Start(*engine, Request("first", {1}, 2), hold.Reaction());
  hold.AwaitHeld();
  const auto second = Start(*engine, Request("second", {1}, 2));
  const auto third = Start(*engine, Request("third", {1}, 2));
  const auto refused = std::make_shared<Collector>();
  CHECK(engine->Submit(Request("fourth", {1}, 2), refused).code() ==
        absl::StatusCode::kResourceExhausted);
  hold.Release();
  Finish(*third);
  CHECK(refused->events().empty());
  CHECK(Answer(*engine, Request("first", {1}, 2)).size() == 2);  // the name is free again
}

TEST_CASE("a live name is refused") {
  const auto engine = OpenTiny();
  Hold hold;
  const auto first = Start(*engine, Request("same", {1}, 2), hold.Reaction());
  hold.AwaitHeld();
  CHECK(engine->Submit(Request("same", {1}, 2), std::make_shared<Collector>()).code() ==
        absl::StatusCode::kAlreadyExists);
  hold.Release();
  Finish(*first);
}

TEST_CASE("cancelling ends a request in the queue, in prefill and in decode within a step") {
  const auto engine = OpenTiny({.max_sequences = 1, .step_token_budget = 16});
  Hold hold;
  const auto running =
      Start(*engine, Request("running", TinyPrompt(1, 200, 128), 50), hold.Reaction());
  const auto queued = Start(*engine, Request("queued", {1}, 50));
  hold.AwaitHeld();
  engine->Cancel("queued");
  engine->Cancel("running");
  engine->Cancel("nobody");
  hold.Release();
  CHECK(Finish(*queued).reason == FinishReason::kCancelled);
  const Event end = Finish(*running);
  CHECK(end.reason == FinishReason::kCancelled);
  // The step that ran, at most one piece of the prompt, was the last.
  CHECK(running->events().size() <= 3);

  const auto decoding = Start(*engine, Request("decoding", {1}, 400), [&](const Event& event) {
    if (event.kind == Event::Kind::kToken) engine->Cancel("decoding");
    return SinkAction::kContinue;
  });
  CHECK(Finish(*decoding).reason == FinishReason::kCancelled);
  CHECK(decoding->tokens().size() == 1);
  const EngineStats stats = engine->Stats();
  CHECK(stats.cancelled_total == 3);
  CHECK(stats.running == 0);
  CHECK(stats.kv_blocks_used == 0);
}

TEST_CASE("a sink can stop its request and free the slot before it hears of the end") {
  const auto engine = OpenTiny({.max_sequences = 1});
  EngineStats at_end;
  const auto collector = Start(*engine, Request("a", {1, 2}, 50), [&](const Event& event) {
    if (event.kind == Event::Kind::kFinished) at_end = engine->Stats();
    return event.kind == Event::Kind::kToken ? SinkAction::kStop : SinkAction::kContinue;
  });
  const Event end = Finish(*collector);
  CHECK(end.reason == FinishReason::kStop);
  CHECK(end.usage.output_tokens == 1);
  engine->Drain(kDeadline);
  CHECK(at_end.running == 0);
  CHECK(at_end.kv_blocks_used == 0);

  const auto other = OpenTiny();
  const auto at_once =
      Start(*other, Request("b", {1, 2}, 50), [](const Event&) { return SinkAction::kStop; });
  CHECK(Finish(*at_once).reason == FinishReason::kStop);
  CHECK(at_once->tokens().empty());
}

TEST_CASE("a paused sequence rests while others run, and answers the same") {
  const auto engine = OpenTiny();
  const std::vector<TokenId> prompt = TinyPrompt(6, 12, 128);
  const std::vector<TokenId> expected = Answer(*engine, Request("plain", prompt, 10));
  const auto slow = Start(*engine, Request("slow", prompt, 10), [](const Event& event) {
    return event.kind == Event::Kind::kToken ? SinkAction::kPause : SinkAction::kContinue;
  });
  for (size_t i = 1; i <= expected.size(); ++i) {
    REQUIRE(slow->WaitTokens(i, kDeadline));
    // Others finish meanwhile, and the paused one has not moved.
    Answer(*engine, Request("other", {1}, 5));
    CHECK(slow->tokens().size() == i);
    engine->Resume("slow");
  }
  Finish(*slow);
  CHECK(slow->tokens() == expected);
}

TEST_CASE("a paused request can be cancelled") {
  const auto engine = OpenTiny();
  const auto slow = Start(*engine, Request("slow", {1, 2, 3}, 10),
                          [](const Event&) { return SinkAction::kPause; });
  engine->Cancel("slow");
  CHECK(Finish(*slow).reason == FinishReason::kCancelled);
  engine->Resume("slow");  // gone: no effect
}

TEST_CASE("draining refuses new requests and lets running ones end") {
  const auto engine = OpenTiny();
  Hold hold;
  const auto running = Start(*engine, Request("running", {1, 2, 3}, 20), hold.Reaction());
  hold.AwaitHeld();
  auto drained = std::async(std::launch::async, [&] { engine->Drain(kDeadline); });
  while (engine->Submit(Request("late", {1}, 1), std::make_shared<Collector>()).code() !=
         absl::StatusCode::kUnavailable) {
    std::this_thread::yield();
  }
  hold.Release();
  drained.get();
  CHECK(running->WaitFinished(0ms)->reason == FinishReason::kLength);
  CHECK(running->tokens().size() == 20);
}

TEST_CASE("what still runs at the end of a drain is cancelled") {
  const auto engine = OpenTiny();
  const auto paused = Start(*engine, Request("paused", {1, 2, 3}, 20),
                            [](const Event&) { return SinkAction::kPause; });
  engine->Drain(1ms);
  CHECK(paused->WaitFinished(0ms)->reason == FinishReason::kCancelled);
}

TEST_CASE("closing the engine tells every request, once") {
  std::vector<std::shared_ptr<Collector>> all;
  {
    const auto engine = OpenTiny({.max_sequences = 2});
    for (int i = 0; i < 6; ++i) {
      all.push_back(Start(*engine, Request(std::to_string(i), TinyPrompt(1, 20, 128), 400)));
    }
  }
  for (const auto& one : all) {
    const std::vector<Event> events = one->events();
    CHECK(std::count_if(events.begin(), events.end(), [](const Event& event) {
            return event.kind == Event::Kind::kFinished;
          }) == 1);
    CHECK(events.back().kind == Event::Kind::kFinished);
  }
}

TEST_CASE("two hundred requests cancelled at random leave nothing behind") {
  const auto engine = OpenTiny({.max_sequences = 8, .max_queued = 300, .step_token_budget = 32});
  std::mt19937 random(7);
  std::vector<std::shared_ptr<Collector>> all;
  for (int i = 0; i < 200; ++i) {
    const int when = static_cast<int>(random() % 30);
    const std::string id = std::to_string(i);
    auto seen = std::make_shared<int>(0);
    all.push_back(Start(*engine, SampledRequest(static_cast<uint64_t>(i), 1 + i % 60, 25),
                        [&, when, i, seen](const Event&) {
                          if ((*seen)++ == when) engine->Cancel("r" + std::to_string(i));
                          return SinkAction::kContinue;
                        }));
  }
  for (const auto& one : all) Finish(*one);
  engine->Drain(kDeadline);
  const EngineStats stats = engine->Stats();
  CHECK(stats.running == 0);
  CHECK(stats.waiting == 0);
  CHECK(stats.kv_blocks_used == 0);
  CHECK(stats.cancelled_total > 0);
}

TEST_CASE("figures add up") {
  const auto engine = OpenTiny({.max_sequences = 3});
  Answer(*engine, Request("a", TinyPrompt(1, 30, 128), 10));
  Answer(*engine, Request("b", TinyPrompt(2, 20, 128), 5));
  engine->Drain(kDeadline);
  const EngineStats stats = engine->Stats();
  CHECK(stats.prompt_tokens_total == 50);
  CHECK(stats.output_tokens_total == 15);
  CHECK(stats.steps_total == 15);
  CHECK(stats.slots == 3);
  CHECK(stats.block_tokens == 16);
  CHECK(stats.step_ms_p50 > 0);
  CHECK(stats.decode_tps > 0);
  CHECK(stats.prefill_tps > 0);
  const ModelInfo& info = engine->info();
  CHECK(info.architecture == "qwen3moe");
  CHECK(info.num_experts == 8);
  CHECK(info.num_experts_used == 2);
  CHECK(info.vocab_size == 128);
  CHECK(info.quantization == "F32");
  CHECK(info.weight_bytes == info.parameters * 4);
}

TEST_CASE("a model whose logits are no numbers ends the request with an error") {
  SynthSpec spec = *TinySpec("llama");
  spec.tied = true;  // so that there is room for a head of our own
  GgufWriter broken = *MakeSynthModel(spec);
  std::vector<float> head(static_cast<size_t>(spec.vocab_size) * 64, INFINITY);
  broken.AddTensor("output.weight", DType::kF32, Shape({spec.vocab_size, 64}), head);
  const std::vector<std::byte> bytes = broken.Serialize();
  const auto engine = Engine::Open(*OpenGgufBytes(bytes, "broken"), {});
  REQUIRE(engine.ok());
  const auto collector = Start(**engine, Request("a", {1, 2}, 4));
  const Event end = Finish(*collector);
  CHECK(end.reason == FinishReason::kError);
  CHECK(end.status.code() == absl::StatusCode::kInternal);
}

TEST_CASE("an engine says what is wrong with a model or an option") {
  const auto source = MakeTinySource("qwen3");
  CHECK(Engine::Open(source, {.max_sequences = -1}).status().code() ==
        absl::StatusCode::kInvalidArgument);
  CHECK(Engine::Open(source, {.kv_bytes = 1}).status().code() ==
        absl::StatusCode::kResourceExhausted);
  GgufWriter writer;
  writer.SetString("general.architecture", "mamba");
  const std::vector<std::byte> bytes = writer.Serialize();
  const absl::Status status = Engine::Open(*OpenGgufBytes(bytes, "m.gguf"), {}).status();
  CHECK(status.code() == absl::StatusCode::kUnimplemented);
  CHECK(std::string(status.message()).find("qwen3moe") != std::string::npos);
}

}  // namespace conclave::engine
