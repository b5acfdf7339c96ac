// One Generate call: takes the events of a backend and writes them to the caller, one outstanding
// write at a time. When the caller reads slower than the model speaks, a bounded number of events
// waits here and then the sequence is paused; nobody else notices.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "backends/backend.h"
#include "base/clock.h"
#include "base/gate.h"
#include "base/task_pool.h"
#include "conclave/v1/inference.pb.h"
#include "worker/drain_rate.h"
#include "worker/model_host.h"
#include "worker/stream_writer.h"
#include "worker/worker_metrics.h"

namespace conclave::worker {

struct WorkerIdentity {
  std::string worker_id;
  uint64_t epoch = 0;  // random per process
};

struct StreamOptions {
  size_t buffered_events_max = 64;                    // then the sequence is paused
  std::chrono::milliseconds heartbeat{1'000};         // a Progress after so much silence
  std::chrono::milliseconds write_stall_max{60'000};  // a reader slower than that is cut off
};

// What all streams of a worker share. Outlives them.
struct StreamContext {
  ModelHost* host = nullptr;
  WorkerMetrics* metrics = nullptr;
  base::TaskPool* pool = nullptr;  // for what must not be done on the host's threads
  StreamWriter* writer = nullptr;
  DrainRate drain_rate;
  WorkerIdentity identity;
  StreamOptions options;
};

// Thread-safe. gRPC owns one reference from Start to OnDone, the backend another while the request
// lives there.
class GenerateStream final : public grpc::ServerWriteReactor<conclave::v1::GenerateEvent>,
                             public backends::EventSink,
                             public std::enable_shared_from_this<GenerateStream> {
 public:
  GenerateStream(StreamContext* shared, grpc::CallbackServerContext* context,
                 const conclave::v1::GenerateRequest* request,
                 std::optional<base::Gate::Pass> pass);

  // Keeps itself alive until OnDone.
  void Start() { self_ = shared_from_this(); }
  // Finds the model and hands the request to its backend, once it is loaded. Blocks for as long as
  // template and tokenizer take; not for a gRPC thread.
  void Prepare();
  // Ends the call before anything was written.
  void Refuse(const absl::Status& status);
  // Called a few times a second: heartbeat, stalled readers, a pause that could end.
  void Beat(base::SteadyTime now);

  // On a thread that must not wait: what is to be written goes by the writer.
  backends::Flow OnEvent(backends::Event event) override;
  // On the writer's thread.
  void PumpPosted();

 private:
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  void TakeLease(absl::StatusOr<ModelLease> lease);
  void Submit();
  absl::Status Admit(absl::StatusOr<ModelLease> lease);
  void SetAccepted(const backends::Accepted& accepted);
  absl::Status Explain(absl::Status status) const;
  conclave::v1::GenerateEvent LoadingEvent() const;
  // Notes what the event says about the request; under the lock.
  void ObserveLocked(const backends::Event& event, base::SteadyTime now);
  void ObserveFinishedLocked(const backends::Finished& finished);
  void ObserveEndLocked(const backends::Event& last, base::SteadyTime now);
  void LogEndLocked(const backends::Event& last, double ms);
  // Whether no event follows: the last answer has finished, or all have failed.
  bool IsLastLocked(const backends::Event& event);
  // Writes the next event or finishes, when nothing is under way. Takes and gives up the lock.
  void Pump();
  void CancelBackend();

  StreamContext* const shared_;
  grpc::CallbackServerContext* const context_;
  // gRPC owns the message and keeps it until OnDone; it is read once, by Prepare.
  const conclave::v1::GenerateRequest* const request_;
  const base::SteadyTime arrived_;
  const std::string id_;
  const std::string request_id_;  // the caller's, for the log
  size_t buffer_limit_ = 0;

  std::mutex mutex_;
  std::shared_ptr<GenerateStream> self_;
  std::optional<base::Gate::Pass> pass_;
  std::optional<absl::StatusOr<ModelLease>> got_;  // until it is taken up
  std::optional<ModelLease> lease_;
  ModelMetrics metrics_;
  std::deque<conclave::v1::GenerateEvent> outbox_;
  conclave::v1::GenerateEvent current_;  // being written
  backends::Progress progress_;          // what a heartbeat tells
  int32_t prompt_tokens_ = 0;            // of the answers that have finished
  int64_t completion_tokens_ = 0;
  absl::Status end_;        // of the call, once ended_
  uint64_t use_ = 0;        // of the host, while waiting for the model
  bool asking_ = false;     // Prepare is inside of Use
  bool loading_ = false;    // waits for the model: nothing but progress is written
  double load_ms_ = 0;      // it has waited
  bool prepared_ = false;   // Prepare or Refuse is over: writing may begin
  bool submitted_ = false;  // the backend knows the request
  bool writing_ = false;
  bool pump_posted_ = false;  // the writer has it
  bool paused_ = false;
  int32_t answers_left_ = 1;
  bool ended_ = false;  // nothing more will be put into the outbox
  bool cancelled_ = false;
  bool killing_ = false;  // Beat is about to cancel the call: it must not finish meanwhile
  bool finish_called_ = false;
  base::SteadyTime cancelled_at_;
  base::SteadyTime last_write_;
  base::SteadyTime last_delta_;
};

}  // namespace conclave::worker
