// The engine on tiny random models, as the tests of its door use it.
#pragma once

#include <algorithm>
#include <catch2/catch.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/engine.h"
#include "support/tiny_model.h"
#include "tools/collector.h"

namespace conclave::engine {

// Far beyond what anything here takes, even under sanitizers on a busy machine.
inline constexpr std::chrono::seconds kDeadline(120);

inline std::unique_ptr<Engine> OpenTiny(const EngineOptions& options = {},
                                        const SynthSpec& spec = *TinySpec("qwen3moe")) {
  absl::StatusOr<std::unique_ptr<Engine>> engine = Engine::Open(MakeTinySource(spec), options);
  REQUIRE(engine.ok());
  return *std::move(engine);
}

inline GenerateRequest Request(const std::string& id, std::vector<TokenId> prompt,
                               int32_t max_tokens) {
  return {.id = id,
          .prompt = std::move(prompt),
          .sampling = {.temperature = 0},
          .max_tokens = max_tokens};
}

inline GenerateRequest SampledRequest(uint64_t which, int32_t prompt_tokens, int32_t max_tokens) {
  GenerateRequest request =
      Request("r" + std::to_string(which), TinyPrompt(which, prompt_tokens, 128), max_tokens);
  request.sampling = {.temperature = 1.0f,
                      .top_k = 50,
                      .top_p = 0.95f,
                      .repetition_penalty = 1.1f,
                      .presence_penalty = 0.3f,
                      .seed = 1000 + which};
  request.num_logprobs = 2;
  return request;
}

inline std::shared_ptr<Collector> Start(Engine& engine, GenerateRequest request,
                                        Collector::Reaction reaction = {}) {
  const auto ended = std::count_if(request.answers.begin(), request.answers.end(),
                                   [](const ResumedAnswer& answer) { return answer.ended; });
  auto collector =
      std::make_shared<Collector>(std::move(reaction), request.n - static_cast<int32_t>(ended));
  const absl::Status status = engine.Submit(std::move(request), collector);
  INFO(status);
  REQUIRE(status.ok());
  return collector;
}

inline Event Finish(const Collector& collector) {
  const std::optional<Event> end = collector.WaitFinished(kDeadline);
  REQUIRE(end.has_value());
  return *end;
}

inline std::vector<TokenId> Answer(Engine& engine, GenerateRequest request) {
  const auto collector = Start(engine, std::move(request));
  Finish(*collector);
  return collector->tokens();
}

// Tokens with their logprobs: equal only when every bit of the logits that matter is.
inline std::vector<std::pair<TokenId, float>> Trace(const Collector& collector, int32_t index = 0) {
  std::vector<std::pair<TokenId, float>> trace;
  for (const Event& event : collector.events()) {
    if (event.kind != Event::Kind::kToken || event.index != index) continue;
    trace.emplace_back(event.token, event.logprob.logprob);
    for (const TokenLogprob& other : event.alternatives)
      trace.emplace_back(other.id, other.logprob);
  }
  return trace;
}

}  // namespace conclave::engine
