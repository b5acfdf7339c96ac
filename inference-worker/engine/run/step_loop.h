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
#include <string>
#include <string_view>
#include <thread>
#include <unordered_set>
#include <vector>

#include "base/clock.h"
#include "base/status.h"
#include "engine/engine.h"
#include "engine/kv/block_pool.h"
#include "engine/kv/prefix_cache.h"
#include "engine/options.h"
#include "engine/request.h"
#include "engine/run/executor.h"
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
  absl::Status Health() const;
  void Drain(std::chrono::milliseconds timeout);

 private:
  struct Message {
    enum class Kind { kSubmit, kCancel, kResume };
    Kind kind;
    std::string id;                      // kCancel, kResume
    std::unique_ptr<Sequence> sequence;  // kSubmit
  };

  absl::Status CheckRequest(const GenerateRequest& request) const;
  void Post(Message message);

  void Loop();
  // Waits for messages when there is nothing to compute. False when the loop shall end.
  bool TakeInbox(bool idle, std::vector<Message>& inbox);
  void Handle(Message& message);
  // True when something was computed.
  bool Step();
  void Fail(const absl::Status& status);
  void Announce(const Batch& batch);
  void Emit(const Batch& batch, const std::vector<Choice>& choices);
  void EmitToken(Sequence& sequence, const Choice& choice);
  void EndWithoutToken(Sequence& sequence);
  // Tells the sink and does what it asks. False when that ended the sequence.
  bool Tell(Sequence& sequence, const Event& event);
  void Finish(Sequence& sequence, FinishReason reason, absl::Status status = absl::OkStatus(),
              TokenId stop_token = -1);
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

  mutable std::mutex mutex_;
  std::condition_variable inbox_ready_;
  std::condition_variable all_gone_;
  std::vector<Message> inbox_;
  std::unordered_set<std::string> live_;  // ids between Submit and kFinished
  int32_t num_unfinished_ = 0;            // requests whose sink has not had kFinished
  int32_t num_queued_ = 0;                // live requests that were never given a slot
  bool draining_ = false;
  absl::Status failure_;  // of the device; for good
  bool stopping_ = false;
  EngineStats published_;

  std::jthread thread_;  // last: everything above is there when it starts
};

}  // namespace conclave::engine
