#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <span>

#include "engine/engine.h"
#include "engine/quant/format.h"
#include "engine/weights/gguf.h"
#include "gpu/rig.h"
#include "tools/collector.h"
#include "tools/quantize_model.h"

namespace conclave::engine {
namespace {

constexpr auto kDeadline = std::chrono::minutes(5);
constexpr int kPrompts = 4;
constexpr int kTokensMax = 128;  // of an answer
// Of log-probabilities, where weights are floats: sums in another order.
constexpr double kApartMax = 5e-3;
// Quantised weights multiply activations rounded to eight bits. A last bit turns a level now and
// then, and what follows rounds differently: device and processors are two answers with errors of
// their own. So both are held to the exact answer, that of the same weights in F32, and the device
// may be no further from it than the processors, but for what few positions leave to chance.
constexpr double kFurtherMax = 1.3;
constexpr double kFurtherRest = 1e-3;
// Of the processors' distance: the lead of their choice over the next that another answer may turn.
// Each answer is that far from the exact one, so they are √2 of it apart, in a lead, which is the
// difference of two log-probabilities, √2 more: 2 of it. Among hundreds of tokens three times that
// comes about; a choice of experts that turns at a tie of the router makes it likelier still.
constexpr double kTieOfDistance = 6;
// Positions of an answer where answers are compared: so many tokens of it are given.
constexpr size_t kPositions[] = {0, 3, 9, 21, 45};

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
                                               const Device& device) {
  return Engine::Open(source, {.context_length = 1024,
                               .max_sequences = kPrompts,
                               .numerics = device.numerics,
                               .device = device.name,
                               .gpu_experts = device.gpu_experts});
}

// On a device that starts small steps as graphs, or not.
absl::StatusOr<std::unique_ptr<Engine>> OpenWith(bool graphs,
                                                 const std::shared_ptr<const ModelSource>& source,
                                                 const Device& device) {
  setenv("CONCLAVE_CUDA_GRAPHS", graphs ? "1" : "0", 1);
  return OpenOn(source, device);
}

absl::StatusOr<Event> Finish(const Collector& collector) {
  std::optional<Event> end = collector.WaitFinished(kDeadline);
  if (!end.has_value()) return absl::DeadlineExceededError("no answer");
  RETURN_IF_ERROR(end->status);
  return *std::move(end);
}

absl::StatusOr<std::vector<Answer>> AnswerAll(Engine& engine, int32_t tokens, bool together) {
  static int round = 0;
  ++round;
  std::vector<std::shared_ptr<Collector>> collectors;
  std::vector<Answer> answers;
  for (int i = 0; i < kPrompts; ++i) {
    collectors.push_back(std::make_shared<Collector>());
    GenerateRequest request = MakeRequest(i, engine.info(), tokens);
    request.cache_salt = std::to_string(round);  // nothing is found, all is computed
    RETURN_IF_ERROR(engine.Submit(std::move(request), collectors.back()));
    if (!together) RETURN_IF_ERROR(Finish(*collectors.back()).status());
  }
  for (const auto& collector : collectors) {
    RETURN_IF_ERROR(Finish(*collector).status());
    answers.push_back(ReadAnswer(*collector));
  }
  return answers;
}

// The log-probabilities of the likeliest tokens after a prompt and the first tokens of an answer.
using Likely = std::map<TokenId, float>;
absl::StatusOr<Likely> Likeliest(Engine& engine, int which, std::span<const TokenId> answer) {
  GenerateRequest request = MakeRequest(which, engine.info(), 1);
  request.prompt.insert(request.prompt.end(), answer.begin(), answer.end());
  request.num_logprobs = 20;
  const auto collector = std::make_shared<Collector>();
  RETURN_IF_ERROR(engine.Submit(std::move(request), collector));
  RETURN_IF_ERROR(Finish(*collector).status());
  Likely likeliest;
  for (const Event& event : collector->events()) {
    for (const auto& one : event.alternatives) likeliest[one.id] = one.logprob;
  }
  return likeliest;
}

// How far apart two engines are in what both give of the same texts.
class Apart final {
 public:
  void Add(const Likely& found, const Likely& expected) {
    for (const auto& [token, logprob] : expected) {
      const auto same = found.find(token);
      if (same == found.end()) continue;  // at the edge of the twenty
      const double apart = std::fabs(double{same->second} - double{logprob});
      squares_ += apart * apart;
      most_ = std::max(most_, apart);
      ++count_;
    }
  }
  double rms() const { return count_ == 0 ? 0 : std::sqrt(squares_ / count_); }
  double most() const { return most_; }

