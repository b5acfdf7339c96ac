#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <memory>
#include <span>

#include "engine/engine.h"
#include "engine/weights/gguf.h"
#include "gpu/rig.h"
#include "tools/collector.h"

namespace conclave::engine {
namespace {

constexpr auto kDeadline = std::chrono::minutes(5);
constexpr int kPrompts = 4;
constexpr int kTokensMax = 128;  // of an answer
// Of log-probabilities. Sums in another order are far closer; but where an activation lies between
// two levels of its eight bits, the two may round it differently.
constexpr double kApartMax = 2e-2;

struct Answer {
  std::vector<TokenId> tokens;
  std::vector<float> lead;  // of each token's logprob over the next best
};

GenerateRequest MakeRequest(int which, const ModelInfo& model, int32_t tokens) {
  GenerateRequest request = {.id = std::to_string(which),
                             .prompt = {},
                             .sampling = {.temperature = 0, .ignore_eos = true},
                             .max_tokens = tokens,
                             .num_logprobs = 2};
  // Short and long, one of them longer than a split of attention and than a step.
  const int lengths[kPrompts] = {1, 23, 150, std::min(600, model.context_length - kTokensMax)};
  uint64_t state = 77 + static_cast<uint64_t>(which);
  for (int i = 0; i < lengths[which]; ++i) {
    state = state * 6364136223846793005ULL + 1442695040888963407ULL;
    request.prompt.push_back(
        static_cast<TokenId>((state >> 33) % static_cast<uint64_t>(model.vocab_size)));
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

absl::StatusOr<std::unique_ptr<Engine>> OpenOn(const std::shared_ptr<const ModelSource>& source,
                                               const std::string& device) {
  return Engine::Open(
      source,
      {.context_length = 1024, .max_sequences = kPrompts, .prefix_cache = false, .device = device});
}

absl::StatusOr<Event> Finish(const Collector& collector) {
  std::optional<Event> end = collector.WaitFinished(kDeadline);
  if (!end.has_value()) return absl::DeadlineExceededError("no answer");
  RETURN_IF_ERROR(end->status);
  return *std::move(end);
}

absl::StatusOr<std::vector<Answer>> AnswerAll(Engine& engine, int32_t tokens, bool together) {
  std::vector<std::shared_ptr<Collector>> collectors;
  std::vector<Answer> answers;
  for (int i = 0; i < kPrompts; ++i) {
    collectors.push_back(std::make_shared<Collector>());
    RETURN_IF_ERROR(engine.Submit(MakeRequest(i, engine.info(), tokens), collectors.back()));
    if (!together) RETURN_IF_ERROR(Finish(*collectors.back()).status());
  }
  for (const auto& collector : collectors) {
    RETURN_IF_ERROR(Finish(*collector).status());
    answers.push_back(ReadAnswer(*collector));
  }
  return answers;
}

// The log-probabilities of the likeliest tokens after a prompt and the first tokens of an answer.
absl::StatusOr<std::map<TokenId, float>> Likeliest(Engine& engine, int which,
                                                   std::span<const TokenId> answer) {
  GenerateRequest request = MakeRequest(which, engine.info(), 1);
  request.prompt.insert(request.prompt.end(), answer.begin(), answer.end());
  request.num_logprobs = 20;
  const auto collector = std::make_shared<Collector>();
  RETURN_IF_ERROR(engine.Submit(std::move(request), collector));
  RETURN_IF_ERROR(Finish(*collector).status());
  std::map<TokenId, float> likeliest;
  for (const Event& event : collector->events()) {
    for (const auto& one : event.alternatives) likeliest[one.id] = one.logprob;
  }
  return likeliest;
}

// How far the two are apart in what both give of the same text.
absl::StatusOr<double> Distance(Engine& mine, Engine& theirs, int which,
                                std::span<const TokenId> answer) {
  ASSIGN_OR_RETURN(const auto found, Likeliest(mine, which, answer));
  ASSIGN_OR_RETURN(const auto expected, Likeliest(theirs, which, answer));
  double apart = 0;
  for (const auto& [token, logprob] : expected) {
    const auto same = found.find(token);
    if (same == found.end()) continue;  // at the edge of the twenty
    apart = std::max(apart, std::fabs(double{same->second} - double{logprob}));
  }
  return apart;
}

}  // namespace

absl::Status CheckModel(const std::string& path, const std::string& device, int32_t tokens,
                        Report& report) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSource> source, OpenGguf(path));
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> cpu, OpenOn(source, "cpu"));
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> gpu, OpenOn(source, device));
  ASSIGN_OR_RETURN(const std::vector<Answer> expected, AnswerAll(*cpu, tokens, true));
  ASSIGN_OR_RETURN(const std::vector<Answer> alone, AnswerAll(*gpu, tokens, false));
  ASSIGN_OR_RETURN(const std::vector<Answer> together, AnswerAll(*gpu, tokens, true));
  const std::string name = path.substr(path.rfind('/') + 1);
  for (int i = 0; i < kPrompts; ++i) {
    const std::string what = name + ", prompt " + std::to_string(i);
    const std::vector<TokenId>& ours = alone[i].tokens;
    const std::vector<TokenId>& theirs = expected[i].tokens;
    const auto parted = std::mismatch(ours.begin(), ours.end(), theirs.begin(), theirs.end());
    const auto same = static_cast<size_t>(parted.first - ours.begin());
    const bool all = same == theirs.size();
    const size_t at = std::min(same, theirs.size() - 1);
    ASSIGN_OR_RETURN(const double apart, Distance(*gpu, *cpu, i, std::span(theirs).first(at)));
    // Where the first choice leads the second by less than what the two may be apart, either
    // may be chosen; beyond it the texts must be the same.
    const double lead = all ? 0 : double{expected[i].lead[at]};
    char where[96] = ", all tokens";
    if (!all) std::snprintf(where, sizeof where, ", a tie at %zu, lead %.1e", same, lead);
    report.Within("greedy", what + where, std::max(apart, lead / 2), kApartMax);
    report.Same("batch", what + " beside others",
                ours == together[i].tokens && alone[i].lead == together[i].lead);
  }
  return absl::OkStatus();
}

}  // namespace conclave::engine
