#include "engine/schedule/scheduler.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace conclave::engine {

Scheduler::Scheduler(const SchedulerOptions& options, BlockPool* pool, PrefixCache* cache)
    : options_(options), pool_(pool), cache_(cache) {}

Scheduler::~Scheduler() = default;

Sequence* Scheduler::Add(std::unique_ptr<Sequence> sequence) {
  sequence->arrival = next_arrival_++;
  Sequence* const added = sequence.get();
  std::vector<Sequence*>& answers = by_id_[added->request.id];
  CHECK(answers.empty() || answers.back()->index < added->index);
  answers.push_back(added);
  waiting_.push_back(std::move(sequence));
  return added;
}

std::vector<Sequence*> Scheduler::Find(std::string_view id) const {
  const auto it = by_id_.find(std::string(id));
  return it == by_id_.end() ? std::vector<Sequence*>() : it->second;
}

void Scheduler::Pause(Sequence& sequence) {
  sequence.paused = true;
  sequence.paused_at_step = step_;
}

void Scheduler::Resume(Sequence& sequence) { sequence.paused = false; }

Batch Scheduler::Next() {
  ++step_;
  Batch batch;
  AddDecodes(batch);
  AddPrefills(batch);
  Admit(batch);
  return batch;
}

void Scheduler::Commit(const Batch& batch) {
  for (const BatchPart& part : batch.parts) {
    part.sequence->num_computed += part.rows;
    part.sequence->num_scored += part.score_rows;
    InsertFullBlocks(*part.sequence);
  }
}

std::unique_ptr<Sequence> Scheduler::Remove(Sequence& sequence) {
  auto& from = sequence.state == Sequence::State::kRunning ? running_ : waiting_;
  std::unique_ptr<Sequence> taken = Take(from, sequence);
  ReleaseBlocks(*taken);
  taken->state = Sequence::State::kFinished;
  const auto answers = by_id_.find(taken->request.id);
  std::erase(answers->second, taken.get());
  if (answers->second.empty()) by_id_.erase(answers);
  return taken;
}

int64_t Scheduler::waiting_tokens() const {
  int64_t tokens = 0;
  for (const auto& sequence : waiting_) tokens += sequence->num_left();
  for (const auto& sequence : running_) {
    if (!sequence->is_decode()) tokens += sequence->num_left();
  }
  return tokens;
}

std::vector<Sequence*> Scheduler::All() const {
  std::vector<Sequence*> all;
  for (const auto& sequence : running_) all.push_back(sequence.get());
  for (const auto& sequence : waiting_) all.push_back(sequence.get());
  return all;
}

void Scheduler::AddDecodes(Batch& batch) {
  std::vector<Sequence*> decodes;
  for (const auto& sequence : running_) {
    if (sequence->is_decode() && !sequence->paused) decodes.push_back(sequence.get());
  }
  for (Sequence* const sequence : decodes) {
    // A victim is never one already in this batch: it is paused, or newer than all that are.
    while (sequence->state == Sequence::State::kRunning &&
           !Reserve(*sequence, sequence->num_tokens())) {
      Preempt(*PickVictim(), batch);
    }
    if (sequence->state == Sequence::State::kRunning) AddPart(batch, *sequence, 1);
  }
}

void Scheduler::AddPrefills(Batch& batch) {
  for (const auto& sequence : running_) {
    if (sequence->is_decode() || sequence->paused) continue;
    const int32_t rows =
        RowsWithinScores(*sequence, std::min(sequence->num_left(), PrefillRowsLeft(batch)), batch);
    if (rows > 0) AddPart(batch, *sequence, rows);
  }
}

