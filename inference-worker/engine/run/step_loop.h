// The engine's one thread. It owns all mutable state of a model — sequences, blocks, KV, scratch —
// and others reach it by message only: each turn it takes the inbox, schedules, computes, samples
// and emits. Whatever a message asks for has happened when the step after it ends.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "engine/engine.h"
#include "engine/kv/block_pool.h"
#include "engine/kv/prefix_cache.h"
#include "engine/options.h"
#include "engine/request.h"
#include "engine/run/executor.h"
#include "engine/run/expert_balancer.h"
#include "engine/run/stats.h"
#include "engine/run/token_chooser.h"
#include "engine/schedule/scheduler.h"
#include "engine/weights/source.h"

namespace conclave::engine {

struct StepLoopConfig {
  EngineOptions options;
  int32_t context_length = 0;  // prompt and output of one sequence
  int32_t num_blocks = 0;
  std::vector<TokenId> model_stop_ids;  // the model's end-of-generation ids
  int32_t score_rows_max = 256;         // SchedulerOptions
  BalancerOptions balancer;
};

// Public functions are thread-safe; the private ones run on the loop's thread.
class StepLoop final {
 public:
  // `source`, when given, is asked for its health at each step: a model file cut short under us
  // must not answer with zeros.
  StepLoop(StepLoopConfig config, std::unique_ptr<Executor> executor,
           std::shared_ptr<const ModelSource> source);
  // Ends what still runs with kCancelled.
  ~StepLoop();

  absl::Status Submit(GenerateRequest request, std::shared_ptr<EventSink> sink);
  void Cancel(std::string_view id);
  void Resume(std::string_view id);
  EngineStats Stats() const;
  ExpertTable Experts() const;
  absl::Status Health() const;
  void Drain(std::chrono::milliseconds timeout);

 private:
  struct Message {
    enum class Kind { kSubmit, kCancel, kResume };
    Kind kind;
    std::string id;                                    // kCancel, kResume
    std::vector<std::unique_ptr<Sequence>> sequences;  // kSubmit: one for each answer
  };

  absl::Status CheckRequest(const GenerateRequest& request) const;
  absl::StatusOr<std::vector<std::unique_ptr<Sequence>>> MakeSequences(
      GenerateRequest request, const std::shared_ptr<EventSink>& sink) const;
  void Post(Message message);

  void Loop();
  // Waits for messages when there is nothing to compute. False when the loop shall end.
  bool TakeInbox(bool idle, std::vector<Message>& inbox);
  void Handle(Message& message);
  void Add(std::unique_ptr<Sequence> sequence);
  // True when something was computed.
  bool Step();
  void Fail(const absl::Status& status);
  void Announce(const Batch& batch);
  void Emit(const Batch& batch);
  // False when the sink's answer ended the sequence.
  bool EmitScores(const BatchPart& part, std::span<const ScoredToken> scores);
  void EmitToken(Sequence& sequence, const Choice& choice);
  void EndWithoutToken(Sequence& sequence);
  // Tells the sink and does what it asks. False when that ended the sequence.
  bool Tell(Sequence& sequence, Event event);
  void Pause(const Sequence& sequence);
  // `stop`: the stop token that ended it.
  void Finish(Sequence& sequence, FinishReason reason, absl::Status status = absl::OkStatus(),
              const Choice* stop = nullptr);
  void FinishAll(FinishReason reason, const absl::Status& status);
  void PublishStats();

  const StepLoopConfig config_;
  const base::Clock& clock_ = base::Clock::System();
  const std::shared_ptr<const ModelSource> source_;
  std::unique_ptr<Executor> executor_;
  TokenChooser chooser_;
  BlockPool pool_;
  std::optional<PrefixCache> cache_;
  Scheduler scheduler_;
  StatsKeeper keeper_;
  ExpertBalancer balancer_;

  mutable std::mutex mutex_;
  std::condition_variable inbox_ready_;
  std::condition_variable all_gone_;
  std::vector<Message> inbox_;
  // Ids between Submit and the last kFinished, with the number of answers still to come.
  std::unordered_map<std::string, int32_t> live_;
  int32_t num_unfinished_ = 0;  // answers whose sink has not had kFinished
  int32_t num_queued_ = 0;      // live answers that were never given a slot
  bool draining_ = false;
  absl::Status failure_;  // of the device; for good
  bool stopping_ = false;
  EngineStats published_;
  ExpertTable published_experts_;
  int64_t published_version_ = -1;  // of the balancer's

  std::jthread thread_;  // last: everything above is there when it starts
};

}  // namespace conclave::engine