 private:
  double squares_ = 0;
  double most_ = 0;
  int count_ = 0;
};

bool IsQuantised(const ModelSource& source) {
  return std::any_of(source.tensors().begin(), source.tensors().end(), [](const auto& tensor) {
    const QuantFormat* const format = FindFormat(tensor.view.dtype);
    return format != nullptr && format->block_elements() > 1;
  });
}

// The same weights in F32 on the processors, which then round no activations.
absl::StatusOr<std::unique_ptr<Engine>> OpenExact(const ModelSource& source) {
  const std::filesystem::path file =
      std::filesystem::temp_directory_path() / ("exact-" + std::to_string(getpid()) + ".gguf");
  RETURN_IF_ERROR(
      QuantizeModel(
          source, {.type = DType::kF32, .head = DType::kF32, .keep = {}, .allow_requantize = true},
          file, [](std::string_view) {})
          .status());
  const absl::StatusOr<std::shared_ptr<const ModelSource>> exact = OpenGguf(file);
  std::error_code ignored;
  std::filesystem::remove(file, ignored);  // what is mapped stays
  RETURN_IF_ERROR(exact.status());
  return OpenOn(*exact, {"cpu"});
}

struct Distances {
  Apart processors;  // from the exact answer
  Apart device;      // from the exact answer
  Apart both;        // from each other
};

// Of one prompt's answer, at a few positions. Without `exact`: only from each other.
absl::Status Measure(Engine& cpu, Engine& gpu, Engine* exact, int which,
                     std::span<const TokenId> answer, Distances& distances) {
  for (const size_t position : kPositions) {
    if (position > answer.size()) break;
    const auto given = answer.first(position);
    ASSIGN_OR_RETURN(const Likely theirs, Likeliest(cpu, which, given));
    ASSIGN_OR_RETURN(const Likely ours, Likeliest(gpu, which, given));
    distances.both.Add(ours, theirs);
    if (exact == nullptr) continue;
    ASSIGN_OR_RETURN(const Likely truth, Likeliest(*exact, which, given));
    distances.processors.Add(theirs, truth);
    distances.device.Add(ours, truth);
  }
  return absl::OkStatus();
}

void ReportDistances(const std::string& name, const Distances& distances, bool quantised,
                     Report& report) {
  if (!quantised) {
    report.Within("apart", name + ", device and processors", distances.both.most(), kApartMax);
    return;
  }
  char text[128];
  std::snprintf(text, sizeof text, ", processors %.2e from exact, apart %.2e",
                distances.processors.rms(), distances.both.rms());
  report.Within("exact", name + text, distances.device.rms(),
                kFurtherMax * distances.processors.rms() + kFurtherRest);
}

// Where the texts part, the processors' lead must have been a tie's.
void ReportText(const std::string& what, const Answer& found, const Answer& expected, double tie,
                Report& report) {
  const auto parted = std::mismatch(found.tokens.begin(), found.tokens.end(),
                                    expected.tokens.begin(), expected.tokens.end());
  if (parted.second == expected.tokens.end()) {
    report.Within("greedy", what + ", all tokens", 0, tie);
    return;
  }
  const auto at = static_cast<size_t>(parted.second - expected.tokens.begin());
  report.Within("greedy", what + ", leads where they part at " + std::to_string(at),
                double{expected.lead[at]}, tie);
}

}  // namespace

absl::Status CheckModel(const std::string& path, const Device& device, int32_t tokens,
                        Report& report) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const ModelSource> source, OpenGguf(path));
  const bool quantised = IsQuantised(*source);
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> gpu, OpenWith(false, source, device));
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> cpu, OpenOn(source, {"cpu"}));
  std::unique_ptr<Engine> exact;
  if (quantised) {
    ASSIGN_OR_RETURN(exact, OpenExact(*source));
  }
  ASSIGN_OR_RETURN(const std::vector<Answer> expected, AnswerAll(*cpu, tokens, true));
  ASSIGN_OR_RETURN(const std::vector<Answer> alone, AnswerAll(*gpu, tokens, false));
  const bool invariant = device.numerics == "exact";
  ASSIGN_OR_RETURN(const std::vector<Answer> together, AnswerAll(*gpu, tokens, invariant));
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> graphs, OpenWith(true, source, device));
  ASSIGN_OR_RETURN(const std::vector<Answer> replayed, AnswerAll(*graphs, tokens, invariant));
  const std::string name = path.substr(path.rfind('/') + 1) + (invariant ? "" : ", fast");
  std::printf("%s on %s\n", name.c_str(), gpu->info().device.c_str());
  if (!gpu->info().placement.empty()) std::printf("  %s\n", gpu->info().placement.c_str());
  Distances distances;
  for (int i = 0; i < kPrompts; ++i) {
    const auto which = static_cast<size_t>(i);
    RETURN_IF_ERROR(Measure(*cpu, *gpu, exact.get(), i, expected[which].tokens, distances));
  }
  ReportDistances(name, distances, quantised, report);
  const double tie =
      quantised ? kTieOfDistance * distances.processors.rms() + kFurtherRest : 2 * kApartMax;
  for (size_t i = 0; i < kPrompts; ++i) {
    const std::string what = name + ", prompt " + std::to_string(i);
    ReportText(what, alone[i], expected[i], tie, report);
    report.Same("batch", what + (invariant ? " beside others" : " again"),
                alone[i].tokens == together[i].tokens && alone[i].lead == together[i].lead);
    report.Same("graphs", what + ", steps as graphs",
                alone[i].tokens == replayed[i].tokens && alone[i].lead == replayed[i].lead);
  }
  return absl::OkStatus();
}

}  // namespace conclave::engine
