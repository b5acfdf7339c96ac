#include "mesh/picker.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

namespace conclave::mesh {
namespace {

namespace pb = conclave::v1;

// What a worker is taken for until it has measured itself.
constexpr double kPrefillTpsGuess = 500;
constexpr double kDecodeTpsGuess = 50;
// A request whose turn in the batch is not yet free waits for somebody to finish: this many tokens
// of decoding, as a guess of half an answer.
constexpr double kTokensUntilSlotFree = 64;
// The weight of a full cache: at 90 % it counts like 1.35 s (preemption is near).
constexpr double kCacheWeight = 0.15;
constexpr double kCacheFullest = 0.99;
// Scores closer than this are a tie.
constexpr double kTieSeconds = 1e-3;

constexpr std::chrono::milliseconds kRetryAfter{1'000};

bool Avoided(const WorkerInfo& worker, const PickRequest& request) {
  return std::find(request.avoid.begin(), request.avoid.end(), worker.worker_id) !=
         request.avoid.end();
}

absl::Status WithHint(absl::Status status, std::string_view reason) {
  return base::WithRetryAfter(base::WithReason(std::move(status), reason), kRetryAfter);
}

// How near the model is to serving there, 0 = nearest; nothing when it cannot.
std::optional<int> Distance(const pb::ModelStatus& model) {
  switch (model.state()) {
    case pb::ModelStatus::STATE_READY:
      return 0;
    case pb::ModelStatus::STATE_LOADING:
      return 1;
    case pb::ModelStatus::STATE_UNLOADED:
      return 2;
    default:
      return std::nullopt;
  }
}

// Why nobody can serve the request: the best-known state of the model anywhere.
absl::Status NobodyServes(const Fleet& fleet, const PickRequest& request) {
  const std::string name(request.model);
  bool heard = false, known = false, failed = false;
  std::string error;
  for (const auto& worker : fleet.workers) {
    heard |= worker->health == WorkerHealth::kFresh && !worker->worker_id.empty();
    const pb::ModelStatus* model = worker->FindModel(request.model);
    if (model == nullptr) continue;
    if (worker->health == WorkerHealth::kFresh && model->state() == pb::ModelStatus::STATE_FAILED) {
      failed = true;
      error = model->error();
      continue;
    }
    known = true;
  }
  if (!known && failed) {
    return base::WithReason(
        base::FailedPrecondition("the model " + name + " could not be loaded: " + error),
        "model_failed");
  }
  if (!known && heard) {
    return base::WithParam(base::WithReason(base::NotFound("the model " + name + " does not exist"),
                                            "model_not_found"),
                           "model");
  }
  return WithHint(base::Unavailable("no worker is available for the model " + name), "no_worker");
}

}  // namespace

int64_t MissingTokens(std::string_view worker_id, const PickRequest& request) {
  for (const auto& [known_id, cached] : request.cached_tokens) {
    if (known_id == worker_id) return std::max<int64_t>(0, request.prompt_tokens - cached);
  }
  return request.prompt_tokens;
}

double PickScore(const WorkerInfo& worker, const PickRequest& request) {
  const pb::WorkerLoad& load = worker.load;
  const double prefill_tps = load.prefill_tps() > 0 ? load.prefill_tps() : kPrefillTpsGuess;
  const double decode_tps = load.decode_tps() > 0 ? load.decode_tps() : kDecodeTpsGuess;
  double mine_calls = 0, mine_tokens = 0;
  if (worker.outstanding != nullptr) {
    // Without this a burst between two reports would herd onto one worker.
    // (A report that crosses the end of a call can leave them a little below zero.)
    mine_calls = std::max(0.0, static_cast<double>(worker.outstanding->unreported_calls.load()));
    mine_tokens = std::max(0.0, static_cast<double>(worker.outstanding->unreported_tokens.load()));
  }
  const auto miss = static_cast<double>(MissingTokens(worker.worker_id, request));
  double seconds = miss / prefill_tps;
  seconds += (static_cast<double>(load.waiting_tokens()) + mine_tokens) / prefill_tps;
  if (load.slots() > 0) {
    const double ahead = load.running() + load.waiting() + mine_calls;
    // Sharing the batch slows everybody a little; being queued behind it costs whole answers.
    seconds += ahead / load.slots() / decode_tps;
    const double queued = std::max(0.0, ahead + 1 - load.slots());
    seconds += queued * kTokensUntilSlotFree / decode_tps;
  }
  if (load.kv_blocks_total() > 0) {
    const double k = std::min(kCacheFullest, static_cast<double>(load.kv_blocks_used()) /
                                                 static_cast<double>(load.kv_blocks_total()));
    seconds += kCacheWeight * k / (1 - k);
  }
  return seconds;
}

absl::StatusOr<std::shared_ptr<const WorkerInfo>> Pick(const Fleet& fleet,
                                                       const PickRequest& request) {
  struct Candidate {
    const std::shared_ptr<const WorkerInfo>* worker;
    bool avoided;
    int distance;
    double seconds;
    auto rank() const { return std::pair(avoided, distance); }
  };
  std::vector<Candidate> candidates;
  for (const auto& worker : fleet.workers) {
    if (!worker->usable()) continue;
    const pb::ModelStatus* model = worker->FindModel(request.model);
    const std::optional<int> distance = model == nullptr ? std::nullopt : Distance(*model);
    if (!distance) continue;
    if (!request.revision.empty() && model->revision() != request.revision) continue;
    candidates.push_back(
        {&worker, Avoided(*worker, request), *distance, PickScore(*worker, request)});
  }
  if (candidates.empty()) return NobodyServes(fleet, request);
  std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
    return std::tuple(a.rank(), a.seconds) < std::tuple(b.rank(), b.seconds);
  });
  size_t ties = 1;
  while (ties < candidates.size() && candidates[ties].rank() == candidates[0].rank() &&
         candidates[ties].seconds - candidates[0].seconds < kTieSeconds) {
    ++ties;
  }
  return *candidates[request.dice % ties].worker;
}

}  // namespace conclave::mesh
