#include <algorithm>
#include <chrono>
#include <memory>

#include "engine/engine.h"
#include "engine/weights/gguf.h"
#include "gpu/rig.h"
#include "tools/collector.h"

namespace conclave::engine {
namespace {

constexpr auto kDeadline = std::chrono::minutes(5);
constexpr int kPrompts = 4;

struct Answer {
  std::vector<TokenId> tokens;
  std::vector<float> lead;  // of each token's logprob over the next best
};

GenerateRequest MakeRequest(int which, int32_t vocab_size, int32_t tokens) {
  GenerateRequest request = {.id = std::to_string(which),
                             .prompt = {},
                             .sampling = {.temperature = 0, .ignore_eos = true},
                             .max_tokens = tokens,
                             .num_logprobs = 2};
  // Short and long, one of them longer than a split of attention and than a step.
  const int lengths[kPrompts] = {1, 23, 150, 600};
  uint64_t state = 77 + static_cast<uint64_t>(which);
  for (int i = 0; i < lengths[which]; ++i) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    request.prompt.push_back(
        static_cast<TokenId>((state >> 33) % static_cast<uint64_t>(vocab_size)));
  }
  return request;
}

Answer ReadAnswer(const Collector& collector) {
  Answer answer;
  for (const Event& event : collector.events()) {
    if (event.kind != Event::Kind::kToken) continue;
    answer.tokens.push_back(event.token);
    answer.lead.push_back(event.alternatives.size() < 2
                              ? 0
                              : event.alternatives[0].logprob - event.alternatives[1].logprob);
  }
  return answer;
}

absl::StatusOr<std::vector<Answer>> AnswerAll(const std::shared_ptr<const ModelSource>& source,
                                              const std::string& device, int32_t tokens,
                                              bool together) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                   Engine::Open(source, {.context_length = 1024,
                                         .max_sequences = kPrompts,
                                         .prefix_cache = false,
                                         .device = device}));
  std::vector<std::shared_ptr<Collector>> collectors;
  std::vector<Answer> answers;
  for (int i = 0; i < kPrompts; ++i) {
    collectors.push_back(std::make_shared<Collector>());
    RETURN_IF_ERROR(
        engine->Submit(MakeRequest(i, engine->info().vocab_size, tokens), collectors.back()));
    if (!together) collectors.back()->WaitFinished(kDeadline);
  }
  for (const auto& collector : collectors) {
    const std::optional<Event> end = collector->WaitFinished(kDeadline);
    if (!end.has_value()) return absl::DeadlineExceededError("no answer");
    RETURN_IF_ERROR(end->status);
    answers.push_back(ReadAnswer(*collector));
  }
  return answers;
}

}  // namespace

absl::Status CheckModel(const std::string& path, const std::string& device, int32_t tokens,
                        Report& report) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSource> source, OpenGguf(path));
  ASSIGN_OR_RETURN(const std::vector<Answer> expected, AnswerAll(source, "cpu", tokens, true));
  ASSIGN_OR_RETURN(const std::vector<Answer> alone, AnswerAll(source, device, tokens, false));
  ASSIGN_OR_RETURN(const std::vector<Answer> together, AnswerAll(source, device, tokens, true));
  const std::string name = path.substr(path.rfind('/') + 1);
  for (size_t i = 0; i < expected.size(); ++i) {
    const std::string what = name + ", prompt " + std::to_string(i);
    const auto [mine, theirs] = std::mismatch(alone[i].tokens.begin(), alone[i].tokens.end(),
                                              expected[i].tokens.begin(), expected[i].tokens.end());
    const auto same = static_cast<size_t>(mine - alone[i].tokens.begin());
    // Sums in another order may decide a tie otherwise; beyond it the texts differ.
    constexpr float kTie = 5e-3f;
    const bool all = same == expected[i].tokens.size();
    const bool tie = !all && same < expected[i].lead.size() && expected[i].lead[same] < kTie;
    char where[64] = ", all tokens";
    if (!all) {
      std::snprintf(
          where, sizeof where, ", %s at %zu, lead %.1e", tie ? "a tie" : "apart", same,
          static_cast<double>(same < expected[i].lead.size() ? expected[i].lead[same] : 0));
    }
    report.Same("greedy", what + where, all || tie);
    report.Same("batch", what + " beside others",
                alone[i].tokens == together[i].tokens && alone[i].lead == together[i].lead);
  }
  return absl::OkStatus();
}

}  // namespace conclave::engine
