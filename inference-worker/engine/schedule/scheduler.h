// Decides each step's batch: every decode first, one token each, then prompts in chunks with what
// is left of the token budget, first come first served. Blocks for a whole prompt are taken at
// admission, all or nothing; a decode that finds no block evicts from the prefix cache, then
// preempts. A preempted sequence loses its blocks, keeps its tokens and is computed again later:
// its output does not change.
//
// The answers to one request are sequences of the same id. The first is computed as any other; the
// rest wait until its prompt is there and share the full blocks of it.
//
// Owned by the step loop; not thread-safe. No clock, no model: what it does depends on the calls
// made to it alone.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "engine/kv/block_pool.h"
#include "engine/kv/prefix_cache.h"
#include "engine/schedule/batch.h"
#include "engine/schedule/sequence.h"

namespace conclave::engine {

struct SchedulerOptions {
  int32_t max_sequences = 64;       // running at once
  int32_t step_token_budget = 256;  // rows of one step; decodes may exceed it, prompts then get
                                    // kMinPrefillRows
  int32_t block_tokens = 16;
  int32_t score_rows_max = 256;  // rows of one step that tell logprobs of a prompt
};

class Scheduler final {
 public:
  // A step full of decodes still carries that much of a prompt, so that none starves.
  static constexpr int32_t kMinPrefillRows = 16;
  // A pause shorter than that many steps costs a sequence nothing.
  static constexpr uint64_t kPauseStepsBeforePreemption = 64;

  // `pool` outlives the scheduler; so does `cache`, nullptr = no prefix cache.
  Scheduler(const SchedulerOptions& options, BlockPool* pool, PrefixCache* cache);
  ~Scheduler();

  // Puts a sequence at the end of the queue. It fits the pool alone (the caller checked), and no
  // other sequence has its id and index.
  Sequence* Add(std::unique_ptr<Sequence> sequence);
  // The answers of that request that have not ended, by index.
  std::vector<Sequence*> Find(std::string_view id) const;

  void Pause(Sequence& sequence);
  void Resume(Sequence& sequence);

  // The next step's work. Empty when nothing can run.
  Batch Next();
  // The batch was computed: counts its rows and lets the cache know of blocks that became full.
  void Commit(const Batch& batch);
  // Takes a sequence out, wherever it is; its blocks go back (the cache keeps its own handles).
  std::unique_ptr<Sequence> Remove(Sequence& sequence);

  int32_t num_running() const { return static_cast<int32_t>(running_.size()); }
  int32_t num_waiting() const { return static_cast<int32_t>(waiting_.size()); }
  // Tokens to compute before the queue is empty: of waiting sequences and unfinished prompts.
  int64_t waiting_tokens() const;
  // Every sequence, running ones first.
  std::vector<Sequence*> All() const;

 private:
  void AddDecodes(Batch& batch);
  void AddPrefills(Batch& batch);
  void Admit(Batch& batch);
  void AddPart(Batch& batch, Sequence& sequence, int32_t rows);
  int32_t PrefillRowsLeft(const Batch& batch) const;
  // How many of the next `rows` rows can be computed without more scores than a step has room for.
  int32_t RowsWithinScores(const Sequence& sequence, int32_t rows, const Batch& batch) const;

  // Gives the sequence blocks for `num_tokens` tokens, evicting as needed.
  bool Reserve(Sequence& sequence, int32_t num_tokens);
  bool TryAdmit(Sequence& sequence);
  // Full blocks at the beginning that need not be computed if somebody has them.
  int32_t SharableBlocks(const Sequence& sequence, int32_t num_tokens) const;
  void ShareCached(Sequence& sequence);
  void ShareWithSiblings(Sequence& sequence);
  // Another answer is computing the prompt, or has not told all of its logprobs.
  bool AwaitsPrompt(const Sequence& sequence) const;
  void Preempt(Sequence& victim, Batch& batch);
  // The running sequence whose loss costs least: the newest paused one, else the newest.
  Sequence* PickVictim() const;
  Sequence* PickIdlePaused(const Batch& batch) const;
  void ReleaseBlocks(Sequence& sequence);
  void InsertFullBlocks(Sequence& sequence);
  std::unique_ptr<Sequence> Take(std::vector<std::unique_ptr<Sequence>>& from,
                                 const Sequence& sequence);

  const SchedulerOptions options_;
  BlockPool* const pool_;
  PrefixCache* const cache_;
  uint64_t next_arrival_ = 0;
  uint64_t step_ = 0;
  std::vector<std::unique_ptr<Sequence>> waiting_;                 // by arrival
  std::vector<std::unique_ptr<Sequence>> running_;                 // by admission
  std::unordered_map<std::string, std::vector<Sequence*>> by_id_;  // each by index
};

}  // namespace conclave::engine
