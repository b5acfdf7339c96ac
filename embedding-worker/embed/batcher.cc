#include "embed/batcher.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace conclave::embed {
namespace {

using base::Clock;
using base::MillisBetween;

// Weight of the newest batch in the moving average.
constexpr double kRateShare = 0.2;

int64_t CountTokens(const std::vector<TokenSequence>& inputs) {
  int64_t tokens = 0;
  for (const TokenSequence& input : inputs) tokens += static_cast<int64_t>(input.ids.size());
  return tokens;
}

}  // namespace

Batcher::Batcher(Encoder* encoder, const BatcherOptions& options)
    : encoder_(encoder), options_(options), thread_([this] { Run(); }) {}

Batcher::~Batcher() { Stop(); }

absl::Status Batcher::Submit(BatchRequest request) {
  auto pending = std::make_shared<Pending>();
  pending->tokens_left = CountTokens(request.inputs);
  pending->result.vectors.resize(request.inputs.size());
  pending->request = std::move(request);
  pending->submitted = Clock::System().Now();
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return base::Unavailable("the worker is stopping");
    // A request that is larger than the queue by itself is taken when nobody else waits.
    const int64_t waiting = stats_.waiting_tokens;
    if (waiting > 0 && waiting + pending->tokens_left > options_.queue_tokens_max) {
      const double rate = std::max(stats_.tokens_per_s, 1.0);
      const double wait_ms = std::clamp(1e3 * static_cast<double>(waiting) / rate, 1e3, 60e3);
      return base::WithRetryAfter(
          base::ResourceExhausted(absl::StrCat("the queue is full: ", waiting, " tokens wait")),
          std::chrono::milliseconds(static_cast<int64_t>(wait_ms)));
    }
    stats_.waiting_tokens += pending->tokens_left;
    ++stats_.waiting;
    queue_.push_back(std::move(pending));
  }
  wake_.notify_one();
  return absl::OkStatus();
}

BatcherStats Batcher::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void Batcher::Stop() {
  std::deque<PendingPtr> left;
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
  {
    const std::lock_guard lock(mutex_);
    left.swap(queue_);
    stats_ = {};
  }
  for (const PendingPtr& pending : left) {
    pending->request.done(base::Unavailable("the worker is stopping"));
  }
}

// One input of each request in turn, until the batch is full.
std::vector<Batcher::Slot> Batcher::TakeBatchLocked(std::vector<PendingPtr>* gone) {
  std::vector<Slot> batch;
  int64_t tokens = 0;
  while (!queue_.empty() && static_cast<int32_t>(batch.size()) < options_.batch_inputs_max) {
    const PendingPtr pending = queue_.front();
    if (pending->next == 0 || pending->next % 16 == 0) {
      pending->dropped = pending->request.abandoned && pending->request.abandoned();
    }
    if (pending->dropped) {
      queue_.pop_front();
      stats_.waiting_tokens -= pending->tokens_left;
      stats_.dropped_total += static_cast<int64_t>(pending->request.inputs.size() - pending->next);
      --stats_.waiting;
      gone->push_back(pending);
      continue;
    }
    const auto size = static_cast<int64_t>(pending->request.inputs[pending->next].ids.size());
    if (!batch.empty() && tokens + size > options_.batch_tokens_max) break;
    tokens += size;
    batch.push_back({pending, pending->next++});
    pending->tokens_left -= size;
    stats_.waiting_tokens -= size;
    queue_.pop_front();
    if (pending->next < pending->request.inputs.size()) {
      queue_.push_back(pending);
    } else {
      --stats_.waiting;
    }
  }
  std::unordered_set<const Pending*> running;
  for (const Slot& slot : batch) running.insert(slot.pending.get());
  stats_.running = static_cast<int32_t>(running.size());
  return batch;
}

void Batcher::Run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (queue_.empty()) {
      wake_.wait(lock);
      continue;
    }
    std::vector<PendingPtr> gone;
    const std::vector<Slot> batch = TakeBatchLocked(&gone);
    lock.unlock();
    for (const PendingPtr& pending : gone) {
      pending->request.done(absl::CancelledError("the caller has gone"));
    }
    if (!batch.empty()) Compute(batch);
    lock.lock();
    stats_.running = 0;
  }
}

void Batcher::Compute(const std::vector<Slot>& batch) {
  std::vector<TokenId> ids;
  std::vector<int32_t> offsets = {0}, seconds;
  for (const Slot& slot : batch) {
    const TokenSequence& input = slot.pending->request.inputs[slot.index];
    ids.insert(ids.end(), input.ids.begin(), input.ids.end());
    const int32_t begin = offsets.back();
    offsets.push_back(static_cast<int32_t>(ids.size()));
    seconds.push_back(input.second < 0 ? offsets.back() : begin + input.second);
  }
  const auto dimensions = static_cast<size_t>(encoder_->info().dimensions);
  std::vector<float> vectors(batch.size() * dimensions);
  const base::SteadyTime start = Clock::System().Now();
  encoder_->Encode({.ids = ids, .offsets = offsets, .seconds = seconds}, vectors.data());
  const base::SteadyTime end = Clock::System().Now();
  const double ms = MillisBetween(start, end);
  {
    const std::lock_guard lock(mutex_);
    stats_.tokens_total += static_cast<int64_t>(ids.size());
    const double rate = static_cast<double>(ids.size()) / std::max(ms / 1e3, 1e-6);
    stats_.tokens_per_s = stats_.tokens_per_s == 0
                              ? rate
                              : (1 - kRateShare) * stats_.tokens_per_s + kRateShare * rate;
  }
  for (size_t i = 0; i < batch.size(); ++i) {
    Pending& pending = *batch[i].pending;
    if (pending.computed++ == 0) {
      pending.started = start;
      pending.result.queue_ms = MillisBetween(pending.submitted, start);
    }
    const auto from = vectors.begin() + static_cast<std::ptrdiff_t>(i * dimensions);
    pending.result.vectors[batch[i].index].assign(from,
                                                  from + static_cast<std::ptrdiff_t>(dimensions));
    if (pending.computed < pending.request.inputs.size()) continue;
    pending.result.compute_ms = MillisBetween(pending.started, end);
    pending.request.done(std::move(pending.result));
  }
}

}  // namespace conclave::embed