void Scheduler::Admit(Batch& batch) {
  size_t at = 0;
  while (at < waiting_.size() && PrefillRowsLeft(batch) > 0) {
    Sequence& sequence = *waiting_[at];
    if (sequence.paused || AwaitsPrompt(sequence)) {
      ++at;
      continue;
    }
    const bool scores = sequence.num_scored < sequence.num_scorable();
    if (scores && batch.num_score_rows >= options_.score_rows_max) return;
    if (num_running() >= options_.max_sequences || !TryAdmit(sequence)) {
      // First come first served: nobody overtakes the one that does not fit. Only sequences whose
      // reader has long stopped make room; the preempted one waits in the queue, before `at` or
      // after it, hence the new start.
      Sequence* const victim = PickIdlePaused(batch);
      if (victim == nullptr) return;
      Preempt(*victim, batch);
      at = 0;
      continue;
    }
    std::unique_ptr<Sequence> taken = Take(waiting_, sequence);
    taken->state = Sequence::State::kRunning;
    running_.push_back(std::move(taken));
    if (!std::exchange(sequence.was_admitted, true)) batch.admitted.push_back(&sequence);
    const int32_t rows = std::min(sequence.num_left(), PrefillRowsLeft(batch));
    AddPart(batch, sequence, RowsWithinScores(sequence, rows, batch));
  }
}

void Scheduler::AddPart(Batch& batch, Sequence& sequence, int32_t rows) {
  const int32_t first = sequence.num_computed;
  const int32_t score_from = std::max(first, sequence.num_scored);
  const int32_t score_to = std::min(first + rows, sequence.num_scorable());
  batch.parts.push_back({.sequence = &sequence,
                         .position = first,
                         .rows = rows,
                         .wants_logits = rows == sequence.num_left(),
                         .score_begin = score_from - first,
                         .score_rows = std::max(score_to - score_from, 0)});
  batch.num_rows += rows;
  batch.num_score_rows += batch.parts.back().score_rows;
}

int32_t Scheduler::RowsWithinScores(const Sequence& sequence, int32_t rows,
                                    const Batch& batch) const {
  const int32_t score_from = std::max(sequence.num_computed, sequence.num_scored);
  const int32_t left = options_.score_rows_max - batch.num_score_rows;
  if (sequence.num_scorable() - score_from <= left) return rows;
  return std::min(rows, score_from - sequence.num_computed + left);
}

int32_t Scheduler::PrefillRowsLeft(const Batch& batch) const {
  int32_t decodes = 0;
  for (const BatchPart& part : batch.parts) decodes += part.sequence->is_decode() ? 1 : 0;
  const int32_t prefilled = batch.num_rows - decodes;
  const int32_t room = std::max(options_.step_token_budget - decodes, kMinPrefillRows);
  return std::max(room - prefilled, 0);
}

bool Scheduler::Reserve(Sequence& sequence, int32_t num_tokens) {
  const int32_t needed = (num_tokens + options_.block_tokens - 1) / options_.block_tokens -
                         static_cast<int32_t>(sequence.blocks.size());
  if (needed <= 0) return true;
  if (pool_->num_free() < needed && cache_ != nullptr) cache_->Evict(needed - pool_->num_free());
  absl::StatusOr<std::vector<Block>> blocks = pool_->Allocate(needed);
  if (!blocks.ok()) return false;
  for (Block& block : *blocks) {
    sequence.block_numbers.push_back(block.index());
    sequence.blocks.push_back(std::move(block));
  }
  return true;
}

bool Scheduler::TryAdmit(Sequence& sequence) {
  ShareCached(sequence);
  ShareWithSiblings(sequence);
  sequence.num_computed = static_cast<int32_t>(sequence.blocks.size()) * options_.block_tokens;
  if (!Reserve(sequence, sequence.num_tokens())) {
    ReleaseBlocks(sequence);
    return false;
  }
  if (!sequence.was_admitted && sequence.index == 0) {
    sequence.cached_tokens =
        std::min(sequence.num_computed, static_cast<int32_t>(sequence.prompt_size()));
  }
  return true;
}

// At least one token stays to be computed: somebody must give the logits. So do rows of the prompt
// whose logits were not told yet.
int32_t Scheduler::SharableBlocks(const Sequence& sequence, int32_t num_tokens) const {
  const bool scoring = sequence.num_scored < sequence.num_scorable();
  return (scoring ? std::min(sequence.num_scored, num_tokens - 1) : num_tokens - 1) /
         options_.block_tokens;
}

void Scheduler::ShareCached(Sequence& sequence) {
  if (cache_ == nullptr) return;
  const auto known = static_cast<size_t>(SharableBlocks(sequence, sequence.num_tokens())) *
                     static_cast<size_t>(options_.block_tokens);
  PrefixCache::MatchResult match = cache_->Match(
      sequence.request.cache_salt, std::span<const TokenId>(sequence.tokens).first(known));
  for (const Block& block : match.blocks) sequence.block_numbers.push_back(block.index());
  sequence.blocks = std::move(match.blocks);
  sequence.cursor = match.cursor;
  sequence.num_blocks_inserted = static_cast<int32_t>(sequence.blocks.size());
}

// What the cache does not know of the prompt, because there is none or it had to evict.
void Scheduler::ShareWithSiblings(Sequence& sequence) {
  const int32_t sharable = SharableBlocks(sequence, static_cast<int32_t>(sequence.prompt_size()));
  for (const Sequence* const other : by_id_.at(sequence.request.id)) {
    const int32_t full = std::min(sharable, other->num_computed / options_.block_tokens);
    for (auto i = static_cast<int32_t>(sequence.blocks.size()); i < full; ++i) {
      sequence.blocks.push_back(other->blocks[static_cast<size_t>(i)]);
      sequence.block_numbers.push_back(sequence.blocks.back().index());
    }
  }
}

bool Scheduler::AwaitsPrompt(const Sequence& sequence) const {
  const std::vector<Sequence*>& answers = by_id_.at(sequence.request.id);
  const int32_t sharable = SharableBlocks(sequence, static_cast<int32_t>(sequence.prompt_size()));
  bool is_coming = false;
  for (const Sequence* const other : answers) {
    if (other == &sequence) continue;
    if (other->num_scored < other->num_scorable()) return true;
    if (other->num_computed >= sharable * options_.block_tokens) return false;
    const bool is_first = other->index < sequence.index;
    is_coming = is_coming || is_first || other->state == Sequence::State::kRunning;
  }
  return is_coming;
}

void Scheduler::Preempt(Sequence& victim, Batch& batch) {
  std::unique_ptr<Sequence> taken = Take(running_, victim);
  ReleaseBlocks(*taken);
  taken->state = Sequence::State::kWaiting;
  const auto later = std::find_if(waiting_.begin(), waiting_.end(), [&](const auto& sequence) {
    return sequence->arrival > taken->arrival;
  });
  waiting_.insert(later, std::move(taken));
  ++batch.num_preempted;
}

Sequence* Scheduler::PickVictim() const {
  for (auto it = running_.rbegin(); it != running_.rend(); ++it) {
    if ((*it)->paused) return it->get();
  }
  CHECK(!running_.empty());
  return running_.back().get();
}

Sequence* Scheduler::PickIdlePaused(const Batch& batch) const {
  for (auto it = running_.rbegin(); it != running_.rend(); ++it) {
    const Sequence& sequence = **it;
    if (!sequence.paused) continue;
    if (batch.empty() || step_ - sequence.paused_at_step >= kPauseStepsBeforePreemption) {
      return it->get();
    }
  }
  return nullptr;
}

void Scheduler::ReleaseBlocks(Sequence& sequence) {
  // Last block first: the pool is a stack, and a chain's beginning is what the next prompt shares.
  while (!sequence.blocks.empty()) sequence.blocks.pop_back();
  sequence.block_numbers.clear();
  sequence.cursor = {};
  sequence.num_blocks_inserted = 0;
  sequence.num_computed = 0;
}

void Scheduler::InsertFullBlocks(Sequence& sequence) {
  if (cache_ == nullptr) return;
  const auto size = static_cast<size_t>(options_.block_tokens);
  while ((sequence.num_blocks_inserted + 1) * options_.block_tokens <= sequence.num_computed) {
    const auto i = static_cast<size_t>(sequence.num_blocks_inserted++);
    cache_->Insert(sequence.request.cache_salt, sequence.cursor,
                   std::span<const TokenId>(sequence.tokens).subspan(i * size, size),
                   sequence.blocks[i]);
  }
}

std::unique_ptr<Sequence> Scheduler::Take(std::vector<std::unique_ptr<Sequence>>& from,
                                          const Sequence& sequence) {
  const auto it = std::find_if(from.begin(), from.end(),
                               [&](const auto& one) { return one.get() == &sequence; });
  CHECK(it != from.end());
  std::unique_ptr<Sequence> taken = std::move(*it);
  from.erase(it);
  return taken;
}

}  // namespace conclave::engine
